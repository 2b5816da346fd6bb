"""A generator and an encoder, each the other's inverse, against a discriminator of pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ganvae.losses.adversarial import Adversary, games
from ganvae.objectives.base import Objective, frozen
from ganvae.types import Batch, Clock, Networks, Optim, Step


@dataclass(frozen=True, kw_only=True)
class BiGAN(Objective):
    """D tells (x, E(x)) from (G(z), z); E and G move against it. There is no reconstruction.

    | Adversarial Feature Learning (Donahue et al., 2017) | https://arxiv.org/abs/1605.09782
    | Adversarially Learned Inference (Dumoulin et al., 2017) | https://arxiv.org/abs/1606.00704
    """

    networks: ClassVar = ("encoder", "decoder", "discriminator", "prior")
    kinds: ClassVar = {"discriminator": "joint_discriminator"}

    optim: Optim = Optim(lr=1e-3, beta1=0.5, beta2=0.99)
    """Adam and its schedule."""
    adversary: Adversary = Adversary(every=4)
    """The game of the pairs and its gradient penalties, with respect to x and z together."""

    def step(self, nets: Networks, batch: Batch, now: Clock) -> Step:
        """D, then E and G by D's own loss with the pairs exchanged."""
        E, G, D, _ = (nets[name] for name in self.networks)
        x, c = batch.image, batch.condition
        z_q = E(x, *c).rsample(batch.noise)
        z_p = batch.noise.normal(*z_q.shape[1:])  # p(z) = N(0, I)
        real, fake = pack(x, z_q), pack(G(z_p, *c), z_p)

        def judge(pairs: Tensor, *c: Tensor) -> Tensor:
            return D(*unpack(pairs, x), *c)

        critic = self.adversary.discriminator(judge, real.detach(), fake, now, c)
        yield {"discriminator": critic.loss}

        on_real, on_fake = (frozen(D)(*unpack(pairs, x), *c) for pairs in (real, fake))
        game = games[self.adversary.game].discriminator(on_fake, on_real)
        yield {"encoder": game, "decoder": game}
        return critic.logged


def pack(x: Tensor, z: Tensor) -> Tensor:
    """Images (B, C, H, W) and latents (B, d) as one row a pair, (B, C·H·W + d)."""
    return torch.cat([x.flatten(1), z], 1)


def unpack(pairs: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """The images, shaped as those of ``like``, and the latents of :func:`pack`."""
    pixels = like[0].numel()
    return pairs[:, :pixels].unflatten(1, like.shape[1:]), pairs[:, pixels:]
