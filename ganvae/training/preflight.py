"""Checks before a training what it needs at its end: judge, log, directory, disk space."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from ganvae import files
from ganvae.config import Config
from ganvae.errors import CheckpointError, ConfigError
from ganvae.eyes import eyes
from ganvae.metrics import judge as judges
from ganvae.metrics.judge import Judge
from ganvae.training.log import NO_TENSORBOARD
from ganvae.training.schedule import Budget, Every


def look(
    config: Config,
    out: Path,
    judge: nn.Module | None = None,
    device: torch.device | str = "cpu",
) -> Judge:
    """Checks what can be checked without images, and returns the judge.

    judge: in place of the one that the settings name

    Raises ConfigError or CheckpointError for what would fail later. Writes nothing.
    """
    place(out)
    if config.training.tensorboard and find_spec("tensorboard") is None:
        raise ConfigError(NO_TENSORBOARD)
    if find_spec("matplotlib") is None:
        raise ConfigError("the report's curves need matplotlib: install the package matplotlib")
    eyes.look_for(config.networks.eyes)
    settings = config.evaluation
    return judges.load(judge or settings.judge, settings.size, device)


def place(out: Path) -> None:
    """Raises CheckpointError where a directory cannot be made, or files in it."""
    there = out.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise CheckpointError(f"{out} cannot be made: {there} is no folder; choose another --out")
    if os.access(there, os.W_OK | os.X_OK):
        return
    read_only = bool(os.statvfs(there).f_flag & os.ST_RDONLY) if hasattr(os, "statvfs") else False
    number = errno.EROFS if read_only else errno.EACCES
    raise files.explain(OSError(number, os.strerror(number)), out)


def space(config: Config, out: Path, nets: Mapping[str, nn.Module]) -> None:
    """Raises CheckpointError where a run's checkpoints and model do not fit on the disk.

    Checkpoints count as many as there are at once, the one being written included. Files that the
    run already has take no new space.
    """
    training = config.training
    checkpoints = min(
        _saves(training.budget, training.checkpoint_every), max(2, training.keep) + 1
    )
    weights = sum(t.nbytes for net in nets.values() for t in net.state_dict().values())
    moments = 2 * sum(p.nbytes for net in nets.values() for p in net.parameters())
    needed = 2 * weights + (checkpoints - 1) * (2 * weights + moments)  # the first has no moments
    there = sum(path.stat().st_size for path in out.glob("checkpoints/*/*") if path.is_file())
    free = files.free(out.absolute())
    if needed - there > free:
        raise CheckpointError(
            f"{out} needs {needed - there:,} bytes for {checkpoints} checkpoints and {free:,} are "
            f"free: make room, choose another --out, or smaller networks"
        )


def _saves(budget: str, every: str) -> int:
    """How many checkpoints a run writes: one before the first step, one each ``every``."""
    whole, part = Budget.parse(budget), Every.parse(every)
    for unit in ("seconds", "images", "steps"):
        amounts = getattr(whole, unit), getattr(part, unit)
        if None not in amounts:
            return 1 + math.ceil(amounts[0] / amounts[1])
    return 2
