"""A run's directory: its name, whether there is a run in it, and whether one may begin there."""

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
_EMPTY = {lock.NAME}  # what a directory may hold and still be a new run's


def is_begun(out: Path) -> bool:
    """Whether there is a checkpoint of ours to continue from."""
    return any((out / "checkpoints").glob(f"step-*/{checkpoint.MANIFEST}"))


def is_run(out: Path) -> bool:
    """Whether a directory is a run of ours: by a checkpoint, or by the settings that it has."""
    if is_begun(out):
        return True
    try:
        config.load(out / SETTINGS)
    except ConfigError:
        return False
    return True


def kept_settings(path: Path) -> Config:
    """The settings that a run was begun with; ``allow_changes`` was for that time alone."""
    kept = config.load(path)
    return replace(kept, training=replace(kept.training, allow_changes=False))


def refuse_resume(out: Path, what: str, begin: bool) -> None:
    """Raises ConfigError: in ``out`` is nothing of ours to resume.

    what: would be begun there
    begin: whether it may be begun where there is nothing at all
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
    """Raises unless a new run may have the directory ``out``."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file: choose another run directory with --out")
    if not _is_occupied(out):
        return
    lock.refuse_busy(out)
    raise ConfigError(
        f"{out} already holds files: continue that run with --resume, or choose another --out"
    )


def _is_occupied(out: Path) -> bool:
    return out.is_dir() and bool({path.name for path in out.iterdir()} - _EMPTY)


def new_run(kind: str, data: str) -> Path:
    """The first free ``runs/KIND-DATA-NUMBER``; many processes agree on torchrun's id.

    kind: the objective, or "tournament"
    data: ``data.path``
    """
    if from_environment("WORLD_SIZE", 1) > 1:
        launched = os.environ.get("TORCHELASTIC_RUN_ID", "none")
        if launched == "none":
            raise ConfigError("name the run's directory with --out where many processes train")
        return RUNS / f"{_stem(kind, data)}-{launched[:8]}"
    taken = [number for number, _ in _numbered(kind, data)]
    return RUNS / f"{_stem(kind, data)}-{max(taken, default=0) + 1}"


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
