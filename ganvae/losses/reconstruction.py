"""Distances between an image (or its features) and what was made of it."""

from __future__ import annotations

from torch import Tensor


def squared(x_hat: Tensor, x: Tensor) -> Tensor:
    """‖x − x̂‖²: summed over the dimensions of a sample, mean over the batch."""
    return (x_hat - x).square().flatten(1).sum(1).mean()
