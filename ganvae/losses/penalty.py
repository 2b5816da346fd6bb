"""Penalties on the gradient of a discriminator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ganvae.types import Condition


def zero_centred(net: Callable[..., Tensor], x: Tensor, c: Condition = ()) -> Tensor:
    """‖∇ₓ D(x)‖²: summed over a sample's dimensions, mean over the batch.

    R1 where x is real, R2 where x is generated; D runs uncompiled, because compiled graphs have no
    second derivative.

    | Which Training Methods for GANs do actually Converge? (Mescheder et al., 2018), eq. 9
    | https://arxiv.org/abs/1801.04406
    """
    x = x.detach().requires_grad_()
    with torch.compiler.set_stance("force_eager"):
        (gradient,) = torch.autograd.grad(net(x, *c).sum(), x, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()
