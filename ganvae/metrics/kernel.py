"""The kernel distance (KID): squared maximum mean discrepancy with a cubic kernel.

| Demystifying MMD GANs (Bińkowski et al., 2018)
| https://arxiv.org/abs/1801.01401

k(x, y) = (x·y/d + 1)³ on raw features of dimension d. Two estimates are offered:
:func:`unbiased` uses every pair of all samples once and is the headline figure, with a jackknife
standard error; :func:`distance` averages over random subsets, as the paper and torchmetrics do,
and returns their spread (which is that of a *subset's* estimate, wider than the headline's).
Both estimates are unbiased: their expectation is the same for any number of samples, and for two
samples of one distribution they scatter around 0, below it as often as above.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

CHUNK = 2048
"""Rows of a kernel matrix held at once."""


class KernelDistance(NamedTuple):
    """An estimate of the squared MMD and its standard error (or spread over subsets)."""

    value: float
    error: float


def _check(a: Tensor, b: Tensor) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(
            f"Features must be (N, d) and (M, d), got {tuple(a.shape)} and {tuple(b.shape)}."
        )
    if min(len(a), len(b)) < 2:
        raise ValueError(f"At least 2 samples are needed on each side, got {len(a)}, {len(b)}.")


def _cubic(a: Tensor, b: Tensor) -> Tensor:
    """(x·y/d + 1)³ of all rows of a (N, d) with all of b (M, d): (N, M)."""
    return torch.addmm(a.new_ones(()), a, b.T, alpha=1 / a.shape[1]).pow_(3)


def within(a: Tensor) -> Tensor:
    """For each row of a (N, d) the sum of its kernel with all others: float64 (N,).

    The matrix is symmetric, so that half of it is computed.
    """
    sums = torch.zeros(len(a), dtype=torch.float64, device=a.device)
    for start in range(0, len(a), CHUNK):
        part = a[start : start + CHUNK]
        kernel = _cubic(part, a[start:])
        kernel.diagonal().zero_()
        sums[start : start + len(part)] += kernel.sum(1, dtype=torch.float64)
        sums[start + len(part) :] += kernel[:, len(part) :].sum(0, dtype=torch.float64)
    return sums


def _across(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column sums (float64) of the kernel matrix of a and b."""
    rows, columns = [], torch.zeros(len(b), dtype=torch.float64, device=b.device)
    for part in a.split(CHUNK):
        kernel = _cubic(part, b)
        rows.append(kernel.sum(1, dtype=torch.float64))
        columns += kernel.sum(0, dtype=torch.float64)
    return torch.cat(rows), columns


def unbiased(a: Tensor, b: Tensor, within_b: Tensor | None = None) -> KernelDistance:
    """Unbiased squared MMD of features a (N, d) and b (M, d) over all pairs, with standard error.

    The error is the jackknife's (each sample left out once), so it covers the samples of both
    sides. Memory: one block of :data:`CHUNK` × M kernel values.

    within_b: :func:`within` of b, where it is known already
    Raises ValueError for other shapes or fewer than 2 samples; the error is NaN for fewer than 3.
    """
    _check(a, b)
    n, m = len(a), len(b)
    aa, bb = within(a), within(b) if within_b is None else within_b
    ab, ba = _across(a, b)
    all_a, all_b, across = aa.sum(), bb.sum(), ab.sum()
    value = all_a / (n * (n - 1)) + all_b / (m * (m - 1)) - 2 * across / (n * m)
    if min(n, m) < 3:
        return KernelDistance(float(value), float("nan"))
    # the same three sums without sample i of a, and without sample j of b
    out_a = (all_a - 2 * aa) / ((n - 1) * (n - 2)) - 2 * (across - ab) / ((n - 1) * m)
    out_b = (all_b - 2 * bb) / ((m - 1) * (m - 2)) - 2 * (across - ba) / (n * (m - 1))
    variance = (n - 1) * out_a.var(correction=0) + (m - 1) * out_b.var(correction=0)
    return KernelDistance(float(value), float(variance.sqrt()))


def distance(
    a: Tensor, b: Tensor, subsets: int = 20, size: int = 1000, seed: int = 0
) -> KernelDistance:
    """Mean and standard deviation of the unbiased squared MMD over random subsets.

    a, b: features (N, d) and (M, d)
    subsets: how many; size: samples drawn without replacement from each side for each, at most
        half of the smaller side, so that subsets differ
    Raises ValueError for other shapes or fewer than 4 samples a side.
    """
    _check(a, b)
    if subsets < 1:
        raise ValueError(f"subsets must be at least 1, got {subsets}.")
    size = min(size, len(a) // 2, len(b) // 2)
    if size < 2:
        raise ValueError(f"Subsets need 4 samples a side, got {len(a)} and {len(b)}.")
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(subsets):
        rows_a = torch.from_numpy(rng.choice(len(a), size, replace=False)).to(a.device)
        rows_b = torch.from_numpy(rng.choice(len(b), size, replace=False)).to(b.device)
        values.append(unbiased(a[rows_a], b[rows_b]).value)
    return KernelDistance(float(np.mean(values)), float(np.std(values)))
