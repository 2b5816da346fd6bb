"""A VAE with an auxiliary variable whose decoder is a GAN's generator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from ganvae.losses.adversarial import Adversary
from ganvae.objectives.aux_vae import KINDS, MOVED, AuxVAE, evidence
from ganvae.objectives.base import Objective, fit_prior
from ganvae.types import Batch, Clock, Networks, Optim, Step


@dataclass(frozen=True, kw_only=True)
class AuxGANVAE(Objective):
    """The bound of aux_vae for the encoder; its reconstruction and a game for the decoder.

    | Auxiliary Deep Generative Models (Maaløe et al., 2016) | https://arxiv.org/abs/1602.05473
    | Autoencoding beyond pixels using a learned similarity metric (Larsen et al., 2016)
    | https://arxiv.org/abs/1512.09300
    """

    networks: ClassVar = (*AuxVAE.networks, "discriminator")
    simultaneous: ClassVar = True

    optim: Optim = Optim(lr=1e-3, beta1=0.5, beta2=0.99, clip=100.0)
    """Adam and its schedule."""
    variant: Literal["adgm", "sdgm"] = "adgm"
    """adgm: a serves q(z|x) alone; sdgm: half of the latent is a, with p(a|z) and p(x|a,z)."""
    beta: float = 1.0
    """Weight of the divergence in the encoder's loss; 1 makes that loss −L, of a bound L."""
    sigma: float = 0.354
    """The likelihood's scale, in units of [-1, 1]; the Gaussian's σ, the logistic's s."""
    gamma: float = 1.0
    """Weight γ of −log p(x|z) in the decoder's loss, against the adversarial term."""
    adversarial: float = 64.0
    """Weight of the adversarial term in the decoder's loss."""
    adversary: Adversary = Adversary()
    """The game and its gradient penalties."""
    fit: int = 10_000
    """Samples of the aggregate posterior that a mixture prior is fitted to at the end."""

    @property
    def kinds(self) -> Mapping[str, str]:  # type: ignore[override]
        """The networks of the variant."""
        return KINDS[self.variant]

    def step(self, nets: Networks, batch: Batch, now: Clock) -> Step:
        """Each network follows its own loss, all of them at once."""
        Dec, D, prior = (nets[name] for name in ("decoder", "discriminator", "prior"))
        x, c = batch.image, batch.condition
        found = evidence(nets, batch)
        with torch.no_grad():  # no game moves p(a|z)
            z_p = prior.sample(batch.noise, *c)  # p(z) = N(0, I) while training
        fakes = (found.x_hat, Dec(z_p, *c))

        critic, gan, *_ = self.adversary.play(D, x, fakes, now, c)
        bound = found.reconstruction + self.beta * found.divergence
        yield dict.fromkeys(MOVED[self.variant], bound) | {
            "decoder": self.gamma * found.reconstruction + self.adversarial * gan,
            "discriminator": critic.loss,
        }
        logged = {"reconstruction": found.reconstruction, "kl": found.divergence}
        return {name: value.detach() for name, value in logged.items()} | critic.logged

    def prepare(self, nets: Networks, batches: Iterator[Batch]) -> None:
        """Sets the likelihood's scale to sigma."""
        AuxVAE(sigma=self.sigma).prepare(nets, batches)

    def conclude(self, nets: Networks, batches: Iterator[Batch]) -> None:
        """Fits the prior to the aggregate posterior; the bound is of the fitted one."""
        fit_prior(nets, batches, self.fit)
