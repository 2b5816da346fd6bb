"""Paired translation from a part of the image to the whole: inpainting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ganvae.losses.adversarial import Adversary
from ganvae.losses.divergence import kl
from ganvae.objectives.base import Objective, frozen
from ganvae.types import Batch, Clock, Networks, Optim, Step, join


@dataclass(frozen=True, kw_only=True)
class Completion(Objective):
    """:class:`~ganvae.objectives.bicycle.Bicycle` whose output keeps the known pixels.

    The source is (x outside the hole, the hole). Every loss sees G's image inside the hole and x
    around it.

    | Toward Multimodal Image-to-Image Translation (Zhu et al., 2017)
    | https://arxiv.org/abs/1711.11586
    """

    networks: ClassVar = ("encoder", "generator", "discriminator", "discriminator_z", "prior")
    decoder: ClassVar = "generator"
    generator: ClassVar = "generator"
    kinds: ClassVar = {
        "generator": "unet",
        "discriminator": "pair_discriminator",
        "discriminator_z": "pair_discriminator",
        "prior": "normal_prior",
    }
    classes: ClassVar = False
    paired: ClassVar = True
    task: ClassVar = "complete"

    optim: Optim = Optim(lr=1e-3, beta1=0.5, beta2=0.999)
    """Adam and its schedule."""
    pixel: float = 10.0
    """Weight λ₁ of |x − x̂|, a mean over all pixels and channels; it is 0 outside the hole."""
    beta: float = 0.01
    """Weight λ_KL of the KL divergence, a sum over the dimensions of z."""
    back: float = 0.5
    """Weight λ_z of |E(x̂_z) − z|, a mean over the dimensions of z."""
    adversarial: float = 1.0
    """Weight of each of the two adversarial terms."""
    adversary: Adversary = Adversary(game="least_squares", gamma=0.1)
    """The game and its gradient penalties."""

    def step(self, nets: Networks, batch: Batch, now: Clock) -> Step:
        """Both D; then E and G, of which λ_z moves G alone. Odd rows start from z, even from x."""
        E, G, D, D_z, prior = (nets[name] for name in self.networks)
        one, other = batch.halves()
        (x, c), (x_z, c_z) = (one.image, one.condition), (other.image, other.condition)
        q, z, both = E(x), prior.sample(other.noise), join(c, c_z)
        made = G(torch.cat([q.rsample(one.noise), z]), *both)
        made = torch.where(both[0][:, -1:] > 0, made, torch.cat([x, x_z]))  # what is known stays
        x_hat, made_z = made.split([len(x), len(x_z)])

        critic = self.adversary.discriminator(D, x, x_hat, now, c)
        critic_z = self.adversary.discriminator(D_z, x_z, made_z, now, c_z)
        yield {"discriminator": critic.loss, "discriminator_z": critic_z.loss}

        gan = self.adversary.generator(frozen(D)(x_hat, *c), critic.real)
        gan = gan + self.adversary.generator(frozen(D_z)(made_z, *c_z), critic_z.real)
        pixel = (x_hat - x).abs().mean()
        back = (frozen(E)(made_z).mean - z).abs().mean()
        divergence = kl(q)
        loss = self.adversarial * gan + self.pixel * pixel + self.beta * divergence
        loss = loss + self.back * back
        yield {"encoder": loss, "generator": loss}
        logged = {"pixel": pixel, "back": back, "kl": divergence}
        return {name: value.detach() for name, value in logged.items()} | critic_z.logged
