"""Features of real images and what follows from them alone: computed once, kept on disk."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ganvae import files
from ganvae.errors import CheckpointError
from ganvae.metrics.judge import Judge
from ganvae.metrics.protocols import Images
from ganvae.metrics.sampling import read

IN_MEMORY = 6
"""Sets of features a judge holds."""
VERSION = 2
"""Raised where what follows from features is computed otherwise."""
ON_DISK = 2**31
"""Bytes of features kept on disk; the oldest go first."""


def folder() -> Path | None:
    """$XDG_CACHE_HOME/ganvae/features, or that under ~/.cache; None without a home."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(base or Path.home() / ".cache") / "ganvae" / "features"
    except RuntimeError:
        return None


def key(images: Images, judge: Judge, rows: np.ndarray) -> str:
    """Digest of everything the features depend on: images, judge, resize, rows."""
    digest = hashlib.sha256(f"{images.fingerprint} {judge.fingerprint} ".encode())
    digest.update(np.ascontiguousarray(rows, np.int64).tobytes())
    return digest.hexdigest()


def features(
    images: Images,
    judge: Judge,
    rows: np.ndarray,
    *,
    cache: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Features (N, dim) on the CPU of some rows of ``images``, from the cache where it has them.

    cache: the folder on disk; None for memory only. A damaged file is computed again; a folder
        that cannot be written to is done without.
    """
    name = key(images, judge, rows)
    found = judge.memory.get(name)
    path = cache / f"{name}.safetensors" if cache and judge.cacheable else None
    if found is None and path:
        found = _load(path).get("features")
        if found is not None and tuple(found.shape) != (len(rows), judge.dim):
            found = None
    if found is None:
        found = judge.extract(read(images, rows), progress)
        if path:
            _save(path, {"features": found})
    judge.memory[name] = found
    while len(judge.memory) > IN_MEMORY:
        del judge.memory[next(iter(judge.memory))]
    return found


def derived(
    what: str,
    of: Sequence[tuple[Images, np.ndarray]],
    judge: Judge,
    compute: Callable[[], dict[str, Tensor]],
    *,
    cache: Path | None = None,
) -> dict[str, Tensor]:
    """What ``compute`` gives, from the cache on disk where it has it.

    what: tells it from all else that follows from the features of the same images
    of: the images and rows that it follows from, and from nothing else
    """
    if not (cache and judge.cacheable):
        return compute()
    whole = " ".join([str(VERSION), what, *(key(images, judge, rows) for images, rows in of)])
    path = cache / f"{hashlib.sha256(whole.encode()).hexdigest()}.safetensors"
    found = _load(path)
    if not found:
        found = compute()
        _save(path, found)
    return found


def _load(path: Path) -> dict[str, Tensor]:
    """What a file holds; nothing where it is missing, damaged or not finite."""
    try:
        found = load_file(path)
    except (OSError, SafetensorError):
        return {}
    if not all(bool(tensor.isfinite().all()) for tensor in found.values()):
        return {}
    with contextlib.suppress(OSError):
        os.utime(path)
    return found


def _save(path: Path, found: dict[str, Tensor]) -> None:
    whole = {name: tensor.contiguous() for name, tensor in found.items()}
    with contextlib.suppress(OSError, CheckpointError, SafetensorError):
        files.write(path, lambda scratch: save_file(whole, scratch))
        _prune(path.parent)


def _prune(where: Path) -> None:
    """Delete the files used longest ago until the rest fit in :data:`ON_DISK`."""
    known = sorted(((p.stat().st_mtime, p) for p in where.glob("*.safetensors")), reverse=True)
    total = 0
    for _, path in known:
        total += path.stat().st_size
        if total > ON_DISK:
            path.unlink(missing_ok=True)
