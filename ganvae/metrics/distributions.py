"""Samples against held-out images: distances between features, and nearest neighbours.

What depends on the held-out images alone is computed once and cached; the samples cost one pass
over their own pairs and one over those with held-out images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganvae.metrics import distances, features, kernel, manifold
from ganvae.metrics.figures import Record
from ganvae.metrics.protocols import Images
from ganvae.metrics.sides import K, Sides, Subsets, Within, within


@dataclass(frozen=True)
class Heldout:
    """The held-out images of an evaluation, to be compared with.

    numbers: their rows; features: those of the judge, (N, dim)
    """

    run: Record
    numbers: np.ndarray
    features: Tensor
    _within: dict[int, Within] = field(default_factory=dict)

    @property
    def key(self) -> tuple[Images, np.ndarray]:
        """Their key in the cache."""
        return self.run.data.test, self.numbers

    def cache(self, name: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """``compute()``, or its result on disk. It must depend on these images alone."""
        return self.run.derived(name, [self.key], compute)

    def within(self, n: int) -> Within:
        """Their own pairs, with the subsets of a comparison with n others."""
        if n not in self._within:
            name, subsets = f"among {K} {self.run.seed} {n}", self._subsets(n)
            own = subsets and subsets[1]
            tensors = self.cache(name, lambda: within(self.features, own)._asdict())
            self._within[n] = Within(**tensors)
        return self._within[n]

    def nearest(self, n: int) -> manifold.Neighbours:
        """The nearest other held-out image of each, (N, 1); ``n`` as in :meth:`within`."""
        row = self.within(n).nearest
        distance = (self.features - self.features[row]).square_().sum(1).sqrt_()
        return manifold.Neighbours(distance[:, None], row[:, None])

    def compared(self, a: Tensor, *also: distances.Measure) -> dict[str, Tensor]:
        """The values of :mod:`ganvae.metrics.features` for features a (n, dim), float64 ().

        Those that so few images do not give are left out, and what is not finite.

        also: further measures of the pairs of ``a`` with these
        """
        if min(len(a), len(self.features)) < 2:
            return {}
        sides = self._beside(a, *also)
        return {
            name: torch.tensor(value, dtype=torch.float64)
            for metric in features.metrics()
            for name, value in metric.values(sides).items()
            if math.isfinite(value)
        }

    def _beside(self, a: Tensor, *also: distances.Measure) -> Sides:
        b, subsets, theirs = self.features, self._subsets(len(a)), self.within(len(a))
        # around one centre, for the KID: see kernel.unbiased
        mine = within(a, subsets and subsets[0], b.mean(0))
        sums = kernel.Sums(a, b, subsets)
        balls = manifold.Balls(mine.radii, theirs.radii) if min(len(a), len(b)) > K else None
        distances.read(a, b, sums, *([balls] if balls else []), *also)
        return Sides(
            a=a, b=b, within_a=mine, within_b=theirs, sums=sums, balls=balls, subsets=subsets,
            cache=self.cache,
        )  # fmt: skip

    def _subsets(self, n: int) -> Subsets | None:
        """Subsets of n others and of these, for the KID."""
        smaller = min(n, len(self.features))
        return kernel.choose(n, len(self.features), seed=self.run.seed) if smaller >= 4 else None


def note(run: Record, values: dict[str, Tensor], sizes: tuple[int, int], reference: bool) -> None:
    """Records the figures of values from :meth:`Heldout.compared`.

    sizes: images on each side: generated or, for the reference, training ones; held-out ones
    """
    counts: dict[str, Any] = {"n_heldout": sizes[1], **run.labels(), "reference": reference}
    counts["n_train" if reference else "n_generated"] = sizes[0]
    for metric in features.metrics():
        for key, name, better, about in metric.figures(run.judge, min(sizes)):
            value, error = (values.get(k) for k in (key, f"{key}_error"))
            run.add(key, name=name, value=value, error=error, better=better, note=about, **counts)
