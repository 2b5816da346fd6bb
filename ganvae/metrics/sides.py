"""Two sets of features side by side, and statistics of their pairs: the input of every figure.

The pairs are read once for all figures: within each set, then across.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ganvae.metrics import distances, kernel, manifold
from ganvae.metrics.figures import Better

K = 5
"""Neighbours of precision, recall, density and coverage."""

Subsets = tuple[Tensor, Tensor]
"""Membership of the rows of two sets in subsets: see :func:`kernel.choose`."""


class Within(NamedTuple):
    """Statistics of the pairs within one set x (N ≥ 2, d).

    kernel: :func:`kernel.within`; subsets: the kernel's sums over the pairs of each subset
    pairwise: :func:`distances.pairwise`, float64 ()
    nearest: row of the nearest other, (N,); radii: :func:`manifold.radii`
    """

    kernel: Tensor
    subsets: Tensor
    pairwise: Tensor
    nearest: Tensor
    radii: Tensor


def within(x: Tensor, members: Tensor | None, centre: Tensor | None = None) -> Within:
    """One pass over the pairs of x (N ≥ 2, d).

    members: which rows are in which subset, (N, S); centre: see :func:`distances.read`
    """
    sums = kernel.Sums(x, chosen=None if members is None else (members, members))
    mean, nearest = distances.Mean(), manifold.Nearest(len(x), min(K, len(x) - 1))
    distances.read(x, None, sums, mean, nearest, centre=centre)
    return Within(
        kernel=sums.rows,
        subsets=sums.subsets,
        pairwise=torch.tensor(mean.value(), dtype=torch.float64),
        nearest=nearest.row[:, 0].clone(),
        radii=nearest.radii(),
    )


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Features a (n ≥ 2, d) of some images, and b (N ≥ 2, d) of held-out ones.

    within_a, within_b: statistics of the pairs within each set
    sums: of the kernel, over the pairs across
    balls: which of a lie in whose balls of K neighbours; None for too few images
    subsets: those that the sums are of; None for too few images
    cache: (name, compute): the result of compute, which must follow from b alone, kept on disk
    """

    a: Tensor
    b: Tensor
    within_a: Within
    within_b: Within
    sums: kernel.Sums
    balls: manifold.Balls | None
    subsets: Subsets | None
    cache: Callable[[str, Callable[[], dict[str, Tensor]]], dict[str, Tensor]]

    @property
    def few(self) -> int:
        """Images on the smaller side."""
        return min(len(self.a), len(self.b))


class Meaning(NamedTuple):
    """What a figure is called, which direction is better, and how it is measured.

    note: where it has no value, why
    """

    key: str
    name: str
    better: Better
    note: str = ""
