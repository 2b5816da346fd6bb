"""A class-conditional VAE/GAN whose generator matches features of D and of a classifier."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import cross_entropy

from ganvae.errors import ConfigError
from ganvae.losses.adversarial import Adversary
from ganvae.losses.divergence import kl
from ganvae.losses.features import matching_means
from ganvae.losses.reconstruction import squared
from ganvae.objectives.base import Objective, fit_prior, frozen
from ganvae.types import Batch, Clock, Condition, Networks, Optim, Step


@dataclass(frozen=True, kw_only=True)
class CVAEGAN(Objective):
    """Algorithm 1, with means of features matched class by class and without a batch's bias.

    | CVAE-GAN: Fine-Grained Image Generation through Asymmetric Training (Bao et al., 2017)
    | https://arxiv.org/abs/1703.10155
    """

    networks: ClassVar = ("encoder", "decoder", "discriminator", "classifier", "prior")
    needs_classes: ClassVar = True
    simultaneous: ClassVar = True

    optim: Optim = Optim(lr=1e-3, beta1=0.5, beta2=0.99, clip=100.0)
    """Adam and its schedule."""
    beta: float = 0.1
    """Weight λ₁ of the KL divergence."""
    feature: float = 1.0
    """Weight of ½‖f(x) − f(x̂)‖², f of D and of C, beside ½‖x − x̂‖² in L_G."""
    mean_feature: float = 0.1
    """Weight λ₃ = λ₄ of ½‖E f(x) − E f(G(z, y))‖² of each class y, f of D and of C."""
    adversarial: float = 0.0
    """Weight of the adversarial term in G's loss; the paper has none."""
    adversary: Adversary = Adversary(game="nonsaturating")
    """The game and its gradient penalties."""
    fit: int = 10_000
    """Samples of the aggregate posterior that a mixture prior is fitted to at the end."""

    def step(self, nets: Networks, batch: Batch, now: Clock) -> Step:
        """Each network follows its own loss, all of them at once."""
        E, G, D, C, _ = (nets[name] for name in self.networks)
        x, c = batch.image, _classes(batch)
        q = E(x, *c)
        z_p = [batch.noise.normal(*q.mean.shape[1:]) for _ in range(2)]  # p(z) = N(0, I)
        fakes = [G(z, *c) for z in (q.rsample(batch.noise), *z_p)]
        critic, gan, f_x_D, f_D = self.adversary.play(D, x, fakes, now, c)

        logits, f_x_C = C(x, features=True)
        _, f_C = frozen(C)(torch.cat(fakes), features=True)
        f_x = torch.cat([f_x_D, f_x_C.detach()], 1)  # f_D and f_C side by side
        f_x_hat, *f_p = torch.cat([torch.cat(f_D), f_C], 1).chunk(3)
        rec = 0.5 * (squared(fakes[0], x) + self.feature * squared(f_x_hat, f_x))  # L_G
        means = 0.5 * matching_means(f_x, *f_p)  # L_GD + L_GC
        prior = self.beta * kl(q)
        named = cross_entropy(logits, c[0])
        yield {
            "decoder": rec + self.mean_feature * means + self.adversarial * gan,
            "encoder": prior + rec,
            "discriminator": critic.loss,
            "classifier": named,
        }
        logged = {"kl": prior, "reconstruction": rec, "means": means, "cross_entropy": named}
        return {name: value.detach() for name, value in logged.items()} | critic.logged

    def prepare(self, nets: Networks, batches: Iterator[Batch]) -> None:
        """Raises ConfigError where images have no classes."""
        _classes(next(batches))

    def conclude(self, nets: Networks, batches: Iterator[Batch]) -> None:
        """Fits the prior to the aggregate posterior."""
        fit_prior(nets, batches, self.fit)


def _classes(batch: Batch) -> Condition:
    if batch.label is None:
        raise ConfigError("cvae_gan learns from classes: name them with --data.labels")
    return (batch.label,)
