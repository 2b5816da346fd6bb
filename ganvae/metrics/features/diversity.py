"""Diversity: the mean distance between images, over that between held-out ones."""

from __future__ import annotations

from collections.abc import Iterator

from ganvae.metrics.judge import Judge
from ganvae.metrics.sides import Meaning, Sides


def values(sides: Sides) -> dict[str, float]:
    """See :class:`ganvae.metrics.features.Metric`."""
    generated, heldout = float(sides.within_a.pairwise), float(sides.within_b.pairwise)
    return {"diversity": generated / max(heldout, 1e-12)}


def figures(judge: Judge, few: int) -> Iterator[Meaning]:
    """See :class:`ganvae.metrics.features.Metric`."""
    if few >= 2:
        note = "mean distance between two images, over that of held-out ones: 1 is as various"
        yield Meaning("diversity", "Diversity", "higher", note)
