"""A run's position, its budget, intervals between events, and the learning rate's schedule."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TypeVar

from ganvae.errors import ConfigError
from ganvae.types import Optim

_UNITS = {
    "s": ("seconds", 1),
    "m": ("seconds", 60),
    "h": ("seconds", 3600),
    "d": ("seconds", 86400),
    "img": ("images", 1),
    "kimg": ("images", 1000),
    "mimg": ("images", 1_000_000),
    "step": ("steps", 1),
    "steps": ("steps", 1),
}
_FORMS = "write a time (40s, 30m, 2h), images (500kimg) or steps (300steps)"
_PART = re.compile(r"(\d+(?:\.\d+)?|\.\d+)([a-z]+)")


@dataclass
class Position:
    """How far a run is; saved with every checkpoint."""

    step: int = 0
    images: int = 0
    seconds: float = 0.0
    stage: int = 0
    stage_step: int = 0
    stage_images: int = 0
    stage_seconds: float = 0.0
    rollbacks: int = 0
    best_step: int | None = None
    best_score: float | None = None
    done: bool = False

    @property
    def spent(self) -> tuple[int, int, float]:
        """Steps, images and seconds since the run's first start."""
        return self.step, self.images, self.seconds

    def advance(self, images: int, seconds: float) -> None:
        """Counts one step on so many images that took so long."""
        self.step, self.images = self.step + 1, self.images + images
        self.stage_step, self.stage_images = self.stage_step + 1, self.stage_images + images
        self.seconds += seconds
        self.stage_seconds += seconds

    def next_stage(self) -> None:
        """Moves to the beginning of the next stage."""
        self.stage, self.stage_step, self.stage_images = self.stage + 1, 0, 0
        self.stage_seconds = 0.0


_Amount = TypeVar("_Amount", bound="Amount")


@dataclass(frozen=True)
class Amount:
    """An amount of training in seconds, images or steps: exactly one of the three."""

    seconds: float | None = None
    images: int | None = None
    steps: int | None = None

    @classmethod
    def parse(cls: type[_Amount], text: str) -> _Amount:
        """Reads ``40s``, ``30m``, ``2h``, ``1h30m``, ``500kimg`` or ``300steps``.

        Raises :class:`ConfigError` naming these forms for anything else.
        """
        plain = str(text).strip().lower().replace(" ", "").replace("_", "")
        parts = _PART.findall(plain)
        if re.fullmatch(r"[\d.]+", plain):
            raise ConfigError(f"{text!r} has no unit: {_FORMS}")
        known = all(unit in _UNITS for _, unit in parts)
        if not parts or not known or "".join(a + b for a, b in parts) != plain:
            raise ConfigError(f"{text!r} is not an amount of training: {_FORMS}")
        kinds = {_UNITS[unit][0] for _, unit in parts}
        if len(kinds) > 1:
            raise ConfigError(f"{text!r} mixes {' and '.join(sorted(kinds))}: {_FORMS}")
        kind = kinds.pop()
        total = sum(float(number) * _UNITS[unit][1] for number, unit in parts)
        if kind == "seconds" and total > 0:
            return cls(seconds=total)
        if kind != "seconds" and round(total) >= 1:
            return cls(**{kind: round(total)})
        raise ConfigError(f"{text!r} is nothing at all: {_FORMS}")

    def used(self, step: int, images: int, seconds: float) -> float:
        """What was spent, as a multiple of this amount."""
        if self.steps is not None:
            return step / self.steps
        if self.images is not None:
            return images / self.images
        assert self.seconds is not None
        return seconds / self.seconds

    def __str__(self) -> str:
        if self.steps is not None:
            return f"{self.steps}steps"
        if self.images is not None:
            return f"{self.images}img"
        return f"{self.seconds:g}s"


@dataclass(frozen=True)
class Budget(Amount):
    """How long a run lasts."""

    def progress(self, step: int, images: int, seconds: float) -> float:
        """The share of the budget that is spent, in [0, 1].

        step, images: made since the run's first start
        seconds: of training, those of earlier sittings of a resumed run included
        """
        return min(1.0, max(0.0, self.used(step, images, seconds)))


@dataclass(frozen=True)
class Every(Amount):
    """How often something happens."""

    def count(self, step: int, images: int, seconds: float) -> int:
        """How often it is due up to now."""
        return math.floor(self.used(step, images, seconds) + 1e-9)


def seconds_of(setting: str, text: str) -> float:
    """A setting that has to be a time, as 30s or 2m. Raises ConfigError for anything else."""
    seconds = Amount.parse(text).seconds
    if seconds is None:
        raise ConfigError(f"{setting} must be a time, for example 40s or 2m, got {text!r}")
    return seconds


def rate(progress: float, optim: Optim) -> float:
    """The learning rate as a share of its peak: a linear warm-up, then a half cosine.

    progress: the share of the stage that is done, in [0, 1]
    """
    if progress < optim.warmup:
        return progress / optim.warmup
    if optim.warmup >= 1:
        return 1.0
    part = (min(progress, 1.0) - optim.warmup) / (1 - optim.warmup)
    return optim.final + (1 - optim.final) * (1 + math.cos(math.pi * part)) / 2
