"""A run's directory: its name, whether it holds a run, and whether a new one may begin there."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from ganvae import config
from ganvae.config import Config
from ganvae.errors import ConfigError
from ganvae.foreign import from_environment
from ganvae.telling import name_of
from ganvae.training import checkpoint, lock

RUNS = Path("runs")
SETTINGS = "config.yaml"
"""The file of a run's settings."""
_IGNORED = {lock.NAME}  # a directory with nothing else counts as empty


def is_begun(out: Path) -> bool:
    """Whether there is a checkpoint of ours to continue from."""
    return any((out / "checkpoints").glob(f"step-*/{checkpoint.MANIFEST}"))


def is_run(out: Path) -> bool:
    """Whether a directory holds a run of ours: a checkpoint, or a file of settings."""
    if is_begun(out):
        return True
    try:
        config.load(out / SETTINGS)
    except ConfigError:
        return False
    return True


def saved_settings(path: Path) -> Config:
    """A run's saved settings, without ``allow_changes``, which is not for later sittings."""
    settings = config.load(path)
    return replace(settings, training=replace(settings.training, allow_changes=False))


def refuse_resume(out: Path, what: str, begin: bool) -> None:
    """Raises ConfigError, as ``out`` holds nothing to resume, unless a new run may begin there.

    what: the new run, in words
    begin: whether it may begin in an empty directory
    """
    if _is_occupied(out):
        raise ConfigError(
            f"{out} holds files and no run of ganvae: name the run's directory, or leave out "
            f"--resume and choose a new --out for {what}"
        )
    if not begin:
        raise ConfigError(
            f"there is nothing to resume in {out}: name the run's directory, or give --begin "
            f"to begin {what} there"
        )


def refuse_occupied(out: Path) -> None:
    """Raises ConfigError or BusyError unless ``out`` is free for a new run."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file: choose another run directory with --out")
    if not _is_occupied(out):
        return
    lock.refuse_busy(out)
    raise ConfigError(
        f"{out} already holds files: continue that run with --resume, or choose another --out"
    )


def _is_occupied(out: Path) -> bool:
    return out.is_dir() and bool({path.name for path in out.iterdir()} - _IGNORED)


def new_run(kind: str, data: str) -> Path:
    """The next ``runs/KIND-DATA-NUMBER``; with torchrun, its job's id is the number.

    kind: the objective, or "tournament"
    data: ``data.path``
    """
    if from_environment("WORLD_SIZE", 1) > 1:
        job = os.environ.get("TORCHELASTIC_RUN_ID", "none")
        if job == "none":
            raise ConfigError("name the run's directory with --out where many processes train")
        return RUNS / f"{_stem(kind, data)}-{job[:8]}"
    numbers = [number for number, _ in _numbered(kind, data)]
    return RUNS / f"{_stem(kind, data)}-{max(numbers, default=0) + 1}"


def latest_run(kind: str, data: str) -> Path:
    """The newest run that :func:`new_run` named so."""
    numbered, stem = _numbered(kind, data), RUNS / _stem(kind, data)
    if not numbered:
        raise ConfigError(f"there is no {stem}-* to resume: name it with --out")
    return max(numbered)[1]


def _numbered(kind: str, data: str) -> list[tuple[int, Path]]:
    stem = f"{_stem(kind, data)}-"
    parts = [(path.name.removeprefix(stem), path) for path in RUNS.glob(f"{stem}*")]
    return [(int(number), path) for number, path in parts if number.isdecimal()]


def _stem(kind: str, data: str) -> str:
    name = re.sub(r"[^\w.-]+", "-", name_of(data)).strip("-.") or "data"
    return f"{kind}-{name[:60]}"
