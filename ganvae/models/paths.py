"""Paths from one latent to another."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ganvae.errors import RangeError

Interpolation = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From (a, b, t), two latents of shape (B, d) and t in [0, 1], to the point on the way."""


def linear(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """(1 − t) a + t b."""
    return (1 - t) * a + t * b


def spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Along the arc between the directions of ``a`` and ``b``, while the length changes linearly.

    Where there is no one arc (parallel, opposite or zero vectors): along the straight line.

    | Sampling Generative Networks (White, 2016) | https://arxiv.org/abs/1609.04468
    """
    length_a, length_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    unit_a, unit_b = a / length_a.clamp(min=1e-12), b / length_b.clamp(min=1e-12)
    # the angle by 2 atan2(|u − v|, |u + v|): exact for small and for large ones, unlike acos
    angle = 2 * torch.atan2((unit_a - unit_b).norm(dim=1), (unit_a + unit_b).norm(dim=1))[:, None]
    sine = angle.sin()
    direction = (((1 - t) * angle).sin() * unit_a + (t * angle).sin() * unit_b) / sine
    arc = direction * linear(length_a, length_b, t)
    none = (sine.abs() < 1e-4) | (length_a == 0) | (length_b == 0)
    return torch.where(none, linear(a, b, t), arc)


def steps_between(a: Tensor, b: Tensor, steps: int, path: Interpolation = spherical) -> Tensor:
    """Points from each row of ``a`` to that of ``b``, both included: (B, d) to (B, steps, d).

    Raises RangeError for fewer than 2 steps.
    """
    if steps < 2:
        raise RangeError(f"an interpolation needs at least 2 steps, got {steps}")
    times = torch.linspace(0, 1, steps, device=a.device)
    return torch.stack([path(a, b, t) for t in times], 1)
