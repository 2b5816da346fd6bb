"""An autoencoder whose latent is a grid of codes, with a discriminator of parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

from ganvae.losses.adversarial import Adversary
from ganvae.losses.balance import Balance, last_layer
from ganvae.losses.perceptual import perceptual
from ganvae.losses.reconstruction import squared
from ganvae.objectives.base import Objective, Stage, enough, frozen
from ganvae.objectives.codes import Codes
from ganvae.types import Batch, Clock, Networks, Optim, Step


@dataclass(frozen=True, kw_only=True)
class VQGAN(Objective):
    """A quantised autoencoder that plays against D; then p(codes), to sample from.

    | Taming Transformers for High-Resolution Image Synthesis (Esser et al., 2021)
    | https://arxiv.org/abs/2012.09841
    """

    networks: ClassVar = ("encoder", "decoder", "discriminator", "prior")
    kinds: ClassVar = {
        **Codes.kinds,
        "decoder": "grid_decoder",
        "discriminator": "patch_discriminator",
    }

    optim: Optim = Optim(lr=1e-3, beta1=0.5, beta2=0.9, warmup=0.02, final=0.1)
    """Adam and its schedule while the autoencoder learns."""
    codes: Codes = Codes()
    """How p(codes) is learnt."""
    share: float = 0.6
    """Share of the budget for the autoencoder; the rest is for p(codes)."""
    perceptual: float = 1.0
    """Weight of the pyramid of differences beside |x − x̂|."""
    commitment: float = 1.0
    """Weight β of ‖sg z_q − E‖² (eq. 4)."""
    adversary: Adversary = Adversary(game="hinge", gamma=0.0)
    """The game and its gradient penalties."""
    balance: Balance = Balance(weight=0.02)
    """When D enters, and the weight of the adversarial term."""
    images: int = 3_200
    """Training images whose encodings start the codebook."""

    def stages(self) -> list[Stage]:
        """The autoencoder, then p(codes) of the finished one."""
        return [Stage(self, self.share), Stage(self.codes, 1 - self.share)]

    def step(self, nets: Networks, batch: Batch, now: Clock) -> Step:
        """D's move once it has entered, then that of E with its codebook and Dec."""
        E, Dec, D, _ = (nets[name] for name in self.networks)
        x, c = batch.image, batch.condition
        q = E(x, *c)
        x_hat = Dec(q.mean, *c)  # straight through: ∇ at z_q goes to E
        reconstruction = perceptual(x_hat, x, self.perceptual)
        codebook = squared(q.after, q.before.detach())
        loss = reconstruction + codebook + self.commitment * squared(q.before, q.after.detach())
        logged = {"reconstruction": reconstruction.detach(), "codebook": codebook.detach()}

        if self.balance.playing(now):
            critic = self.adversary.discriminator(D, x, x_hat, now, c)
            yield {"discriminator": critic.loss}
            gan = self.adversary.answer(frozen(D), critic, c)
            loss = loss + self.balance.weigh(gan, reconstruction, x[0].numel(), last_layer(Dec))
            logged |= critic.logged

        yield {"encoder": loss, "decoder": loss}
        return logged

    @torch.no_grad()
    def prepare(self, nets: Networks, batches: Iterator[Batch]) -> None:
        """Places the codes among what the encoder says of training images."""
        E, some = nets["encoder"], enough(batches, self.images)
        E.quantizer.start(torch.cat([E(b.image, *b.condition).before for b in some]))
