"""How long judging a model will take, found by judging a few images."""

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
"""Images that the pace is measured by."""
LEAST = 64
"""Images a side that are judged however short the time is, where there are so many."""


@dataclass(frozen=True)
class Pace:
    """Seconds for a part of the work.

    sample: to make an image and its features
    features: the features of an image
    flow: to fit a flow prior; 0 where none will be
    """

    sample: float
    features: float
    flow: float

    def forecast(self, model: Any, data: Any, settings: config.Evaluation) -> float:
        """Seconds that fitting priors and judging will take, roughly; too much where features
        are known from before."""
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
    """The pace on this machine, in about a second; what is random stays as it was."""
    few = min(FEW, len(data.test))
    if not few:
        return Pace(0.0, 0.0, 0.0)
    parts: list[Tensor] = []
    for _ in range(2):  # the first time everything is slow
        with _timed() as sampled:
            parts = list(generated(model, few, 0, data.test))
        with _timed() as judged:
            judge.extract(parts)
    fits = settings.priors and "flow" in lacking(model)
    return Pace(
        (sampled[0] + judged[0]) / few, judged[0] / few, seconds_of_flow(model) if fits else 0.0
    )


@contextmanager
def _timed() -> Iterator[list[float]]:
    """A list of one number, the seconds that the block took."""
    taken: list[float] = []
    start = time.perf_counter()
    yield taken
    taken.append(time.perf_counter() - start)
