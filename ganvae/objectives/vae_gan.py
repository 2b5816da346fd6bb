"""A VAE whose decoder is a GAN's generator, and whose likelihood is one of D's features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from ganvae.losses.adversarial import Adversary
from ganvae.losses.divergence import kl
from ganvae.losses.reconstruction import squared
from ganvae.objectives.base import Objective, fit_prior
from ganvae.types import Batch, Clock, Networks, Optim, Step


@dataclass(frozen=True, kw_only=True)
class VAEGAN(Objective):
    """Three losses, three networks, one simultaneous move.

    | Autoencoding beyond pixels using a learned similarity metric (Larsen et al., 2016)
    | https://arxiv.org/abs/1512.09300
    """

    networks: ClassVar = ("encoder", "decoder", "discriminator", "prior")
    simultaneous: ClassVar = True

    optim: Optim = Optim(lr=1e-3, beta1=0.5, beta2=0.99, clip=100.0)
    """Adam and its schedule."""
    beta: float = 0.02
    """Weight of L_prior (eq. 3); 1 is the paper's, whose features of D are larger."""
    gamma: float = 1.0
    """Weight γ of L_llike in the decoder's loss (eq. 9), against the adversarial term."""
    adversarial: float = 1.0
    """Weight of the adversarial term in the decoder's loss."""
    adversary: Adversary = Adversary(game="nonsaturating")
    """The game and its gradient penalties."""
    fit: int = 10_000
    """Samples of the aggregate posterior that a mixture prior is fitted to at the end."""

    def step(self, nets: Networks, batch: Batch, now: Clock) -> Step:
        """Algorithm 1: each network follows its own loss, all of them at once."""
        E, Dec, D, _ = (nets[name] for name in self.networks)
        x, c = batch.image, batch.condition
        q = E(x, *c)
        x_hat = Dec(q.rsample(batch.noise), *c)
        x_p = Dec(batch.noise.normal(*q.mean.shape[1:]), *c)  # p(z) = N(0, I) while training

        critic, gan, f_x, (f_x_hat, _) = self.adversary.play(D, x, (x_hat, x_p), now, c)
        llike = 0.5 * squared(f_x_hat, f_x)  # eq. 7, a unit Gaussian around f_D
        prior = self.beta * kl(q)  # eq. 3
        yield {
            "encoder": prior + llike,
            "decoder": self.gamma * llike + self.adversarial * gan,
            "discriminator": critic.loss,
        }
        return {"kl": prior.detach(), "llike": llike.detach()} | critic.logged

    def conclude(self, nets: Networks, batches: Iterator[Batch]) -> None:
        """Fits the prior to the aggregate posterior."""
        fit_prior(nets, batches, self.fit)
