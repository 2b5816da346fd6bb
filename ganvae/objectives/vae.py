"""The variational autoencoder."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from ganvae.errors import ConfigError
from ganvae.losses.divergence import kl
from ganvae.objectives.base import Objective, enough, fit_prior
from ganvae.types import Batch, Clock, Networks, Optim, Step, join


@dataclass(frozen=True, kw_only=True)
class VAE(Objective):
    """An encoder and a decoder that maximise a lower bound of log p(x).

    | Auto-Encoding Variational Bayes (Kingma and Welling, 2014) | https://arxiv.org/abs/1312.6114
    | beta-VAE (Higgins et al., 2017) | https://openreview.net/forum?id=Sy2fzU9gl
    """

    networks: ClassVar = ("encoder", "decoder", "likelihood", "prior")
    simultaneous: ClassVar = True

    optim: Optim = Optim(lr=2e-3, beta1=0.9, beta2=0.99, warmup=0.02, clip=100.0)
    """Adam and its schedule."""
    beta: float = 1.0
    """Weight of the KL divergence."""
    warmup: float = 0.0
    """Share of the stage over which the weight of the KL divergence rises from 0 to beta."""
    free_bits: float = 0.0
    """Nats per dimension of z that cost nothing."""
    scale: Literal["fixed", "learned", "optimal"] = "fixed"
    """The likelihood's scale: fixed at sigma, learned, or each batch's optimum (Gaussian)."""
    sigma: float = 0.354
    """Where the scale starts, in units of [-1, 1]; the Gaussian's σ, the logistic's s."""
    fit: int = 10_000
    """Samples of the aggregate posterior that a mixture prior is fitted to at the end."""

    def step(self, nets: Networks, batch: Batch, now: Clock) -> Step:
        """The negative of the evidence lower bound (Kingma and Welling, eq. 3)."""
        E, Dec, likelihood, _ = (nets[name] for name in self.networks)
        x, c = batch.image, batch.condition
        q = E(x, *c)
        x_hat = Dec(q.rsample(batch.noise), *c)

        if self.scale == "optimal":
            likelihood.fit_scale(x_hat.detach(), x)
        reconstruction = -likelihood(x_hat, x).mean()
        prior = kl(q, self.free_bits)
        loss = reconstruction + self.beta * now.rise(self.warmup) * prior
        moved = self.networks[:3] if self.scale == "learned" else self.networks[:2]
        yield dict.fromkeys(moved, loss)
        return {"reconstruction": reconstruction.detach(), "kl": prior.detach()}

    def prepare(self, nets: Networks, batches: Iterator[Batch]) -> None:
        """Sets the likelihood's scale to sigma."""
        if self.sigma <= 0 or (self.scale == "optimal" and nets["likelihood"].kind != "gaussian"):
            raise ConfigError("sigma must be positive; scale optimal needs a Gaussian")
        torch.nn.init.constant_(nets["likelihood"].log_scale, math.log(self.sigma))

    def conclude(self, nets: Networks, batches: Iterator[Batch]) -> None:
        """Fits the prior to the aggregate posterior, from which N(0, I) always differs."""
        fit_prior(nets, batches, self.fit)
        if self.scale == "optimal":  # of the averaged networks, at z = μ
            some = [*enough(batches, 256)]
            x, c = torch.cat([b.image for b in some]), join(*(b.condition for b in some))
            with torch.no_grad():
                x_hat = nets["decoder"](nets["encoder"](x, *c).mean, *c)
                nets["likelihood"].fit_scale(x_hat, x)
