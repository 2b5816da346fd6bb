"""Priors fitted to the aggregate posterior after training, beside the one trained with."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ganvae.models.model import Model
from ganvae.models.prior_names import KINDS, ROLES, available
from ganvae.networks import flow, zoo
from ganvae.networks.prior import MixturePrior, NormalPrior, Prior
from ganvae.progress import Progress
from ganvae.types import Noise, Posterior

LARGEST = 512
"""Dimensions of z up to which alternatives are fitted: their matrices have d² numbers and more."""
BATCH = 256


@dataclass(frozen=True)
class Fit:
    """A prior fitted after training, and how long its fit took."""

    prior: Prior
    seconds: float
    whole: bool = True
    """Whether it was fitted to the end."""


class Images(Protocol):
    """Training images, and the class number of each, (N,), where they have classes."""

    @property
    def labels(self) -> np.ndarray | None:
        """Class numbers."""

    def __len__(self) -> int: ...

    def images(self, rows: np.ndarray) -> Tensor:
        """Images (B, C, H, W) in [-1, 1]."""


def lacking(model: Model) -> list[str]:
    """The priors that can be fitted to a model and that it has not, by name; see
    :func:`fit_priors`."""
    prior = model.networks.get("prior")
    fits = isinstance(prior, NormalPrior | MixturePrior) and model.latent <= LARGEST
    if model.info.from_sources or "encoder" not in model.networks or not fits:
        return []
    return [name for name in KINDS if name not in available(model.networks)]


def fit_priors(
    model: Model,
    images: Images,
    samples: int = 10_000,
    seed: int = 0,
    progress: Progress | None = None,
    left: Callable[[], float] = lambda: math.inf,
) -> dict[str, Fit]:
    """The priors that a model lacks, by role, fitted to z ~ q(z|x) of training images.

    Nothing for a model without an encoder or of another task than to generate, for one whose own
    prior is neither normal nor a mixture, or whose z has more than :data:`LARGEST` dimensions.
    The prior trained with is not fitted again, nor is what the model has already.

    images: what it was trained on
    samples: draws of z that they are fitted to, of all images where there are fewer
    seed: of the images and of the draws
    left: seconds that are left for it; at 0 a fit ends with what it has, and no other begins
    """
    names = lacking(model)
    if not names or not len(images):
        return {}
    tell = progress or (lambda what, done, total: None)
    start = left()
    z, *c = aggregate(model, images, samples, seed, tell, lambda: left() > start / 2)
    fits: dict[str, Fit] = {}
    for name in names:
        if not left():
            break
        fits[ROLES[name]] = _fit(model, name, (z, *c), tell, left)
    return fits


def _fit(
    model: Model, name: str, latents: tuple[Tensor, ...], tell: Progress, left: Callable[[], float]
) -> Fit:
    stopped: list[bool] = []

    def goes_on(done: int, limit: int) -> bool:
        tell(f"fitting the {name} prior", done, limit)
        if done < limit and not left():
            stopped.append(True)
        return not stopped

    with torch.random.fork_rng(devices=[]):
        prior: Any = zoo.build(KINDS[name], model.info.networks, model.info.shape)
    start = time.perf_counter()
    prior.fit(*latents, goes_on=goes_on)
    tell(f"fitting the {name} prior", 1, 1)
    return Fit(prior.eval().to(model.device), time.perf_counter() - start, not stopped)


def seconds_of_flow(model: Model, steps: int = 3) -> float:
    """Seconds that the fit of a flow will take, from a few steps on arbitrary numbers."""
    with torch.random.fork_rng(devices=[]):
        prior: Any = zoo.build(KINDS["flow"], model.info.networks, model.info.shape)
    z = torch.linspace(-2, 2, BATCH * model.latent).view(model.latent, BATCH).T
    label = (torch.zeros(BATCH, dtype=torch.long),) if model.info.classes else ()
    start = time.perf_counter()
    prior.fit(z, *label, goes_on=lambda done, most: done < steps)
    return (time.perf_counter() - start) / steps * flow.STEPS


def aggregate(
    model: Model,
    images: Images,
    samples: int,
    seed: int,
    tell: Progress = lambda what, done, total: None,
    goes_on: Callable[[], bool] = lambda: True,
) -> tuple[Tensor, ...]:
    """Draws of the aggregate posterior, (samples, d), and their classes where the model has any.

    Every image gives one draw, or several where there are more samples than images were encoded.

    goes_on: asked after each batch; once it is False no more images are encoded
    """
    order = np.random.default_rng(seed).permutation(len(images))[:samples]
    labels = images.labels if model.info.classes else None
    posteriors = []
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        c = () if labels is None else (torch.from_numpy(labels[rows].astype(np.int64)),)
        posteriors.append(model.encode(images.images(rows), *c))
        tell("images encoded", start + len(rows), len(order))
        if not goes_on():
            order = order[: start + len(rows)]
            break
    q, times = Posterior.cat(posteriors), -(-samples // len(order))
    noise = Noise(seed, total=len(order), device=model.device)
    z = torch.cat([q.rsample(noise) for _ in range(times)])[:samples]
    if labels is None:
        return (z,)
    return z, torch.from_numpy(np.tile(labels[order].astype(np.int64), times))[:samples]
