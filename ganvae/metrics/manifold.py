"""Precision, recall, density and coverage: quality and variety apart, by nearest neighbours.

| Improved Precision and Recall Metric (Kynkäänniemi et al., 2019)
| https://arxiv.org/abs/1904.06991
| Reliable Fidelity and Diversity Metrics (Naeem et al., 2020)
| https://arxiv.org/abs/2002.09797
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

CHUNK = 1024
"""Rows of a distance matrix held at once."""


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


def _blocks(a: Tensor, b: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Blocks of rows of the matrix of Euclidean distances, each with its first row's number."""
    norm_a, norm_b = a.square().sum(1), b.square().sum(1)
    for start in range(0, len(a), CHUNK):
        part = slice(start, start + CHUNK)
        squared = torch.addmm(norm_b, a[part], b.T, alpha=-2).add_(norm_a[part, None])
        yield start, squared.clamp_(min=0).sqrt_()


def _centred(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both moved by the mean of ``b``: distances stay, rounding shrinks."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(
            f"Features must be (N, d) and (M, d), got {tuple(a.shape)} and {tuple(b.shape)}."
        )
    mean = b.mean(0)
    return a - mean, b - mean


def neighbours(a: Tensor, b: Tensor, k: int = 1, same: bool = False) -> Neighbours:
    """The k nearest rows of b (M, d) for each row of a (N, d), Euclidean, in bounded memory.

    same: a and b are the same rows in the same order, and none is its own neighbour
    The distances returned are computed again from the differences, so that copies are at 0.
    Raises ValueError where b has too few rows.
    """
    if len(b) - same < k:
        raise ValueError(f"{k} neighbours need more than {len(b)} samples.")
    a, b = _centred(a, b)
    rows = []
    for start, block in _blocks(a, b):
        if same:
            block.diagonal(start).fill_(float("inf"))
        rows.append(block.topk(k, largest=False).indices)
    row = torch.cat(rows) if rows else torch.empty(0, k, dtype=torch.long)
    exact = torch.stack([(a - b[row[:, i]]).square().sum(1).sqrt() for i in range(k)], 1)
    exact, order = exact.sort(1)
    return Neighbours(exact, row.gather(1, order))


def radii(a: Tensor, k: int = 5) -> Tensor:
    """For each row of a (N, d) the distance to its k-th nearest other row, (N,)."""
    return neighbours(a, a, k, same=True).distance[:, -1]


def prdc(real: Tensor, fake: Tensor, k: int = 5, around_real: Tensor | None = None) -> PRDC:
    """Precision, recall, density and coverage of fake (M, d) against real (N, d).

    With r_i the distance from real i to its k-th nearest other real one:
    precision: share of fakes inside some real ball; density: real balls around a fake, over k;
    coverage: share of real balls with a fake inside; recall: precision with the roles swapped.

    around_real: :func:`radii` of the real ones, where they are known already
    Raises ValueError for fewer than k + 1 samples on a side.
    """
    if min(len(real), len(fake)) <= k:
        raise ValueError(f"k = {k} needs more than {k} samples, got {len(real)} and {len(fake)}.")
    around_real = radii(real, k) if around_real is None else around_real
    around_fake = radii(fake, k)
    fake, real = _centred(fake, real)
    balls = torch.zeros(len(fake), device=fake.device)
    recalled, covered = [], []
    for start, block in _blocks(real, fake):
        inside = block < around_real[start : start + len(block), None]
        balls += inside.sum(0)
        covered.append(inside.any(1))
        recalled.append((block < around_fake).any(1))
    return PRDC(
        precision=float((balls > 0).double().mean()),
        recall=float(torch.cat(recalled).double().mean()),
        density=float(balls.double().mean() / k),
        coverage=float(torch.cat(covered).double().mean()),
    )
