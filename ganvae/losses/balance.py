"""How much a game weighs against a reconstruction, and from when on it is played."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganvae.types import Clock


@dataclass(frozen=True, kw_only=True)
class Balance:
    """The weight λ of GAN_G, fixed or adaptive."""

    start: float = 0.5
    """Share of the stage after which D enters: it has nothing to say about blurs."""
    weight: float = 0.1
    """w. If fixed, λ = w · C · H · W: it weighs as against the mean over an image's values."""
    adaptive: bool = False
    """λ = w ‖∇ rec‖ / (‖∇ GAN_G‖ + δ) at the decoder's last layer, for each micro-batch alone."""

    def playing(self, now: Clock) -> bool:
        """Whether D has entered."""
        return now.progress >= self.start

    def weigh(self, gan: Tensor, reconstruction: Tensor, values: int, last: Tensor) -> Tensor:
        """λ GAN_G, a scalar.

        Reconstructions are sums over an image's values, a logit is a single number. So a fixed
        weight counts it once for each value: it means the same at every size of image, and is the
        weight against a mean error that published recipes give.

        values: C · H · W
        last: the weights of the decoder's last layer
        """
        if not self.adaptive:
            return self.weight * values * gan
        return self.weight * ratio(reconstruction, gan, last) * gan


def ratio(reconstruction: Tensor, gan: Tensor, last: Tensor, limit: float = 1e4) -> Tensor:
    """‖∇ rec‖ / (‖∇ GAN_G‖ + δ) with respect to the weights ``last``: a scalar without a history.

    In float32, and at most ``limit``. A ratio of norms of batch gradients is no mean over samples:
    micro-batches and processes each find their own, so their mean is not quite the whole batch's.

    | Taming Transformers for High-Resolution Image Synthesis (Esser et al., 2021), eq. 7
    | https://arxiv.org/abs/2012.09841
    """
    norms = []
    for loss in (reconstruction, gan):
        (gradient,) = torch.autograd.grad(loss, last, retain_graph=True)
        norms.append(gradient.to(torch.promote_types(gradient.dtype, torch.float32)).norm())
    return (norms[0] / (norms[1] + 1e-6)).clamp(max=limit).detach()


def last_layer(net: nn.Module) -> Tensor:
    """The weights of a network's last layer: its last parameter that is no vector."""
    return [p for p in net.parameters() if p.ndim > 1][-1]
