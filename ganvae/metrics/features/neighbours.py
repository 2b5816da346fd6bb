"""Precision, recall, density and coverage."""

from __future__ import annotations

from collections.abc import Iterator

from ganvae.metrics.judge import Judge
from ganvae.metrics.manifold import PRDC
from ganvae.metrics.sides import K, Meaning, Sides


def values(sides: Sides) -> dict[str, float]:
    """See :class:`ganvae.metrics.features.Metric`."""
    return sides.balls.scores(K)._asdict() if sides.balls else {}


def figures(judge: Judge, few: int) -> Iterator[Meaning]:
    """See :class:`ganvae.metrics.features.Metric`."""
    note = f"{K} nearest neighbours" if few > K else f"needs more than {K} images a side"
    for key in PRDC._fields:
        yield Meaning(key, key.capitalize(), "higher", note)
