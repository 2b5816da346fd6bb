"""A cache on disk of the features of real images and of results computed from them alone."""

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
"""To be raised when a result is computed in another way."""
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
    values = judge.memory.get(name)
    path = cache / f"{name}.safetensors" if cache and judge.cacheable else None
    if values is None and path:
        values = _load(path).get("features")
        if values is not None and tuple(values.shape) != (len(rows), judge.dim):
            values = None
    if values is None:
        values = judge.extract(read(images, rows), progress)
        if path:
            _save(path, {"features": values})
    judge.memory[name] = values
    while len(judge.memory) > IN_MEMORY:
        del judge.memory[next(iter(judge.memory))]
    return values


def derived(
    name: str,
    of: Sequence[tuple[Images, np.ndarray]],
    judge: Judge,
    compute: Callable[[], dict[str, Tensor]],
    *,
    cache: Path | None = None,
) -> dict[str, Tensor]:
    """The result of ``compute``, from the cache on disk where it has it.

    name: of the result, its own among all results from the same features
    of: the images and rows that it depends on, and on nothing else
    """
    if not (cache and judge.cacheable):
        return compute()
    text = " ".join([str(VERSION), name, *(key(images, judge, rows) for images, rows in of)])
    path = cache / f"{hashlib.sha256(text.encode()).hexdigest()}.safetensors"
    values = _load(path)
    if not values:
        values = compute()
        _save(path, values)
    return values


def _load(path: Path) -> dict[str, Tensor]:
    """The tensors in a file; none where it is missing, damaged or not finite."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError):
        return {}
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        return {}
    with contextlib.suppress(OSError):
        os.utime(path)
    return tensors


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with contextlib.suppress(OSError, CheckpointError, SafetensorError):
        files.write(path, lambda scratch: save_file(contiguous, scratch))
        _prune(path.parent)


def _prune(home: Path) -> None:
    """Delete the files used longest ago until the rest fit in :data:`ON_DISK`."""
    by_age = sorted(((p.stat().st_mtime, p) for p in home.glob("*.safetensors")), reverse=True)
    total = 0
    for _, path in by_age:
        total += path.stat().st_size
        if total > ON_DISK:
            path.unlink(missing_ok=True)
