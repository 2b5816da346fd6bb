"""The first stage of latent diffusion: an autoencoder with a faint KL and a discriminator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from ganvae.losses.adversarial import Adversary
from ganvae.losses.balance import Balance, last_layer
from ganvae.losses.divergence import kl
from ganvae.losses.perceptual import perceptual
from ganvae.objectives.base import Objective, fit_prior, frozen
from ganvae.types import Batch, Clock, Networks, Optim, Step


@dataclass(frozen=True, kw_only=True)
class KLGAN(Objective):
    """A latent that is a grid, barely regularised, and parts of images that look real.

    | High-Resolution Image Synthesis with Latent Diffusion Models (Rombach et al., 2022), 3.1
    | https://arxiv.org/abs/2112.10752
    """

    networks: ClassVar = ("encoder", "decoder", "scale", "discriminator", "prior")
    kinds: ClassVar = {
        "encoder": "grid_encoder",
        "decoder": "grid_decoder",
        "discriminator": "patch_discriminator",
    }

    optim: Optim = Optim(lr=1e-3, beta1=0.5, beta2=0.9, warmup=0.02, final=0.1)
    """Adam and its schedule."""
    beta: float = 1e-6
    """Weight of the KL divergence."""
    perceptual: float = 1.0
    """Weight of the pyramid of differences beside |x − x̂|."""
    adversary: Adversary = Adversary(game="hinge", gamma=0.0)
    """The game and its gradient penalties."""
    balance: Balance = Balance()
    """When D enters, and the weight of the adversarial term."""
    fit: int = 10_000
    """Samples of the aggregate posterior that a mixture prior is fitted to at the end."""

    def step(self, nets: Networks, batch: Batch, now: Clock) -> Step:
        """D's move once it has entered, then that of E, Dec and the scale s."""
        E, Dec, scale, D, _ = (nets[name] for name in self.networks)
        x, c = batch.image, batch.condition
        q = E(x, *c)
        x_hat = Dec(q.rsample(batch.noise), *c)

        error = perceptual(x_hat, x, self.perceptual)
        reconstruction, prior = scale(error, x[0].numel()), kl(q)
        loss = reconstruction + self.beta * prior
        logged = {"error": error.detach(), "kl": prior.detach()}
        if self.balance.playing(now):
            critic = self.adversary.discriminator(D, x, x_hat, now, c)
            yield {"discriminator": critic.loss}
            gan = self.adversary.answer(frozen(D), critic, c)
            loss = loss + self.balance.weigh(gan, reconstruction, x[0].numel(), last_layer(Dec))
            logged |= critic.logged
        yield dict.fromkeys(("encoder", "decoder", "scale"), loss)
        return logged

    def conclude(self, nets: Networks, batches: Iterator[Batch]) -> None:
        """Fits the prior to the aggregate posterior, of which N(0, I) knows nothing."""
        fit_prior(nets, batches, self.fit)
