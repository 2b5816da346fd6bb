"""Distances nearer to the eye than squares of pixels, which need no trained network."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate


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
