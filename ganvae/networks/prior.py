"""p(z): what is sampled from, a network with buffers so that it is saved with the others."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ganvae.types import Noise

_LOG_2PI = math.log(2 * math.pi)

GoesOn = Callable[[int, int], bool]
"""Called after each round of a fit with the rounds so far and at most: whether to go on. If not,
the fit ends with what it has."""


class Prior(nn.Module):
    """A distribution over latents that can be sampled and evaluated.

    latent: d, the dimensions of z
    """

    def __init__(self, latent: int):
        super().__init__()
        if latent < 1:
            raise ValueError(f"a prior needs at least one latent dimension, got {latent}")
        self.latent = latent

    @abstractmethod
    def sample(
        self, noise: Noise, label: Tensor | None = None, temperature: float = 1.0
    ) -> Tensor:
        """z ~ p(z), or p(z|y), shape (B, d), from ``noise`` alone.

        label: y, class numbers of shape (B,)
        temperature: scales the spread
        """

    @abstractmethod
    def log_prob(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """log p(z), or log p(z|y), in nats: of shape (B, d) to (B,)."""

    @abstractmethod
    def fit(self, z: Tensor, label: Tensor | None = None, goes_on: GoesOn | None = None) -> None:
        """Adapt p(z) to samples of the aggregate posterior, shape (N, d)."""

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """:meth:`log_prob`."""
        return self.log_prob(z, label)


class NormalPrior(Prior):
    """The standard normal distribution N(0, I), whatever the class."""

    def sample(
        self, noise: Noise, label: Tensor | None = None, temperature: float = 1.0
    ) -> Tensor:
        """z = τ ε, shape (B, d)."""
        return temperature * noise.normal(self.latent)

    def log_prob(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """log N(z; 0, I), of shape (B, d) to (B,)."""
        return -0.5 * (z.square() + _LOG_2PI).sum(1)

    def fit(self, z: Tensor, label: Tensor | None = None, goes_on: GoesOn | None = None) -> None:
        """Nothing: N(0, I) has nothing to adapt."""


class MixturePrior(Prior):
    """A mixture of Gaussians Σ_k π_k N(m_k, L_k L_kᵀ); N(0, I) until it is fitted.

    Given a class, the Gaussians are the same, and their weights are the class's own.

    latent: d
    components: K, at most; fewer are used where there are too few points for so many
    regulariser: added to the diagonal of every covariance
    classes: number of classes that p(z|y) is of; 0 for none

    | From Variational to Deterministic Autoencoders (Ghosh et al., 2020), section 4
    | https://arxiv.org/abs/1903.12436
    """

    weights: Tensor
    means: Tensor
    factors: Tensor
    fitted: Tensor

    def __init__(
        self, latent: int, components: int = 40, regulariser: float = 1e-4, classes: int = 0
    ):
        super().__init__(latent)
        if components < 1:
            raise ValueError(f"a mixture needs at least one component, got {components}")
        self.components, self.regulariser = components, regulariser
        weights = torch.zeros(classes, components) if classes else torch.zeros(components)
        weights[..., 0] = 1
        self.register_buffer("weights", weights)
        self.register_buffer("means", torch.zeros(components, latent))
        self.register_buffer("factors", torch.eye(latent).repeat(components, 1, 1))
        self.register_buffer("fitted", torch.tensor(False))

    def _weights(self, label: Tensor | None) -> Tensor:
        """π of every sample, (B, K), or of all of them, (1, K)."""
        if self.weights.ndim == 1:
            return self.weights[None]
        if label is None:
            raise ValueError("this prior is of classes: give each sample's label")
        return self.weights[label.to(self.weights.device)]

    def sample(
        self, noise: Noise, label: Tensor | None = None, temperature: float = 1.0
    ) -> Tensor:
        """z = m_k + τ L_k ε with k ~ π, shape (B, d).

        ``temperature`` τ scales the spread within the components; how often each is met does not
        change. Takes one uniform number and d normal ones from ``noise``.
        """
        edges = self._weights(label).float().cumsum(1)
        u = noise.uniform().to(edges)[:, None].contiguous()
        edges = (edges / edges[:, -1:]).expand(len(u), -1).contiguous()
        k = torch.searchsorted(edges, u, right=True)[:, 0]  # never one of weight zero
        spread = noise.normal(self.latent).to(self.means)
        with torch.autocast(spread.device.type, enabled=False):
            spread = torch.einsum("bij,bj->bi", self.factors[k], spread)
        return self.means[k] + temperature * spread

    def log_prob(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """log Σ_k π_k N(z; m_k, L_k L_kᵀ), of shape (B, d) to (B,)."""
        centred = (z.to(self.means) - self.means[:, None]).mT  # (K, d, B)
        standard = torch.linalg.solve_triangular(self.factors, centred, upper=False)
        half_logdet = self.factors.diagonal(dim1=1, dim2=2).log().sum(1)
        constant = self._weights(label).log().mT - half_logdet[:, None]
        joint = constant - 0.5 * standard.square().sum(1)
        return torch.logsumexp(joint, dim=0) - 0.5 * self.latent * _LOG_2PI

    @torch.no_grad()
    def fit(self, z: Tensor, label: Tensor | None = None, goes_on: GoesOn | None = None) -> None:
        """Fit the mixture to ``z``, shape (N, d), by expectation maximisation.

        Deterministic: k-means with a fixed seed starts it. A full covariance in d dimensions wants
        points, so at most N/2d components are used; the others get weight zero.
        Raises ValueError for no points, the wrong shape or values that are not finite.
        """
        points = checked(self, z)
        count = min(self.components, max(1, len(points) // (2 * self.latent)))
        if count > 1:
            count = min(count, len(points.unique(dim=0)))
        weights, means, factors = expectation_maximisation(
            points, count, self.regulariser, goes_on=goes_on
        )
        if self.weights.ndim == 2:
            weights = self._by_class(points, label, (weights, means, factors))
        self.weights.zero_()
        self.means.zero_()
        self.factors.copy_(torch.eye(self.latent))
        self.weights[..., :count] = weights.to(self.weights)
        self.means[:count] = means.to(self.means)
        self.factors[:count] = factors.to(self.factors)
        self.fitted.fill_(True)

    def _by_class(
        self, z: Tensor, label: Tensor | None, mixture: tuple[Tensor, Tensor, Tensor]
    ) -> Tensor:
        """p(k|y), shape (classes, K): how much each Gaussian has of each class's points."""
        if label is None:
            raise ValueError("this prior is of classes: give each latent's label")
        shares = _joint(z, *mixture).softmax(1)
        weights = mixture[0].repeat(len(self.weights), 1)  # for classes without points
        for y in label.unique().tolist():
            weights[y] = shares[label.cpu() == y].mean(0)
        return weights


def checked(prior: Prior, z: Tensor) -> Tensor:
    """Latents to fit a prior to, (N, d), in float64 on the CPU. Raises ValueError for others."""
    if z.ndim != 2 or z.shape[1] != prior.latent or not len(z):
        raise ValueError(
            f"a prior over {prior.latent} dimensions cannot be fitted to latents of shape "
            f"{tuple(z.shape)}; give (N, {prior.latent}), N ≥ 1"
        )
    if not torch.isfinite(z).all():
        raise ValueError("the latents to fit the prior to are not all finite numbers")
    return z.detach().cpu().double()  # Apple's GPUs have no float64


def expectation_maximisation(
    z: Tensor,
    components: int,
    regulariser: float,
    iterations: int = 20,
    tolerance: float = 1e-3,
    goes_on: GoesOn | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (K,), means (K, d) and Cholesky factors (K, d, d) of a mixture fitted to z (N, d).

    The steps, start and stopping rule are those of scikit-learn's ``GaussianMixture`` with
    ``covariance_type="full", random_state=0``, which takes several times as long.
    """
    shares = torch.nn.functional.one_hot(_clusters(z, components), components).to(z)
    previous = -math.inf
    for iteration in range(1, iterations + 1):
        weights, means, factors = _maximise(z, shares, regulariser)
        joint = _joint(z, weights, means, factors)
        evidence = joint.logsumexp(1, keepdim=True)
        shares = (joint - evidence).exp()
        bound = evidence.mean().item()
        if abs(bound - previous) < tolerance or (goes_on and not goes_on(iteration, iterations)):
            break
        previous = bound
    return _maximise(z, shares, regulariser)


def _clusters(z: Tensor, components: int) -> Tensor:
    if components == 1:
        return torch.zeros(len(z), dtype=torch.long)
    from sklearn.cluster import KMeans

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer distinct points than clusters is no matter here
        labels = KMeans(components, n_init=1, random_state=0).fit(z.numpy()).labels_
    return torch.from_numpy(labels).long()


def _maximise(z: Tensor, shares: Tensor, regulariser: float) -> tuple[Tensor, Tensor, Tensor]:
    n = shares.sum(0) + 10 * torch.finfo(z.dtype).eps
    means = shares.T @ z / n[:, None]
    covariances = torch.eye(z.shape[1], dtype=z.dtype).mul(regulariser).repeat(len(n), 1, 1)
    for k, mean in enumerate(means):
        centred = z - mean
        covariances[k] += (centred * shares[:, k : k + 1]).T @ centred / n[k]
    return n / n.sum(), means, torch.linalg.cholesky(covariances)


def _joint(z: Tensor, weights: Tensor, means: Tensor, factors: Tensor) -> Tensor:
    """log π_k N(z; m_k, L_k L_kᵀ), shape (N, K); a component at a time to save memory."""
    identity = torch.eye(z.shape[1], dtype=z.dtype)
    inverses = torch.linalg.solve_triangular(factors, identity, upper=False)
    half_logdet = factors.diagonal(dim1=1, dim2=2).log().sum(1)
    constant = weights.log() - half_logdet - 0.5 * z.shape[1] * _LOG_2PI
    squared = [((z - mean) @ inverse.T).square().sum(1) for mean, inverse in zip(means, inverses)]
    return constant - 0.5 * torch.stack(squared, 1)
