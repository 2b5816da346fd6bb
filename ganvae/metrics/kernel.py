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

from ganvae.metrics import distances


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


class Sums:
    """Sums of the kernel over the pairs of a pass, in float64.

    rows: for each row of a with all of b, (N,); columns: for each row of b with all of a, (M,)
    subsets: over the pairs of which both are in one subset, (S,)

    Within one set no row is paired with itself, columns are the rows, and a subset's pairs count
    in both orders.
    """

    def __init__(
        self, a: Tensor, b: Tensor | None = None, chosen: tuple[Tensor, Tensor] | None = None
    ):
        """chosen: which rows of a and of b are in which subset, 0 or 1, (N, S) and (M, S)."""
        other = a if b is None else b
        first, second = chosen or (a.new_empty(len(a), 0), a.new_empty(len(other), 0))
        self._members = first.to(a), second.to(a)
        # x·y/d + 1 = (‖x‖²/2d + ½) + (‖y‖²/2d + ½) − ‖x − y‖²/2d
        self._share = 0.5 / a.shape[1]
        self._norms = tuple(self._share * distances.norms(x) + 0.5 for x in (a, other))
        self.rows = torch.zeros(len(a), dtype=torch.float64, device=a.device)
        self.columns = self.rows if b is None else self.rows.new_zeros(len(b))
        self.subsets = self.rows.new_zeros(self._members[0].shape[1])

    def take(self, block: distances.Block) -> None:
        """Adds a block's pairs."""
        norm_a, norm_b = self._norms[0][block.rows, None], self._norms[1][block.columns]
        k = torch.add(norm_b, block.squared, alpha=-self._share).add_(norm_a).pow_(3)
        if block.diagonal:
            k.fill_diagonal_(0)
        else:
            self.columns[block.columns] += k.sum(0)
        self.rows[block.rows] += k.sum(1)
        in_a, in_b = self._members[0][block.rows], self._members[1][block.columns]
        together = (in_a * (k @ in_b)).sum(0, dtype=torch.float64)
        self.subsets += 2 * together if block.mirrored else together


def within(a: Tensor, centre: Tensor | None = None) -> Tensor:
    """For each row of a (N, d) the sum of its kernel with all others: float64 (N,).

    centre: see :func:`distances.read`
    """
    sums = Sums(a)
    distances.read(a, None, sums, centre=centre)
    return sums.rows


def unbiased(a: Tensor, b: Tensor) -> KernelDistance:
    """Unbiased squared MMD of features a (N, d) and b (M, d) over all pairs, with standard error.

    The error is the jackknife's (each sample left out once), so it covers the samples of both
    sides. Memory is bounded, see :mod:`ganvae.metrics.distances`.

    Raises ValueError for other shapes or fewer than 2 samples; the error is NaN for fewer than 3.
    """
    _check(a, b)
    # with one centre, rounding errors of a row are equal within and across, and cancel
    across, centre = Sums(a, b), b.mean(0)
    distances.read(a, b, across, centre=centre)
    return estimate(within(a, centre), within(b, centre), across)


def estimate(aa: Tensor, bb: Tensor, across: Sums) -> KernelDistance:
    """:func:`unbiased` from :func:`within` of both sides, and the sums across."""
    n, m = len(aa), len(bb)
    ab, ba = across.rows, across.columns
    all_a, all_b, all_ab = aa.sum(), bb.sum(), ab.sum()
    value = all_a / (n * (n - 1)) + all_b / (m * (m - 1)) - 2 * all_ab / (n * m)
    if min(n, m) < 3:
        return KernelDistance(float(value), float("nan"))
    # the same three sums without sample i of a, and without sample j of b
    out_a = (all_a - 2 * aa) / ((n - 1) * (n - 2)) - 2 * (all_ab - ab) / ((n - 1) * m)
    out_b = (all_b - 2 * bb) / ((m - 1) * (m - 2)) - 2 * (all_ab - ba) / (n * (m - 1))
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
    sets = choose(len(a), len(b), subsets, size, seed)
    aa, bb, ab = Sums(a, None, sets[:1] * 2), Sums(b, None, sets[1:] * 2), Sums(a, b, sets)
    for x, y, sums in (a, None, aa), (b, None, bb), (a, b, ab):
        distances.read(x, y, sums, centre=b.mean(0))
    return spread(aa.subsets, bb.subsets, ab.subsets, int(sets[0][:, 0].sum()))


def choose(
    n: int, m: int, subsets: int = 20, size: int = 1000, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Random subsets of n and of m rows, for :class:`Sums`: (n, subsets) and (m, subsets).

    Of each side ``size`` rows, or half of the smaller side if that is less.
    Raises ValueError for fewer than 4 rows a side.
    """
    if subsets < 1:
        raise ValueError(f"subsets must be at least 1, got {subsets}.")
    size = min(size, n // 2, m // 2)
    if size < 2:
        raise ValueError(f"Subsets need 4 samples a side, got {n} and {m}.")
    rng = np.random.default_rng(seed)
    members = torch.zeros(n, subsets), torch.zeros(m, subsets)
    for i in range(subsets):
        for side in members:
            side[rng.choice(len(side), size, replace=False), i] = 1
    return members


def spread(aa: Tensor, bb: Tensor, ab: Tensor, size: int) -> KernelDistance:
    """:func:`distance` from the sums over subsets of ``size``: within both sides, and across."""
    values = (aa + bb) / (size * (size - 1)) - 2 * ab / size**2
    return KernelDistance(float(values.mean()), float(values.std(correction=0)))
