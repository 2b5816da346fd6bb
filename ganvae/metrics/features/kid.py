"""KID over all pairs, the headline figure, and its mean over random subsets, as others have it."""

from __future__ import annotations

from collections.abc import Iterator

from ganvae.metrics import kernel
from ganvae.metrics.judge import Judge
from ganvae.metrics.sides import Meaning, Sides


def values(sides: Sides) -> dict[str, float]:
    """See :class:`ganvae.metrics.features.Metric`."""
    a, b = sides.within_a, sides.within_b
    value, error = kernel.estimate(a.kernel, b.kernel, sides.sums)
    estimates = {"kid": value, "kid_error": error}
    if sides.subsets:
        size = int(sides.subsets[0][:, 0].sum())
        value, error = kernel.spread(a.subsets, b.subsets, sides.sums.subsets, size)
        estimates |= {"kid_subsets": value, "kid_subsets_error": error}
    return estimates


def figures(judge: Judge, few: int) -> Iterator[Meaning]:
    """See :class:`ganvae.metrics.features.Metric`."""
    note = "all pairs, unbiased, ± jackknife standard error"
    note = note if few >= 2 else "needs 2 images a side"
    yield Meaning("kid", f"KID-{judge.label}", "lower", note)
    note = f"mean ± deviation over 20 subsets of {min(1000, few // 2)}"
    note = note if few >= 4 else "needs 4 images a side"
    yield Meaning("kid_subsets", f"KID-{judge.label} (subsets)", "lower", note)
