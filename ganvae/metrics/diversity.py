"""How different a model's samples are from one another."""

from __future__ import annotations

import torch
from torch import Tensor

from ganvae.metrics.manifold import _blocks, _centred


def pairwise(features: Tensor) -> float:
    """Mean Euclidean distance between two different rows of features (N, d), ≥ 0.

    0 when all samples are one; compare with the same figure of as many real images.
    Raises ValueError for fewer than 2 samples.
    """
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"Features must be (N ≥ 2, d), got {tuple(features.shape)}.")
    x, _ = _centred(features, features)
    total, n = 0.0, len(x)
    for start, block in _blocks(x, x):
        block.diagonal(start).zero_()
        total += float(block.sum(dtype=torch.float64))
    return total / (n * (n - 1))
