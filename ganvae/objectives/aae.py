"""An autoencoder whose latents play against the prior's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from ganvae.losses.adversarial import Adversary
from ganvae.losses.reconstruction import squared
from ganvae.objectives.base import Objective, fit_prior, frozen
from ganvae.types import Batch, Clock, Networks, Optim, Step


@dataclass(frozen=True, kw_only=True)
class AAE(Objective):
    """The KL divergence of a VAE gives way to a discriminator of z, in the paper's two phases.

    | Adversarial Autoencoders (Makhzani et al., 2016), with the Gaussian posterior of section 2
    | https://arxiv.org/abs/1511.05644
    """

    networks: ClassVar = ("encoder", "decoder", "latent_discriminator", "prior")

    optim: Optim = Optim(lr=1e-3, beta1=0.5, beta2=0.99, clip=100.0)
    """Adam and its schedule."""
    reconstruction: float = 1.0
    """Weight of ‖x − x̂‖² against the adversarial term in the encoder's two moves."""
    adversarial: float = 1.0
    """Weight of the adversarial term in the encoder's second move."""
    adversary: Adversary = Adversary(game="nonsaturating", gamma=0.1)
    """The game of the latents and its gradient penalties, with respect to z."""
    fit: int = 10_000
    """Samples of the aggregate posterior that a mixture prior is fitted to at the end."""

    def step(self, nets: Networks, batch: Batch, now: Clock) -> Step:
        """Reconstruction: E and Dec. Regularisation: D_z, and then E as its generator."""
        E, Dec, D, _ = (nets[name] for name in self.networks)
        x, c = batch.image, batch.condition
        reconstruction = squared(Dec(E(x, *c).rsample(batch.noise), *c), x)
        yield dict.fromkeys(("encoder", "decoder"), self.reconstruction * reconstruction)

        z_q = E(x, *c).rsample(batch.noise)  # of the encoder that has moved
        z_p = batch.noise.normal(*z_q.shape[1:])  # p(z) = N(0, I) while training
        critic = self.adversary.discriminator(D, z_p, z_q, now, c)
        yield {"latent_discriminator": critic.loss}

        game = self.adversary.generator(frozen(D)(z_q, *c), critic.real)
        yield {"encoder": self.adversarial * game}
        return {"reconstruction": reconstruction.detach()} | critic.logged

    def conclude(self, nets: Networks, batches: Iterator[Batch]) -> None:
        """Fits the prior to the aggregate posterior."""
        fit_prior(nets, batches, self.fit)
