"""Predicts how long judging a model takes, by judging a few images."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ganvae import config
from ganvae.metrics.allowance import Allowance
from ganvae.metrics.judge import Judge
from ganvae.metrics.sampling import generated, task_of
from ganvae.models.fitting import lacking, seconds_of_flow

FEW = 16
"""How many images the pace is measured with."""
LEAST = 64
"""Images a side that are judged at least, however short the time is."""


@dataclass(frozen=True)
class Pace:
    """Seconds that parts of the judging take.

    sample: to generate an image and compute its features
    features: to compute the features of an image
    flow: to fit a flow prior; 0 where none will be
    """

    sample: float
    features: float
    flow: float

    def forecast(self, model: Any, data: Any, settings: config.Evaluation) -> float:
        """Seconds that fitting priors and judging take, roughly; fewer with cached features."""
        n = min(settings.samples, len(data.test))
        total = n * self.sample + (n + min(n, len(data.train))) * self.features
        if "encoder" in model.networks and not task_of(model).from_sources:
            decoded = max(0.0, self.sample - self.features)
            total += min(1000, n) * 2 * self.sample + min(128, n) * settings.importance * decoded
        if settings.priors and lacking(model):
            total += self.flow + (1 + len(lacking(model))) * min(n, 2000) * self.sample
        return total

    def affordable(
        self, data: Any, settings: config.Evaluation, allowance: Allowance
    ) -> config.Evaluation:
        """The settings with as many samples as can be judged in half of the time."""
        n = min(settings.samples, len(data.test))
        each = self.sample + 2 * self.features
        if n * each <= 0.5 * allowance.left():
            return settings
        fits = min(n, max(LEAST, int(0.5 * allowance.left() / each)))
        if fits < n:
            allowance.shortened.append(f"{fits:,} of {n:,} images a side judged")
        return replace(settings, samples=max(2, fits))


def measure(model: Any, data: Any, judge: Judge, settings: config.Evaluation) -> Pace:
    """Measures the pace on this machine, in about a second, without changing random states."""
    few = min(FEW, len(data.test))
    if not few:
        return Pace(0.0, 0.0, 0.0)
    parts: list[Tensor] = []
    for _ in range(2):  # the first time everything is slow
        with _timed() as sampling:
            parts = list(generated(model, few, 0, data.test))
        with _timed() as judging:
            judge.extract(parts)
    fits = settings.priors and "flow" in lacking(model)
    return Pace(
        (sampling[0] + judging[0]) / few, judging[0] / few, seconds_of_flow(model) if fits else 0.0
    )


@contextmanager
def _timed() -> Iterator[list[float]]:
    """A list that gets one number at the block's end: the seconds it took."""
    seconds: list[float] = []
    start = time.perf_counter()
    yield seconds
    seconds.append(time.perf_counter() - start)
