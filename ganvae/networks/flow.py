"""p(z) as a normalizing flow: whitened latents through couplings of splines."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, silu
from zuko.transforms import MonotonicRQSTransform

from ganvae.networks.prior import GoesOn, Prior, checked
from ganvae.types import Noise, mix

_LOG_2PI = math.log(2 * math.pi)

HELD = 0.1
"""Share of the points that a fit is judged by."""
BATCH = 256
STEPS = 300
"""Steps of a fit at most; a bound on time that does not depend on the clock."""
EPOCHS = 60
"""Rounds over the points at most."""
LR = 4e-3


class Coupling(nn.Module):
    """A coupling layer: the other half and the class choose a spline for each of these dimensions.

    latent: d
    number: which half: those whose number has one of its bits set, or unset
    hidden: width of the network that decides the splines
    bins: pieces of a spline
    classes: number of classes; 0 for none
    """

    keep: Tensor
    bent: Tensor

    def __init__(self, latent: int, number: int, hidden: int, bins: int, classes: int):
        super().__init__()
        bit = (number // 2) % max(1, (latent - 1).bit_length())
        half = [(i >> bit) & 1 == number % 2 for i in range(latent)]
        half = half if any(half) else [True] * latent
        bent = [i for i, bends in enumerate(half) if bends]
        self.bins, self.pieces = bins, 3 * bins - 1
        keep = [float(not bends) for bends in half]
        self.register_buffer("keep", torch.tensor(keep), persistent=False)
        self.register_buffer("bent", torch.tensor(bent), persistent=False)
        self.inner = nn.Linear(latent + classes, hidden)
        self.middle = nn.Linear(hidden, hidden)
        self.outer = nn.Linear(hidden, len(bent) * self.pieces)
        nn.init.zeros_(self.outer.weight)  # every spline is straight at first
        nn.init.zeros_(self.outer.bias)

    def reset(self, generator: torch.Generator) -> None:
        """Fresh weights from ``generator`` in all but the last layer."""
        for layer in (self.inner, self.middle):
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)

    def _splines(self, u: Tensor, c: Tensor | None) -> MonotonicRQSTransform:
        inputs = u * self.keep if c is None else torch.cat([u * self.keep, c], 1)
        shape = self.outer(silu(self.middle(silu(self.inner(inputs)))))
        shape = shape.unflatten(1, (-1, self.pieces))
        return MonotonicRQSTransform(*shape.split([self.bins, self.bins, self.bins - 1], 2))

    def forward(self, u: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """From (B, d) and one-hot classes to (B, d), and log |det| of the Jacobian, (B,)."""
        bent, change = self._splines(u, c).call_and_ladj(u[:, self.bent])
        return u.index_copy(1, self.bent, bent), change.sum(1)

    def inverse(self, u: Tensor, c: Tensor | None) -> Tensor:
        """The inverse of :meth:`forward`, (B, d)."""
        return u.index_copy(1, self.bent, self._splines(u, c).inv(u[:, self.bent]))


class FlowPrior(Prior):
    """z = m + L f⁻¹(ε), ε ~ N(0, I), where f is a chain of couplings; N(0, I) until it is fitted.

    Each coupling passes half of the dimensions on, and they decide the monotonic
    rational-quadratic splines that bend the other half.

    latent: d
    couplings: how many, each of another half of the dimensions
    hidden: width of the networks that decide the splines
    bins: pieces of a spline between -5 and 5 standard deviations, outside of which it is straight
    classes: number of classes that p(z|y) is of; 0 for none

    | Neural Spline Flows (Durkan et al., 2019) | https://arxiv.org/abs/1906.04032
    """

    mean: Tensor
    factor: Tensor
    fitted: Tensor

    def __init__(
        self, latent: int, couplings: int = 4, hidden: int = 128, bins: int = 6, classes: int = 0
    ):
        super().__init__(latent)
        if min(couplings, hidden) < 1 or bins < 2:
            raise ValueError(
                f"a flow needs at least one coupling, one hidden unit and two bins, got "
                f"{couplings}, {hidden} and {bins}"
            )
        self.classes = classes
        self.couplings = nn.ModuleList(
            Coupling(latent, i, hidden, bins, classes) for i in range(couplings)
        )
        self.register_buffer("mean", torch.zeros(latent))
        self.register_buffer("factor", torch.eye(latent))
        self.register_buffer("fitted", torch.tensor(False))

    def _one_hot(self, label: Tensor | None) -> Tensor | None:
        """A one-hot row for every sample, (B, classes)."""
        if not self.classes:
            return None
        if label is None:
            raise ValueError("this prior is of classes: give each sample's label")
        return one_hot(label.to(self.mean.device).long(), self.classes).to(self.mean)

    def sample(
        self, noise: Noise, label: Tensor | None = None, temperature: float = 1.0
    ) -> Tensor:
        """z = m + L f⁻¹(τ ε), shape (B, d). Takes d normal numbers from ``noise``."""
        u, c = temperature * noise.normal(self.latent).to(self.mean), self._one_hot(label)
        for coupling in reversed(self.couplings):
            u = coupling.inverse(u, c)  # type: ignore[operator]
        return self.mean + u @ self.factor.T

    def log_prob(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """log N(f(u); 0, I) + log |∂f/∂u| − log |L|, u = L⁻¹(z − m): of shape (B, d) to (B,)."""
        centred = (z.to(self.mean) - self.mean).T
        u = torch.linalg.solve_triangular(self.factor, centred, upper=False).T
        return self._log_density(u, self._one_hot(label)) - self.factor.diagonal().log().sum()

    def _log_density(self, u: Tensor, c: Tensor | None) -> Tensor:
        """The log density of whitened latents."""
        volume = torch.zeros_like(u[:, 0])
        for coupling in self.couplings:
            u, change = coupling(u, c)
            volume = volume + change
        return volume - 0.5 * (u.square() + _LOG_2PI).sum(1)

    def fit(self, z: Tensor, label: Tensor | None = None, goes_on: GoesOn | None = None) -> None:
        """Fit to ``z``, shape (N, d), by maximum likelihood, on one thread of the CPU.

        Deterministic: weights and the order of the points come from a fixed seed. A tenth of the
        points is held back, and the weights that give it the most likelihood are kept; at first
        these are those of the Gaussian N(m, L Lᵀ), so no fit is worse for them than a Gaussian.
        Raises ValueError for no points, the wrong shape or values that are not finite.
        """
        points = checked(self, z)
        if self.classes and label is None:
            raise ValueError("this prior is of classes: give each latent's label")
        with torch.inference_mode(False), torch.enable_grad(), _one_thread():
            copy = deepcopy(self).to("cpu", torch.float32).requires_grad_(True)
            classes = None if label is None else label.detach().cpu().clone()
            copy._fit(points.clone(), classes, goes_on)
        self.load_state_dict(copy.state_dict())

    def _fit(self, points: Tensor, label: Tensor | None, goes_on: GoesOn | None) -> None:
        generator = torch.Generator().manual_seed(mix(0, self.latent))
        mean, factor = whitening(points)
        u = torch.linalg.solve_triangular(factor, (points - mean).T, upper=False).T.float()
        with torch.no_grad():
            self.mean.copy_(mean)
            self.factor.copy_(factor)
            self.fitted.fill_(True)
            for coupling in self.couplings:
                assert isinstance(coupling, Coupling)
                coupling.reset(generator)
                nn.init.zeros_(coupling.outer.weight)
                nn.init.zeros_(coupling.outer.bias)
        count = round(HELD * len(u))
        if count:
            order = torch.randperm(len(u), generator=generator)
            parts = order[count:], order[:count]
            self._train(u, self._one_hot(label), parts, generator, goes_on or _to_the_end)

    def _train(
        self,
        u: Tensor,
        c: Tensor | None,
        parts: tuple[Tensor, Tensor],
        generator: torch.Generator,
        goes_on: GoesOn,
    ) -> None:
        """Adam on the first part; keeps the weights with the best likelihood of the second."""
        train, validation = parts
        rounds = max(1, len(train) // BATCH)
        epochs = max(1, min(EPOCHS, STEPS // rounds))
        optim = torch.optim.Adam(self.parameters(), LR)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optim, epochs * rounds)
        best, weights = self._of(u, c, validation), deepcopy(self.state_dict())
        steps, more = 0, True
        while more and steps < epochs * rounds:
            order = torch.randperm(len(train), generator=generator)
            for rows in train[order].tensor_split(rounds):
                optim.zero_grad()
                (-self._log_density(u[rows], None if c is None else c[rows]).mean()).backward()
                nn.utils.clip_grad_norm_(self.parameters(), 5.0)
                optim.step()
                schedule.step()
                steps += 1
                more = goes_on(steps, epochs * rounds)
                if not more:
                    break
            score = self._of(u, c, validation)
            if score > best:  # never for NaN
                best, weights = score, deepcopy(self.state_dict())
        self.load_state_dict(weights)

    @torch.no_grad()
    def _of(self, u: Tensor, c: Tensor | None, rows: Tensor) -> float:
        return float(self._log_density(u[rows], None if c is None else c[rows]).mean())


def _to_the_end(done: int, limit: int) -> bool:
    return True


@contextmanager
def _one_thread() -> Iterator[None]:
    """Runs on one thread: steps so small are slower on several, much so where cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def whitening(z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (d,) and Cholesky factor (d, d) of the covariance of points (N, d), in float64.

    The covariance is drawn towards its diagonal, as if d more points were uncorrelated.
    """
    n, d = z.shape
    mean = z.mean(0)
    covariance = (z - mean).T @ (z - mean) / n
    shrunk = covariance * (n / (n + d))
    shrunk.diagonal().copy_(covariance.diagonal() + 1e-4)
    return mean, torch.linalg.cholesky(shrunk)
