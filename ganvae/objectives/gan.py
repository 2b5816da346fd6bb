"""A generative adversarial network alone: what the hybrids are measured against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ganvae.losses.adversarial import Adversary
from ganvae.objectives.base import Objective, frozen
from ganvae.types import Batch, Clock, Networks, Optim, Step


@dataclass(frozen=True, kw_only=True)
class GAN(Objective):
    """A generator against a discriminator.

    | Generative Adversarial Nets (Goodfellow et al., 2014) | https://arxiv.org/abs/1406.2661
    | The GAN is dead; long live the GAN! (Huang et al., 2024) | https://arxiv.org/abs/2501.05441
    """

    networks: ClassVar = ("generator", "discriminator", "prior")
    generator: ClassVar = "generator"

    optim: Optim = Optim(lr=1e-3, beta1=0.5, beta2=0.99)
    """Adam and its schedule."""
    adversary: Adversary = Adversary()
    """The game and its gradient penalties."""

    def step(self, nets: Networks, batch: Batch, now: Clock) -> Step:
        """D, then G."""
        G, D, prior = (nets[name] for name in self.networks)
        x, c, game = batch.image, batch.condition, self.adversary
        x_hat = G(prior.sample(batch.noise, *c), *c)

        critic = game.discriminator(D, x, x_hat, now, c)
        yield {"discriminator": critic.loss}

        yield {"generator": game.answer(frozen(D), critic, c)}
        return critic.logged
