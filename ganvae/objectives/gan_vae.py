"""The article's hybrid: encoder, decoder, generator and discriminator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

from ganvae.losses.adversarial import Adversary
from ganvae.losses.features import matching
from ganvae.losses.perceptual import as_seen
from ganvae.losses.reconstruction import squared
from ganvae.objectives.base import Objective, Stage, after, frozen, start_as
from ganvae.objectives.vae import VAE
from ganvae.types import Batch, Clock, Networks, Optim, Step, join


@dataclass(frozen=True, kw_only=True)
class GANVAE(Objective):
    """First E and Dec, a VAE whose prior is fitted; then G, at first a copy of Dec, against D.

    | Auto-Encoding Variational Bayes (Kingma and Welling, 2014): E and Dec
    | https://arxiv.org/abs/1312.6114
    | The GAN is dead; long live the GAN! A Modern Baseline GAN (Huang et al., 2024): G and D
    | https://arxiv.org/abs/2501.05441
    """

    networks: ClassVar = (*VAE.networks, "generator", "discriminator")
    generator: ClassVar = "generator"
    halved: ClassVar = True
    unset: ClassVar = {"share": (0.4, 0.7), "ramp": (1500, 4000)}

    optim: Optim = Optim(lr=1e-3, beta1=0.5, beta2=0.99, final=0.05)
    """Adam and its schedule in the adversarial stage."""
    representation: VAE = VAE()
    """How E and Dec learn."""
    share: float | None = None
    """Of the budget, for E and Dec alone; 0: all train jointly; unset: .4, above 32 px .7."""
    adversary: Adversary = Adversary(every=4)
    """The game and its gradient penalties."""
    adversarial: float = 30.0
    """Weight of the adversarial term in G's loss."""
    ramp: int | None = None
    """Steps in which it rises to that from zero; unset: 1500, above 32 px 4000; 1: at once."""
    pixel: float = 0.15
    """Weight of ‖x − G(z)‖², z ~ q(z|x), in G's loss."""
    feature: float = 0.5
    """Weight λ of ‖f_D(x) − f_D(G(z))‖², z ~ q(z|x), in G's loss, rising later than the game."""

    perceptual: float = 20.0
    """Weight of the distance of x and G(z), z ~ q(z|x), as ``networks.eyes`` see it."""

    def stages(self) -> list[Stage]:
        """E and Dec, then G and D; or all of them at once."""
        return after(self.representation, self.suited().share or 0.0, self.suited())

    def step(self, nets: Networks, batch: Batch, now: Clock) -> Step:
        """E and Dec if joint; D; then G. Even rows meet z ~ q(z|x), odd ones z ~ p(z)."""
        E, _, _, prior, G, D = (nets[name] for name in self.networks)
        known, other = batch.halves()
        x, c = torch.cat([known.image, other.image]), join(known.condition, other.condition)
        logged = {}
        if self.share == 0:
            logged = yield from self.representation.step(nets, batch, now)

        with torch.no_grad():
            z = E(known.image, *known.condition).rsample(known.noise)
            z_p = prior.sample(other.noise, *other.condition)
        x_hat = G(torch.cat([z, z_p]), *c)
        critic = self.adversary.discriminator(D, x, x_hat, now, c)
        yield {"discriminator": critic.loss}

        rise = min(1.0, (now.step + 1) / (self.ramp or 1))
        again = x_hat[: len(z)]
        game = self.adversarial * self.adversary.answer(frozen(D), critic, c)
        loss = rise * game + self.pixel * squared(again, known.image)
        if self.feature:
            alike = matching(frozen(D), again, known.image, known.condition)
            loss = loss + rise**2 * self.feature * alike
        loss = loss + self.perceptual * as_seen(critic.x_hat, critic.x, len(z))
        yield {"generator": loss}
        return logged | critic.logged

    def prepare(self, nets: Networks, batches: Iterator[Batch]) -> None:
        """G starts as Dec where the two are built alike."""
        if self.share == 0:
            return self.representation.prepare(nets, batches)
        start_as(nets["generator"], nets["decoder"])

    def conclude(self, nets: Networks, batches: Iterator[Batch]) -> None:
        """Fits the prior where no stage has done so."""
        if self.share == 0:
            self.representation.conclude(nets, batches)
