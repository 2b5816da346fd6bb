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
