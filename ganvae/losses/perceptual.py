"""Distances nearer to the eye than squares of pixels, which need no trained network."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, normalize

from ganvae.types import Seen


def absolute(x_hat: Tensor, x: Tensor) -> Tensor:
    """|x − x̂|: summed over the dimensions of a sample, mean over the batch."""
    return (x_hat - x).abs().flatten(1).sum(1).mean()


def pyramid(x_hat: Tensor, x: Tensor) -> Tensor:
    """Σ_j 4^j |L_j(x) − L_j(x̂)| over the levels of a Laplacian pyramid, the coarsest one last.

    Images of shape (B, C, H, W); summed over a sample, mean over the batch. A level has a quarter
    of the values of the one before, so each counts as much as |x − x̂| does: edges as well as
    lighting, and an edge in the wrong place less than one that is missing.

    | Optimizing the Latent Space of Generative Networks (Bojanowski et al., 2018), section 3
    | https://arxiv.org/abs/1707.05776
    """
    rest = x_hat - x  # a pyramid is linear
    total, weight = x.new_zeros(()), 1
    while min(rest.shape[2:]) > 4 and rest.shape[2] % 2 == rest.shape[3] % 2 == 0:
        coarse = avg_pool2d(rest, 2)
        again = interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        total = total + weight * absolute(rest, again)
        rest, weight = coarse, 4 * weight
    return total + weight * absolute(rest, rest.new_zeros(()))


def perceptual(x_hat: Tensor, x: Tensor, weight: float) -> Tensor:
    """|x − x̂| + ``weight`` · :func:`pyramid`."""
    error = absolute(x_hat, x)
    return error + weight * pyramid(x_hat, x) if weight else error


def as_seen(x_hat: Tensor | Seen, x: Tensor | Seen, rows: int) -> Tensor | float:
    """Σ_l mean ‖f_l(x) − f_l(x̂)‖² of the first rows, of features f of unit length at every place.

    0 where nobody's eyes have looked at the images, see :func:`ganvae.types.look`.

    | The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (Zhang et al., 2018)
    | https://arxiv.org/abs/1801.03924, eq. 1 without learnt weights
    """
    if not (isinstance(x_hat, Seen) and isinstance(x, Seen)):
        return 0.0
    pairs = zip(x_hat.maps, x.maps, strict=True)
    units = ((normalize(a[:rows].float()), normalize(b[:rows].float())) for a, b in pairs)
    return torch.stack([(a - b).square().sum(1).mean() for a, b in units]).sum()
