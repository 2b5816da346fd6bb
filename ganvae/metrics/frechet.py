"""The Fréchet distance between two Gaussians fitted to features (FID, with FID's network)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

MINIMUM = 5000
"""Below this many samples on either side the estimate's bias hides the difference."""

CHUNK = 1024
"""Features taken to float64 at once."""


class Moments(NamedTuple):
    """Mean (d,) and covariance (d, d) of features, in float64."""

    mean: Tensor
    covariance: Tensor


def moments(features: Tensor) -> Moments:
    """Sample mean and unbiased covariance of features (N, d), N ≥ 2.

    Raises ValueError for fewer samples, another shape or non-finite values.
    """
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"Features must be (N ≥ 2, d), got {tuple(features.shape)}.")
    mean = features.mean(0, dtype=torch.float64)
    if not bool(mean.isfinite().all()):
        raise ValueError("Features must be finite.")
    products = torch.zeros_like(mean).diag()
    for part in features.split(CHUNK):
        centred = part - mean
        products.addmm_(centred.T, centred)
    return Moments(mean, products / (len(features) - 1))


def root(covariance: Tensor) -> Tensor:
    """The symmetric square root of a positive semi-definite matrix (d, d).

    By eigenvalues; those that rounding has made negative count as zero, so that singular
    covariances (fewer samples than dimensions) are no special case.
    """
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def between(a: Moments, b: Moments, root_b: Tensor | None = None) -> float:
    """‖μ_a − μ_b‖² + tr(C_a + C_b − 2 (C_a C_b)^½), ≥ 0.

    root_b: :func:`root` of C_b, where it is known already

    | The Fréchet distance between multivariate normal distributions (Dowson & Landau, 1982)

    (C_a C_b)^½ has the trace of (C_b^½ C_a C_b^½)^½, which is symmetric and thus has real,
    non-negative eigenvalues.
    """
    half = root(b.covariance) if root_b is None else root_b
    inner = half @ a.covariance @ half
    cross = torch.linalg.eigvalsh((inner + inner.T) / 2).clamp(min=0).sqrt().sum()
    spread = a.covariance.trace() + b.covariance.trace() - 2 * cross
    return max(float((a.mean - b.mean).square().sum() + spread), 0.0)


def distance(a: Tensor, b: Tensor) -> float:
    """Fréchet distance between features a (N, d) and b (M, d); 0 for equal moments.

    It is biased upwards, the more the fewer the samples: compare only scores of equal N and M,
    and none below some 5,000 (:data:`MINIMUM`).
    """
    if a.ndim == b.ndim == 2 and a.shape[1] != b.shape[1]:
        raise ValueError(f"Features differ in dimension: {a.shape[1]} and {b.shape[1]}.")
    return between(moments(a), moments(b))
