"""Samples against held-out images: distances between features, and what neighbours tell.

What is known of the held-out images alone is computed once and kept; the samples cost one pass
over their own pairs and one over those with held-out images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganvae.metrics import diversity, frechet, kernel, manifold, pairs
from ganvae.metrics.figures import Record
from ganvae.metrics.protocols import Images

K = 5
"""Neighbours of precision, recall, density and coverage."""


@dataclass(frozen=True)
class Heldout:
    """The held-out images of an evaluation, to be compared with.

    numbers: their rows; features: those of the judge, (N, dim)
    """

    run: Record
    numbers: np.ndarray
    features: Tensor
    known: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    @property
    def key(self) -> tuple[Images, np.ndarray]:
        """What is computed from them alone follows from, see :meth:`Record.derived`."""
        return self.run.data.test, self.numbers

    def among(self, n: int) -> dict[str, Tensor]:
        """What their own pairs tell, for a comparison with n others: see :func:`_among`."""
        if n not in self.known:
            what, chosen = f"among {K} {self.run.seed} {n}", self._chosen(n)
            self.known[n] = self.run.derived(
                what, [self.key], lambda: _among(self.features, chosen and chosen[1])
            )
        return self.known[n]

    def nearest(self, n: int) -> manifold.Neighbours:
        """The nearest other one of each, (N, 1); ``n``: others that they were compared with."""
        row = self.among(n)["nearest"]
        distance = (self.features - self.features[row]).square_().sum(1).sqrt_()
        return manifold.Neighbours(distance[:, None], row[:, None])

    def compared(self, a: Tensor, *also: pairs.Measure) -> dict[str, Tensor]:
        """Distances from features a (n, dim), precision, recall, density, coverage, diversity.

        float64 (). Those that so few images do not give are left out, and errors that are not
        finite.

        also: what else is told of the pairs of ``a`` with these
        """
        b, few = self.features, min(len(a), len(self.features))
        if few < 2:
            return {}
        found: dict[str, float] = {}
        chosen, own = self._chosen(len(a)), self.among(len(a))
        # around one centre, for the KID: see kernel.unbiased
        mine = _among(a, chosen and chosen[0], b.mean(0))
        across = kernel.Sums(a, b, chosen)
        if few > K:
            balls = manifold.Balls(mine["radii"], own["radii"])
            pairs.read(a, b, across, balls, *also)
            found |= balls.scores(K)._asdict()
        else:
            pairs.read(a, b, across, *also)
        found["kid"], found["kid_error"] = kernel.estimate(mine["kernel"], own["kernel"], across)
        found["diversity"] = float(mine["pairwise"]) / max(float(own["pairwise"]), 1e-12)
        if chosen:
            found["kid_subsets"], found["kid_subsets_error"] = kernel.spread(
                mine["subsets"], own["subsets"], across.subsets, int(chosen[0][:, 0].sum())
            )
        if _enough(few, self.run):
            found["fid"] = frechet.between(frechet.moments(a), *self._gaussian())
        finite = {name: value for name, value in found.items() if math.isfinite(value)}
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in finite.items()}

    def _chosen(self, n: int) -> tuple[Tensor, Tensor] | None:
        """Subsets of n others and of these, for the KID."""
        few = min(n, len(self.features))
        return kernel.choose(n, len(self.features), seed=self.run.seed) if few >= 4 else None

    def _gaussian(self) -> tuple[frechet.Moments, Tensor]:
        def fit() -> dict[str, Tensor]:
            found = frechet.moments(self.features)
            return {**found._asdict(), "root": frechet.root(found.covariance)}

        known = self.run.derived("gaussian", [self.key], fit)
        return frechet.Moments(known["mean"], known["covariance"]), known["root"]


def _among(x: Tensor, chosen: Tensor | None, centre: Tensor | None = None) -> dict[str, Tensor]:
    """What the pairs of x (N ≥ 2, d) with one another tell.

    kernel: :func:`kernel.within`, and subsets: its sums over those ``chosen``
    pairwise: :func:`diversity.pairwise`
    nearest: row of the nearest other, (N,); radii: :func:`manifold.radii`
    """
    sums = kernel.Sums(x, chosen=None if chosen is None else (chosen, chosen))
    distances, nearest = diversity.Distances(), manifold.Nearest(len(x), min(K, len(x) - 1))
    pairs.read(x, None, sums, distances, nearest, centre=centre)
    return {
        "kernel": sums.rows,
        "subsets": sums.subsets,
        "pairwise": torch.tensor(distances.mean(), dtype=torch.float64),
        "nearest": nearest.row[:, 0].clone(),
        "radii": nearest.radii(),
    }


def _enough(few: int, run: Record) -> bool:
    """Whether so many images a side give a FID."""
    return few >= frechet.MINIMUM and few > run.judge.dim


def note(run: Record, found: dict[str, Tensor], sizes: tuple[int, int], reference: bool) -> None:
    """Figures of what was :meth:`~Heldout.compared`.

    sizes: how many images were on each side, generated (or of the training) and held out
    """
    counts: dict[str, Any] = {"n_heldout": sizes[1], **run.labels(), "reference": reference}
    counts["n_train" if reference else "n_generated"] = sizes[0]
    label, few = run.judge.label, min(sizes)
    values = {name: float(value) for name, value in found.items()}

    note = (
        "all pairs, unbiased, ± jackknife standard error" if few >= 2 else "needs 2 images a side"
    )
    run.add(
        "kid", name=f"KID-{label}", value=values.get("kid"), error=values.get("kid_error"),
        better="lower", note=note, **counts,
    )  # fmt: skip
    size = min(1000, few // 2)
    note = f"mean ± deviation over 20 subsets of {size}" if few >= 4 else "needs 4 images a side"
    run.add(
        "kid_subsets", name=f"KID-{label} (subsets)", value=values.get("kid_subsets"),
        error=values.get("kid_subsets_error"), better="lower", note=note, **counts,
    )  # fmt: skip

    least = max(frechet.MINIMUM, run.judge.dim + 1)
    instead = f"needs {least:,} images a side, got {few:,}: read the KID instead"
    note = "" if _enough(few, run) else instead
    run.add(
        "fid", name=f"FID-{label}", value=values.get("fid"), better="lower", note=note, **counts
    )

    note = f"{K} nearest neighbours" if few > K else f"needs more than {K} images a side"
    for key in manifold.PRDC._fields:
        run.add(
            key, name=key.capitalize(), value=values.get(key), better="higher", note=note,
            **counts,
        )  # fmt: skip
    if few >= 2:
        note = "mean distance between two images, over that of held-out ones: 1 is as various"
        run.add(
            "diversity", name="Diversity", value=values.get("diversity"), better="higher",
            note=note, **counts,
        )  # fmt: skip
