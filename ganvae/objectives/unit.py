"""Unpaired translation: two sets of images, one space of z."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ganvae.losses.adversarial import Adversary
from ganvae.losses.divergence import kl
from ganvae.objectives.base import Objective, frozen
from ganvae.types import Batch, Clock, Networks, Optim, Step


@dataclass(frozen=True, kw_only=True)
class UNIT(Objective):
    """A VAE and a GAN of each set, whose z is one; there and back again is a VAE as well.

    | Unsupervised Image-to-Image Translation Networks (Liu et al., 2017)
    | https://arxiv.org/abs/1703.00848
    """

    networks: ClassVar = (
        "encoder", "generator", "discriminator", "discriminator_source", "prior"
    )  # fmt: skip
    decoder: ClassVar = "generator"
    generator: ClassVar = "generator"
    kinds: ClassVar = {
        "encoder": "shared_encoder",
        "generator": "shared_decoder",
        "discriminator_source": "source_discriminator",
        "prior": "normal_prior",
    }
    classes: ClassVar = False
    paired: ClassVar = False
    task: ClassVar = "translate"

    optim: Optim = Optim(lr=1e-3, beta1=0.5, beta2=0.999)
    """Adam and its schedule."""
    adversarial: float = 10.0
    """Weight λ₀ of the adversarial terms (L_GAN)."""
    pixel: float = 100.0
    """Weight λ₂ of |x − G(z)|, a mean over pixels and channels (L_VAE)."""
    beta: float = 0.1
    """Weight λ₁ of the KL divergence, a mean over the dimensions of z (L_VAE)."""
    cycle: float = 100.0
    """Weight λ₄ of |x − x there and back|, a mean over pixels and channels (L_CC)."""
    cycle_beta: float = 0.1
    """Weight λ₃ of the translations' KL divergence, a mean over the dimensions of z (L_CC)."""
    adversary: Adversary = Adversary(game="least_squares", gamma=0.1)
    """The game and its gradient penalties."""

    def step(self, nets: Networks, batch: Batch, now: Clock) -> Step:
        """The D of both sets; then E and G on both sets at once."""
        E, G, D, D_s, _ = (nets[name] for name in self.networks)
        x, s = batch.image, batch.condition[0]
        q_x, q_s = E(x), E(s, source=True)
        z = torch.cat([q_x.rsample(batch.noise), q_s.rsample(batch.noise)])
        (x_hat, x_s), (s_x, s_hat) = G(z).chunk(2), G(z, source=True).chunk(2)

        critic = self.adversary.discriminator(D, x, x_s, now)
        critic_s = self.adversary.discriminator(D_s, s, s_x, now)
        yield {"discriminator": critic.loss, "discriminator_source": critic_s.loss}

        p_x, p_s = E(s_x, source=True), E(x_s)  # of the translations
        x_again, s_again = G(p_x.rsample(batch.noise)), G(p_s.rsample(batch.noise), source=True)
        gan = self.adversary.generator(frozen(D)(x_s), critic.real)
        gan = gan + self.adversary.generator(frozen(D_s)(s_x), critic_s.real)
        pixel = (x_hat - x).abs().mean() + (s_hat - s).abs().mean()
        cycle = (x_again - x).abs().mean() + (s_again - s).abs().mean()
        d = z.shape[1]
        loss = self.adversarial * gan + self.pixel * pixel + self.beta * (kl(q_x) + kl(q_s)) / d
        loss = loss + self.cycle * cycle + self.cycle_beta * (kl(p_x) + kl(p_s)) / d
        yield {"encoder": loss, "generator": loss}
        return {"pixel": pixel.detach(), "cycle": cycle.detach()} | critic.logged
