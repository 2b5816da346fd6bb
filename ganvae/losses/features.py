"""Distances between images as a network sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ganvae.losses.reconstruction import squared
from ganvae.types import Condition


def matching(D: Callable[..., Any], x_hat: Tensor, x: Tensor, c: Condition = ()) -> Tensor:
    """‖f_D(x) − f_D(x̂)‖²: summed over the features of a sample, mean over the batch.

    D: gives (logits, features) of images where ``features=True``; hold it still with ``frozen``
    c: what both images belong to

    | Autoencoding beyond pixels using a learned similarity metric (Larsen et al., 2016), eq. 6
    | https://arxiv.org/abs/1512.09300
    """
    _, f_x = D(x, *c, features=True)
    _, f_x_hat = D(x_hat, *c, features=True)
    return squared(f_x_hat, f_x)


def matching_means(f_x: Tensor, f_1: Tensor, f_2: Tensor) -> Tensor:
    """⟨f(x) − f(x̂₁), f(x) − f(x̂₂)⟩, of features (B, F): a sum over them, mean over the batch.

    x̂₁ and x̂₂ are made independently of each other and of x, for what x belongs to, y. Then its
    expectation is ‖E f(x|y) − E f(x̂|y)‖² plus the variance of f(x|y), which does not depend on x̂:
    the gradient is that of the distance between the means, from single samples. With x̂₁ = x̂₂ the
    variance of f(x̂|y) would be added and shrunk, with means over a batch a share of it.

    | CVAE-GAN: Fine-Grained Image Generation through Asymmetric Training (Bao et al., 2017)
    | https://arxiv.org/abs/1703.10155
    """
    return ((f_x - f_1) * (f_x - f_2)).sum(1).mean()
