"""What happens to images on the way to a network: scaling and mirroring."""

from __future__ import annotations

import torch
from torch import Tensor


def to_float(pixels: Tensor) -> Tensor:
    """uint8 (B, H, W, C) to float32 (B, C, H, W) in [-1, 1], channels last in memory."""
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1)


def flip(images: Tensor, which: Tensor) -> Tensor:
    """Mirrors some images left to right.

    images: shape (B, C, H, W); which: bool, shape (B,)
    """
    return torch.where(which[:, None, None, None], images.flip(3), images)
