"""Precision, recall, density and coverage: quality and variety apart, by nearest neighbours.

| Improved Precision and Recall Metric (Kynkäänniemi et al., 2019)
| https://arxiv.org/abs/1904.06991
| Reliable Fidelity and Diversity Metrics (Naeem et al., 2020)
| https://arxiv.org/abs/2002.09797
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ganvae.metrics import distances


class Neighbours(NamedTuple):
    """Distances (N, k), ascending, and the row numbers (N, k) of the k nearest."""

    distance: Tensor
    row: Tensor


class PRDC(NamedTuple):
    """Precision, recall and coverage in [0, 1]; density ≥ 0, 1 for equal distributions."""

    precision: float
    recall: float
    density: float
    coverage: float


class Nearest:
    """Finds the k nearest neighbours of the first n rows of a, block by block.

    They are rows of b or, where the pass is within one set, other rows of a.

    squared: squared distances (n, k), ascending; row: the neighbours' row numbers, (n, k)
    """

    def __init__(self, n: int, k: int = 1, device: torch.device | str = "cpu"):
        self.squared = torch.full((n, k), torch.inf, device=device)
        self.row = torch.zeros(n, k, dtype=torch.long, device=device)

    def take(self, block: distances.Block) -> None:
        """Reads a block."""
        self._offer(block.rows, block.columns.start, block.squared)
        if block.mirrored:  # copied, because columns are slow to look through
            self._offer(block.columns, block.rows.start, block.squared.T.contiguous())

    def _offer(self, rows: slice, first: int, squared: Tensor) -> None:
        n, k = self.row.shape
        rows = slice(rows.start, min(rows.stop, n))
        if rows.start >= n:
            return
        squared = squared[: rows.stop - rows.start]
        if k == 1:
            values, row = squared.min(1, keepdim=True)
        else:
            values, row = squared.topk(min(k, squared.shape[1]), largest=False)
        values = torch.cat([self.squared[rows], values], 1)
        row = torch.cat([self.row[rows], row + first], 1)
        self.squared[rows], best = values.topk(k, largest=False)
        self.row[rows] = row.gather(1, best)

    def radii(self) -> Tensor:
        """The distance of each to its k-th nearest, (n,)."""
        return self.squared[:, -1].sqrt()

    def found(self, a: Tensor, b: Tensor) -> Neighbours:
        """The neighbours, with distances computed again from the differences a − b.

        These are exactly 0 for copies; those of the pass, from products, are not.
        """
        n, k = self.row.shape
        squared = [(a[:n] - b[self.row[:, i]]).square_().sum(1) for i in range(k)]
        distance, order = torch.stack(squared, 1).sqrt_().sort(1)
        return Neighbours(distance, self.row.gather(1, order))


def neighbours(a: Tensor, b: Tensor, k: int = 1, same: bool = False) -> Neighbours:
    """The k nearest rows of b (M, d) for each row of a (N, d), Euclidean, in bounded memory.

    same: a and b are the same rows in the same order, and none is its own neighbour
    The distances returned are computed again from the differences, so that copies are at 0.
    Raises ValueError where b has too few rows.
    """
    if len(b) - same < k:
        raise ValueError(f"{k} neighbours need more than {len(b)} samples.")
    nearest = Nearest(len(a), k, a.device)
    distances.read(a, None if same else b, nearest)
    return nearest.found(a, b)


def nearer(first: Neighbours, second: Neighbours) -> Neighbours:
    """The nearer neighbours of two searches; those of ``first`` where both are as near."""
    better = second.distance < first.distance
    return Neighbours(*(torch.where(better, y, x) for x, y in zip(first, second, strict=True)))


def radii(a: Tensor, k: int = 5) -> Tensor:
    """For each row of a (N, d) the distance to its k-th nearest other row, (N,).

    Raises ValueError for too few rows.
    """
    if len(a) <= k:
        raise ValueError(f"{k} neighbours need more than {len(a)} samples.")
    nearest = Nearest(len(a), k, a.device)
    distances.read(a, None, nearest)
    return nearest.radii()


class Balls:
    """Counts which fakes (rows) and real images (columns) lie in each other's balls.

    An image's ball reaches to its k-th nearest neighbour of its own set.

    around_fake, around_real: :func:`radii`, (M,) and (N,)
    """

    def __init__(self, around_fake: Tensor, around_real: Tensor):
        self._fake, self._real = around_fake.square(), around_real.square()
        self._count = torch.zeros_like(around_fake)
        self._nearest = torch.full_like(around_real, torch.inf)
        self._deepest = torch.full_like(around_real, torch.inf)

    def take(self, block: distances.Block) -> None:
        """Reads a block."""
        rows, columns, squared = block.rows, block.columns, block.squared
        # as float32, because sums and minima of that are several times as fast as of bool
        inside = torch.lt(squared, self._real[columns], out=torch.empty_like(squared))
        self._count[rows] += inside.sum(1)
        minima = squared.amin(0), (squared - self._fake[rows, None]).amin(0)
        for record, new in zip((self._nearest, self._deepest), minima, strict=True):
            record[columns] = record[columns].minimum(new)

    def scores(self, k: int) -> PRDC:
        """The scores, with the k that the radii are of."""
        return PRDC(
            precision=float((self._count > 0).double().mean()),
            recall=float((self._deepest < 0).double().mean()),
            density=float(self._count.double().mean() / k),
            coverage=float((self._nearest < self._real).double().mean()),
        )


def prdc(real: Tensor, fake: Tensor, k: int = 5) -> PRDC:
    """Precision, recall, density and coverage of fake (M, d) against real (N, d).

    With r_i the distance from real i to its k-th nearest other real one:
    precision: share of fakes inside some real ball; density: real balls around a fake, over k;
    coverage: share of real balls with a fake inside; recall: precision with the roles swapped.

    Raises ValueError for fewer than k + 1 samples on a side.
    """
    if min(len(real), len(fake)) <= k:
        raise ValueError(f"k = {k} needs more than {k} samples, got {len(real)} and {len(fake)}.")
    balls = Balls(radii(fake, k), radii(real, k))
    distances.read(fake, real, balls)
    return balls.scores(k)
