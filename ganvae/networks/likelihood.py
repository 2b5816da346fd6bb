"""p(x|z), as a function of the decoded image."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

LEVELS = 255
"""8-bit images: the distance between two levels is 2/255 in [-1, 1]."""


class Likelihood(nn.Module):
    """p(x|z) around the decoded image x̂, with one scale for all pixels.

    kind: "gaussian" (density of x), "logistic" (probability of the 8-bit levels, so that −log₂ is
        bits), or "bernoulli" (of (x+1)/2, for binary images; grey values are taken as averages)
    log_scale: logarithm of the Gaussian's σ or of the logistic's s, in units of [-1, 1]

    | Simple and Effective VAE Training with Calibrated Decoders (Rybkin et al., 2020)
    | https://arxiv.org/abs/2006.13202
    | PixelCNN++ (Salimans et al., 2017), eq. 2 | https://arxiv.org/abs/1701.05517
    """

    def __init__(self, kind: Literal["gaussian", "bernoulli", "logistic"], scale: float = 1.0):
        super().__init__()
        self.kind = kind
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    @property
    def discrete(self) -> bool:
        """Whether the values are probabilities, so that −log p is a code length."""
        return self.kind != "gaussian"

    def forward(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """log p(x|z) in nats, summed over each sample's dimensions: shape (B,)."""
        return getattr(self, f"_{self.kind}")(x_hat, x).flatten(1).sum(1)

    def _gaussian(self, x_hat: Tensor, x: Tensor) -> Tensor:
        standard = (x - x_hat) * torch.exp(-self.log_scale)
        return -0.5 * standard.square() - self.log_scale - 0.5 * math.log(2 * math.pi)

    def _bernoulli(self, x_hat: Tensor, x: Tensor) -> Tensor:
        p = 0.5 * (x_hat + 1)
        p = p + (p.clamp(1e-6, 1 - 1e-6) - p).detach()  # clamped, but with a gradient
        target = 0.5 * (x + 1)
        return target * p.log() + (1 - target) * torch.log1p(-p)

    def _logistic(self, x_hat: Tensor, x: Tensor) -> Tensor:
        inverse = torch.exp(-self.log_scale)
        centred, half = x - x_hat, 1 / LEVELS
        upper, lower = (centred + half) * inverse, (centred - half) * inverse
        # log[σ(u) − σ(l)] = log σ(u) + log σ(−l) + log(1 − e^(l−u)), stable for any u > l
        inside = logsigmoid(upper) - softplus(lower) + torch.log(-torch.expm1(lower - upper))
        first, last = logsigmoid(upper), -softplus(lower)
        return torch.where(x < -1 + half, first, torch.where(x > 1 - half, last, inside))

    @torch.no_grad()
    def fit_scale(self, x_hat: Tensor, x: Tensor) -> None:
        """Set the scale to the Gaussian's best for these images: σ² = mean (x − x̂)².

        The gradient of −log p at this σ, held still, is that of σ-VAE's optimal likelihood
        D/2 log MSE, because the derivative with respect to σ vanishes there.
        """
        self.log_scale.copy_(0.5 * (x - x_hat).square().mean().clamp(min=1e-8).log())
