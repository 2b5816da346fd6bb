"""Unpaired translation: two sets of images, one space of z."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from ganvae.errors import RangeError
from ganvae.losses.adversarial import Adversary
from ganvae.losses.augmentation import Augmented, shift
from ganvae.losses.divergence import kl
from ganvae.objectives.base import Objective, frozen
from ganvae.types import Batch, Clock, Networks, Optim, Step


@dataclass(frozen=True, kw_only=True)
class UNIT(Objective):
    """A VAE and a GAN of each set, whose z is one; there and back again is a VAE as well.

    | Unsupervised Image-to-Image Translation Networks (Liu et al., 2017)
    | https://arxiv.org/abs/1703.00848
    """

    networks: ClassVar = ("encoder", "generator", "discriminator", "discriminator_source", "prior")
    decoder: ClassVar = "generator"
    generator: ClassVar = "generator"
    kinds: ClassVar = {
        "encoder": "shared_encoder", "generator": "shared_decoder",
        "discriminator_source": "source_discriminator", "prior": "normal_prior",
    }  # fmt: skip
    classes: ClassVar = False
    paired: ClassVar = False
    task: ClassVar = "translate"

    optim: Optim = Optim(lr=5e-4, beta1=0.5, beta2=0.999)
    """Adam and its schedule."""
    adversarial: float = 1.0
    """Weight λ₀ of the adversarial terms (L_GAN)."""
    pixel: float = 30.0
    """Weight λ₂ of |x − G(z)|, a mean over pixels and channels (L_VAE)."""
    beta: float = 1e-6
    """Weight λ₁ of the KL divergence, a mean over the dimensions of z (L_VAE)."""
    cycle: float = 30.0
    """Weight λ₄ of |x − x there and back|, a mean over pixels and channels (L_CC)."""
    cycle_beta: float = 1e-6
    """Weight λ₃ of the translations' KL divergence, a mean over the dimensions of z (L_CC)."""
    adversary: Adversary = Adversary(every=4)
    """The game and its gradient penalties."""
    shift: float = 0.15
    """D sees images moved by up to this share of their size: where they end is no style."""

    def __post_init__(self) -> None:
        if not 0 <= self.shift < 1:
            raise RangeError(f"shift must be 0 or more and below 1, got {self.shift:g}")

    def step(self, nets: Networks, batch: Batch, now: Clock) -> Step:
        """The D of both sets; then E and G on both sets at once."""
        E, G, D, D_s, _ = (nets[name] for name in self.networks)
        x, s = batch.image, batch.condition[0]
        moved = partial(shift, ratio=self.shift)
        D, D_s = (Augmented(net, batch.noise, moved, 2) for net in (D, D_s))
        q_x, q_s = E(x), E(s, source=True)
        z_x, z_s = q_x.rsample(batch.noise), q_s.rsample(batch.noise)
        d = z_x.shape[1]
        pixel = (G(z_x) - x).abs().mean() + (G(z_s, source=True) - s).abs().mean()
        loss = self.pixel * pixel + self.beta * (kl(q_x) + kl(q_s)) / d  # L_VAE

        x_s, s_x = G(z_s), G(z_x, source=True)  # the translations
        critic = self.adversary.discriminator(D, x, x_s, now)
        critic_s = self.adversary.discriminator(D_s, s, s_x, now)
        yield {"discriminator": critic.loss, "discriminator_source": critic_s.loss}

        gan = self.adversary.answer(frozen(D), critic)
        gan = gan + self.adversary.answer(frozen(D_s), critic_s)  # L_GAN
        loss = loss + self.adversarial * gan
        p_x, p_s = E(s_x, source=True), E(x_s)  # there and back again
        cycle = (G(p_x.rsample(batch.noise)) - x).abs().mean()
        cycle = cycle + (G(p_s.rsample(batch.noise), source=True) - s).abs().mean()
        loss = loss + self.cycle * cycle + self.cycle_beta * (kl(p_x) + kl(p_s)) / d  # L_CC
        yield {"encoder": loss, "generator": loss}
        return {"pixel": pixel.detach(), "cycle": cycle.detach()} | critic.logged
