"""Keeps memory that one step frees for the next one."""

from __future__ import annotations

import ctypes
import os
import sys


def keep_memory(most: int = 2**30) -> bool:
    """Lets glibc keep up to ``most`` bytes that were freed; returns whether it does.

    Left alone, it gives the memory of a step's tensors back to the system at the end of the step,
    and every page of it has to be cleared again in the next one. Nothing happens where the
    environment says something about it (``MALLOC_...``, ``GLIBC_TUNABLES``), or without glibc.
    """
    configured = any(key.startswith("MALLOC_") or key == "GLIBC_TUNABLES" for key in os.environ)
    if not sys.platform.startswith("linux") or configured:
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    trim, mapped = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    return mallopt is not None and bool(mallopt(trim, most)) and bool(mallopt(mapped, most))
