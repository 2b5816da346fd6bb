"""How different a model's samples are from one another."""

from __future__ import annotations

import torch
from torch import Tensor

from ganvae.metrics import pairs


class Distances:
    """The mean Euclidean distance of the pairs of a pass."""

    def __init__(self) -> None:
        self._total, self._count = 0.0, 0

    def take(self, block: pairs.Block) -> None:
        """Adds a block's pairs."""
        distances, count = block.squared.sqrt(), block.squared.numel()
        if block.diagonal:
            distances.fill_diagonal_(0)
            count -= len(distances)
        times = 2 if block.mirrored else 1
        self._total += times * float(distances.sum(1).sum(dtype=torch.float64))
        self._count += times * count

    def mean(self) -> float:
        """The mean over all pairs read."""
        return self._total / self._count


def pairwise(features: Tensor) -> float:
    """Mean Euclidean distance between two different rows of features (N, d), ≥ 0.

    0 when all samples are one; compare with the same figure of as many real images.
    Raises ValueError for fewer than 2 samples.
    """
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"Features must be (N ≥ 2, d), got {tuple(features.shape)}.")
    distances = Distances()
    pairs.read(features, None, distances)
    return distances.mean()
