"""Networks of auxiliary variables: a latent a beside z makes q(z|x) more than one Gaussian.

| Auxiliary Deep Generative Models (Maaløe et al., 2016) | https://arxiv.org/abs/1602.05473
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganvae.networks.classes import AppendClass
from ganvae.networks.mlp import dense
from ganvae.networks.prior import GoesOn, Prior
from ganvae.networks.residual import Trunk
from ganvae.types import LOGVAR, Noise, Posterior, Shape


class Gaussian(nn.Module):
    """Features to a diagonal Gaussian, by a linear layer."""

    def __init__(self, features: int, size: int):
        super().__init__()
        self.linear = nn.Linear(features, 2 * size)

    def forward(self, h: Tensor) -> Posterior:
        """The Gaussian (B, size) of each row of (B, features)."""
        return Posterior.of(self.linear(h))


class Correction(nn.Module):
    """A Gaussian moved by further inputs through a hidden layer, whose output starts at zero.

    So q(z|a,x) starts as the q(z|x) of a plain VAE, undisturbed by the noise of a, and p(a|x,z)
    as q(a|x): a costs nothing before it is of use.

    beside: size of the further inputs
    """

    def __init__(self, features: int, beside: int, size: int, hidden: int):
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(features + beside, hidden), nn.ReLU())
        self.linear = nn.Linear(hidden, 2 * size, bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, q: Posterior, h: Tensor, beside: Tensor) -> Posterior:
        """The Gaussian (B, size) that ``q`` becomes, of (B, features) and (B, beside)."""
        mean, logvar = self.linear(self.hidden(torch.cat([h, beside], 1))).chunk(2, 1)
        return Posterior(q.mean + mean, (q.logvar + logvar).clamp(*LOGVAR))


class Heads(nn.Module):
    """q(a|x), q(z|a,x) and p(a|x,z), all of the same features of x.

    generated: a belongs to the latent, whose prior has p(a|z): there is no p(a|x,z)
    """

    def __init__(
        self, features: int, latent: int, auxiliary: int, hidden: int, generated: bool = False
    ):
        super().__init__()
        self.auxiliary = Gaussian(features, auxiliary)
        self.latent = Gaussian(features, latent)
        self.forth = Correction(features, auxiliary, latent, hidden)
        self.back = None if generated else Correction(features, latent, auxiliary, hidden)

    def given(self, h: Tensor, a: Tensor) -> Posterior:
        """q(z|a,x) of features (B, F) and a (B, k)."""
        return self.forth(self.latent(h), h, a)


@dataclass(frozen=True)
class AuxiliaryPosterior(Posterior):
    """q(z|x) = ∫ q(z|a,x) q(a|x) da; or, where a is generated, q(z,a|x) of the latent (z, a).

    ``mean`` and ``logvar`` are those of z at the mean of a, and then of a itself where it belongs
    to the latent. What is drawn goes through a sample of a.

    auxiliary: q(a|x)
    features: of x, the input of the heads, shape (B, F)
    heads: the networks of q(z|a,x) and p(a|x,z)
    """

    auxiliary: Posterior
    features: Tensor
    heads: Heads

    def draw(self, noise: Noise) -> tuple[Tensor, Tensor]:
        """z, (B, d), and log q(a|x) + log q(z|a,x) − log p(a|x,z), (B,), in nats.

        Minus log p(x|z) p(z) this bounds −log p(x) from above. Where a belongs to the latent, it
        is (z, a) and its log q(z,a|x).
        """
        a, log_a = self.auxiliary.draw(noise)
        z, log_z = self.heads.given(self.features, a).draw(noise)
        if self.heads.back is None:
            return torch.cat([z, a], 1), log_a + log_z
        p_a = self.heads.back(self.auxiliary, self.features, z)
        return z, log_a + log_z - p_a.log_prob(a)

    def rsample(self, noise: Noise) -> Tensor:
        """A reparametrised sample of the latent, (B, d), by way of a."""
        return self.draw(noise)[0]

    def log_prob(self, z: Tensor) -> Tensor:
        """Raises NotImplementedError: the integral over a has no closed form."""
        raise NotImplementedError("log q(z|x) is an integral over a: use draw")


class AuxiliaryEncoder(nn.Module):
    """An image (B, C, H, W) in [-1, 1] to q(z|x) with an auxiliary variable.

    body: images to features (B, F)
    features: F
    hidden: size of the hidden layers of q(z|a,x) and p(a|x,z)
    generated: the latent is (z, a), half of each; else it is z, and a has as many dimensions

    Raises ValueError where there is only one dimension for both.
    """

    def __init__(
        self,
        shape: Shape,
        body: nn.Module,
        features: int,
        *,
        hidden: int = 128,
        generated: bool = False,
    ):
        super().__init__()
        auxiliary = shares(shape.latent)[1] if generated else shape.latent
        latent = shape.latent - auxiliary if generated else shape.latent
        self.body, self.append_class = body, AppendClass(shape.classes)
        self.heads = Heads(features + shape.classes, latent, auxiliary, hidden, generated)

    def forward(self, x: Tensor, label: Tensor | None = None) -> AuxiliaryPosterior:
        """The posterior of each image."""
        h = self.append_class(self.body(x), label)
        q_a = self.heads.auxiliary(h)
        q_z = self.heads.given(h, q_a.mean)
        parts = [q_z] if self.heads.back is not None else [q_z, q_a]
        mean, logvar = (torch.cat([getattr(q, n) for q in parts], 1) for n in ("mean", "logvar"))
        return AuxiliaryPosterior(mean, logvar, q_a, h, self.heads)


class AuxiliaryPrior(Prior):
    """p(z) p(a|z) of pairs (z, a): p(z) is fitted like any prior, p(a|z) learnt by its weights.

    first: p(z)
    auxiliary: dimensions of a
    classes: number of classes that p(z|y) and p(a|z,y) are of; 0 for none
    """

    def __init__(self, first: Prior, auxiliary: int, *, classes: int = 0, hidden: int = 128):
        super().__init__(first.latent + auxiliary)
        self.first, self.append_class = first, AppendClass(classes)
        self.body = nn.Sequential(nn.Linear(first.latent + classes, hidden), nn.ReLU())
        self.auxiliary = Gaussian(hidden, auxiliary)

    def sample(
        self, noise: Noise, label: Tensor | None = None, temperature: float = 1.0
    ) -> Tensor:
        """z ~ p(z), a ~ p(a|z) with its spread scaled alike: shape (B, d)."""
        z = self.first.sample(noise, label, temperature)
        p = self.auxiliary(self.body(self.append_class(z, label)))
        return torch.cat([z, p.mean + temperature * p.std * noise.normal(p.mean.shape[1])], 1)

    def log_prob(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """log p(z) + log p(a|z), of pairs (B, d) to (B,)."""
        first, a = z.tensor_split([self.first.latent], 1)
        p = self.auxiliary(self.body(self.append_class(first, label)))
        return self.first.log_prob(first, label) + p.log_prob(a)

    def fit(self, z: Tensor, label: Tensor | None = None, goes_on: GoesOn | None = None) -> None:
        """Fits p(z) to the first part of each pair; p(a|z) stays what it has learnt."""
        self.first.fit(z[:, : self.first.latent], label, goes_on)


def shares(latent: int) -> tuple[int, int]:
    """The dimensions of z and of a in a latent of both. Raises ValueError where it has one."""
    if latent < 2:
        raise ValueError(f"z and a need 2 latent dimensions or more together, got {latent}")
    return latent - latent // 2, latent // 2


def residual(shape: Shape, width: int, depth: int, generated: bool = False) -> AuxiliaryEncoder:
    """An :class:`AuxiliaryEncoder` that looks at images with residual convolutions."""
    trunk, features = Trunk(shape, width, depth, normalise=True), 256
    reduce = nn.Linear(math.prod(trunk.out), features)
    body = nn.Sequential(trunk, nn.Flatten(), reduce, nn.LeakyReLU(0.2))
    return AuxiliaryEncoder(shape, body, features, generated=generated)


def mlp(
    shape: Shape, hidden: tuple[int, ...] = (128, 64, 32), generated: bool = False
) -> AuxiliaryEncoder:
    """An :class:`AuxiliaryEncoder` that looks at images with dense layers of these sizes."""
    layers = dense(math.prod(shape.image), *hidden)
    body = nn.Sequential(nn.Flatten(), *layers, nn.ReLU())
    return AuxiliaryEncoder(shape, body, hidden[-1], hidden=hidden[0], generated=generated)
