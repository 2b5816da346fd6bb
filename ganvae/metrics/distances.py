"""Distances between all pairs of two sets of features, in blocks that many measures share.

The product of the features is most of what a comparison costs, so that it is computed once: each
measure gets every block, accumulates what it needs, and has its result when the pass is over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

CHUNK = 1024
"""Rows and columns of a block: what is done to each of its values finds them in the cache."""


class Block(NamedTuple):
    """Squared distances (R, C) ≥ 0 of some rows of one set and some of the other.

    within: whether both sets are one. Then each pair comes once: a block that is not on the
        diagonal stands for its transpose, too; the diagonal itself is infinite.
    """

    rows: slice
    columns: slice
    squared: Tensor
    within: bool

    @property
    def diagonal(self) -> bool:
        """Whether it holds pairs of an image with itself."""
        return self.within and self.rows == self.columns

    @property
    def mirrored(self) -> bool:
        """Whether it stands for its transpose, too."""
        return self.within and self.rows != self.columns


class Measure(Protocol):
    """An accumulator that gets every block of a pass."""

    def take(self, block: Block) -> None:
        """Reads a block, which is to be left as it is."""


def read(a: Tensor, b: Tensor | None, *measures: Measure, centre: Tensor | None = None) -> None:
    """Passes all pairs of rows of a (N, d) and b (M, d) to each measure, in blocks.

    b: None for the pairs within a

    centre: what is taken from the features first, (d,), because rounding is less near 0; unset:
        the mean of the second. Passes with one centre round each row alike.
    Memory: a copy of the features, and two blocks or so. Raises ValueError for other shapes.
    """
    for block in _blocks(a, b, centre):
        for measure in measures:
            measure.take(block)


def norms(x: Tensor) -> Tensor:
    """‖x‖² of each row of x (N, d): (N,), without a copy of the features."""
    return torch.linalg.vector_norm(x, dim=1).square_()


def _blocks(a: Tensor, b: Tensor | None, centre: Tensor | None) -> Iterator[Block]:
    within, b = b is None, a if b is None else b
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(
            f"Features must be (N, d) and (M, d), got {tuple(a.shape)} and {tuple(b.shape)}."
        )
    centre = b.mean(0) if centre is None else centre
    b = b - centre
    a = b if within else a - centre
    norm_b = norms(b)
    norm_a = norm_b if within else norms(a)
    for start in range(0, len(a), CHUNK):
        rows = slice(start, min(start + CHUNK, len(a)))
        for first in range(start if within else 0, len(b), CHUNK):
            columns = slice(first, min(first + CHUNK, len(b)))
            squared = torch.addmm(norm_b[columns], a[rows], b[columns].T, alpha=-2)
            block = Block(rows, columns, squared, within)
            squared.add_(norm_a[rows, None]).clamp_(min=0)
            if block.diagonal:
                squared.fill_diagonal_(torch.inf)
            yield block


class Mean:
    """Accumulates the mean Euclidean distance of all pairs."""

    def __init__(self) -> None:
        self._total, self._count = 0.0, 0

    def take(self, block: Block) -> None:
        """Adds a block's pairs."""
        distances, count = block.squared.sqrt(), block.squared.numel()
        if block.diagonal:
            distances.fill_diagonal_(0)
            count -= len(distances)
        times = 2 if block.mirrored else 1
        self._total += times * float(distances.sum(1).sum(dtype=torch.float64))
        self._count += times * count

    def value(self) -> float:
        """The mean."""
        return self._total / self._count


def pairwise(features: Tensor) -> float:
    """Mean Euclidean distance between two different rows of features (N, d), ≥ 0.

    0 when all samples are one; compare with the same figure of as many real images.
    Raises ValueError for fewer than 2 samples.
    """
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"Features must be (N ≥ 2, d), got {tuple(features.shape)}.")
    mean = Mean()
    read(features, None, mean)
    return mean.value()
