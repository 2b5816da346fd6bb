"""Paired translation, with a z for what the source leaves open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from ganvae.losses.adversarial import Adversary
from ganvae.losses.divergence import kl
from ganvae.objectives.base import Objective, Stage, before_the_game, frozen
from ganvae.types import Batch, Clock, Networks, Optim, Step, join


@dataclass(frozen=True, kw_only=True)
class Bicycle(Objective):
    """Two ways round between an image B, made from its source A, and its z.

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
    halved: ClassVar = True
    classes: ClassVar = False
    paired: ClassVar = True
    task: ClassVar[Literal["complete", "translate"]] = "translate"

    optim: Optim = Optim(lr=1e-3, beta1=0.5, beta2=0.999)
    """Adam and its schedule."""
    pixel: float = 10.0
    """Weight λ₁ of |B − G(A, E(B))|, a mean over pixels and channels."""
    beta: float = 0.01
    """Weight λ_KL of the KL divergence, a sum over the dimensions of z."""
    back: float = 0.1
    """Weight λ_z of |E(G(A, z)) − z|, a mean over the dimensions of z."""
    adversarial: float = 0.5
    """Weight of each of the two adversarial terms."""
    adversary: Adversary = Adversary(game="least_squares", gamma=0.1)
    """The game and its gradient penalties."""
    share: float = 0.75
    """Share of the budget before the game: E and G from B alone, which is cheap; 0 for none."""
    pace: float = 0.3
    """Learning rate of the game, as a share of the rate before it."""

    def stages(self) -> list[Stage]:
        """The autoencoder alone; then all of it."""
        return before_the_game(self, self.share, self.pace)

    def step(self, nets: Networks, batch: Batch, now: Clock) -> Step:
        """Both D; then E and G, of which λ_z moves G alone. Odd rows start from z, even from B."""
        E, G, D, D_z, prior = (nets[name] for name in self.networks)
        one, other = batch.halves() if self.adversarial else (batch, None)
        B, A = one.image, one.condition
        q = E(B)
        if other:
            B_z, A_z = other.image, other.condition
            z = prior.sample(other.noise)
            made = G(torch.cat([q.rsample(one.noise), z]), *join(A, A_z))
            B_hat, made_z = made.split([len(B), len(B_z)])
        else:
            B_hat = G(q.rsample(one.noise), *A)
        pixel = (B_hat - B).abs().mean()  # L_1^VAE
        divergence = kl(q)  # L_KL
        loss = self.pixel * pixel + self.beta * divergence
        logged = {"pixel": pixel.detach(), "kl": divergence.detach()}
        if other:
            critic = self.adversary.discriminator(D, B, B_hat, now, A)
            critic_z = self.adversary.discriminator(D_z, B_z, made_z, now, A_z)
            yield {"discriminator": critic.loss, "discriminator_z": critic_z.loss}
            gan = self.adversary.answer(frozen(D), critic, A)  # L_GAN^VAE
            gan = gan + self.adversary.answer(frozen(D_z), critic_z, A_z)  # L_GAN
            back = (frozen(E)(made_z).mean - z).abs().mean()  # L_1^latent
            loss = loss + self.adversarial * gan + self.back * back
            logged |= {"back": back.detach()} | critic_z.logged
        yield {"encoder": loss, "generator": loss}
        return logged
