"""A VAE whose encoder is its decoder's discriminator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ganvae.losses.divergence import kl, kl_of_each
from ganvae.losses.reconstruction import squared
from ganvae.objectives.base import Objective, Stage, after, frozen
from ganvae.objectives.vae import VAE
from ganvae.types import Batch, Clock, Condition, Networks, Noise, Optim, Posterior, Step, join


@dataclass(frozen=True, kw_only=True)
class SoftIntroVAE(Objective):
    """E gives generated images a low evidence bound, Dec gives them a high one.

    | Soft-IntroVAE: Analyzing and Improving the Introspective Variational Autoencoder
    | (Daniel and Tamar, 2021) | https://arxiv.org/abs/2012.13253
    """

    networks: ClassVar = VAE.networks
    fits_prior: ClassVar = True

    optim: Optim = Optim(lr=1e-3, beta1=0.9, beta2=0.999, clip=100.0)
    """Adam and its schedule."""
    representation: VAE = VAE(sigma=0.707)
    """How E and Dec learn at first: by the bound of β_rec = β_kl = 1."""
    share: float = 0.7
    """Share of the budget for that, which is cheap; 0 for none."""
    beta_rec: float = 1.0
    """Weight β_rec of ‖x − x̂‖²."""
    beta_kl: float = 1.0
    """Weight β_kl of the KL divergence of images, and of generated ones in Dec's loss."""
    beta_neg: float = 256.0
    """Weight β_neg of the KL divergence of generated images in E's loss."""
    gamma_r: float = 0.0
    """Weight γ_r of the reconstruction of generated images in Dec's loss; 0 saves its time."""

    def stages(self) -> list[Stage]:
        """E and Dec as a VAE; then against each other."""
        return after(self.representation, self.share, self)

    def step(self, nets: Networks, batch: Batch, now: Clock) -> Step:
        """E, then Dec against the E that has moved, on the same fakes: Dec has not moved yet."""
        E, Dec, _, _ = (nets[name] for name in self.networks)
        x, c = batch.image, batch.condition
        both, s = join(c, c), 1 / x[0].numel()
        q = E(x, *c)
        z = q.rsample(batch.noise)
        z_p = batch.noise.normal(*q.mean.shape[1:])  # N(0, I)
        x_f = Dec(torch.cat([z, z_p]), *both)
        fake = x_f.detach()
        reconstruction, divergence = squared(x_f[: len(x)], x), kl(q)

        real = self.beta_rec * reconstruction + self.beta_kl * divergence
        yield {"encoder": s * real + self._against(nets, fake, both, batch.noise)}

        q_f = frozen(E)(x_f, *both)
        loss = self.beta_rec * reconstruction + self.beta_kl * kl(q_f)
        if self.gamma_r:
            again = Dec(_sample(q_f, batch.noise).detach(), *both)
            loss = loss + self.gamma_r * self.beta_rec * squared(again, fake)
        yield {"decoder": s * loss}
        return {"reconstruction": reconstruction.detach(), "kl": divergence.detach()}

    def _against(self, nets: Networks, fake: Tensor, c: Condition, noise: Noise) -> Tensor:
        """¼ Σ_f exp(−2 s · the bound of a fake), two a row; a graph that no later move needs."""
        E, Dec, s = nets["encoder"], frozen(nets["decoder"]), 1 / fake[0].numel()
        q = E(fake, *c)
        bound = self.beta_rec * (Dec(_sample(q, noise), *c) - fake).square().flatten(1).sum(1)
        bound = bound + self.beta_neg * kl_of_each(q)
        return 0.5 * torch.exp(-2 * s * bound).mean()

    def conclude(self, nets: Networks, batches: Iterator[Batch]) -> None:
        """Fits the prior to the aggregate posterior."""
        self.representation.conclude(nets, batches)


def _sample(q: Posterior, noise: Noise) -> Tensor:
    """z ~ q of two rows a sample of the batch, (2·B, d)."""
    epsilon = [noise.normal(*q.mean.shape[1:]) for _ in range(2)]
    return q.mean + q.std * torch.cat(epsilon)
