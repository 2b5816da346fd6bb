"""A VAE whose posterior has an auxiliary variable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from torch import Tensor

from ganvae.objectives.base import Objective, fit_prior
from ganvae.objectives.vae import VAE
from ganvae.types import Batch, Clock, Networks, Optim, Step

KINDS = {
    "adgm": {"encoder": "auxiliary_encoder"},
    "sdgm": {"encoder": "generated_auxiliary_encoder", "prior": "auxiliary_prior"},
}
MOVED = {"adgm": ("encoder", "decoder"), "sdgm": ("encoder", "decoder", "prior")}


@dataclass(frozen=True, kw_only=True)
class AuxVAE(Objective):
    """A lower bound of log p(x) whose q(z|x) is a mixture of Gaussians over all a.

    | Auxiliary Deep Generative Models (Maaløe et al., 2016) | https://arxiv.org/abs/1602.05473
    """

    networks: ClassVar = ("encoder", "decoder", "likelihood", "prior")
    simultaneous: ClassVar = True

    optim: Optim = Optim(lr=2e-3, beta1=0.9, beta2=0.99, warmup=0.02, clip=100.0)
    """Adam and its schedule."""
    variant: Literal["adgm", "sdgm"] = "adgm"
    """adgm: a serves q(z|x) alone; sdgm: half of the latent is a, with p(a|z) and p(x|a,z)."""
    beta: float = 1.0
    """Weight of the divergence, log q(a|x) q(z|a,x) − log p(a|x,z) p(z)."""
    warmup: float = 0.0
    """Share of the stage over which the weight of the divergence rises from 0 to beta."""
    sigma: float = 0.354
    """The likelihood's scale, in units of [-1, 1]; the Gaussian's σ, the logistic's s."""
    fit: int = 10_000
    """Samples of the aggregate posterior that a mixture prior is fitted to at the end."""

    @property
    def kinds(self) -> Mapping[str, str]:  # type: ignore[override]
        """The networks of the variant."""
        return KINDS[self.variant]

    def step(self, nets: Networks, batch: Batch, now: Clock) -> Step:
        """The negative of the evidence lower bound (section 2.2)."""
        found = evidence(nets, batch)
        loss = found.reconstruction + self.beta * now.rise(self.warmup) * found.divergence
        yield dict.fromkeys(MOVED[self.variant], loss)
        return {"reconstruction": found.reconstruction.detach(), "kl": found.divergence.detach()}

    def prepare(self, nets: Networks, batches: Iterator[Batch]) -> None:
        """Sets the likelihood's scale to sigma."""
        VAE(sigma=self.sigma).prepare(nets, batches)

    def conclude(self, nets: Networks, batches: Iterator[Batch]) -> None:
        """Fits the prior to the aggregate posterior; the bound is of the fitted one."""
        fit_prior(nets, batches, self.fit)


class Evidence(NamedTuple):
    """The parts of −L, means over the batch in nats, and the decoded images (B, C, H, W)."""

    reconstruction: Tensor  # −log p(x|z)
    divergence: Tensor  # log q(a|x) q(z|a,x) − log p(a|x,z) p(z)
    x_hat: Tensor


def evidence(nets: Networks, batch: Batch) -> Evidence:
    """The bound at one sample of a and z an image; p(z) is N(0, I) until the prior is fitted."""
    x, c = batch.image, batch.condition
    z, log_q = nets["encoder"](x, *c).draw(batch.noise)
    x_hat = nets["decoder"](z, *c)
    reconstruction = -nets["likelihood"](x_hat, x).mean()
    return Evidence(reconstruction, (log_q - nets["prior"](z, *c)).mean(), x_hat)
