"""Priors fitted to the aggregate posterior after training, beside the one trained with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ganvae.networks import zoo
from ganvae.networks.flow import FlowPrior
from ganvae.networks.prior import MixturePrior, NormalPrior, Prior
from ganvae.types import Noise, Posterior

if TYPE_CHECKING:
    from ganvae.models.model import Model

KINDS = {"normal": "normal_prior", "mixture": "mixture_prior", "flow": "flow_prior"}
"""Kinds of network by the name that a prior is asked for by."""
ROLES = {name: f"prior_{name}" for name in KINDS}
"""The roles of those fitted after training; the one trained with has the role "prior"."""
TRAINED = "trained"
"""What the prior trained with is called where it is of another kind."""
LARGEST = 512
"""Dimensions of z up to which alternatives are fitted: their matrices have d² numbers and more."""
BATCH = 256


@dataclass(frozen=True)
class Fit:
    """A prior fitted after training, and how long its fit took."""

    prior: Prior
    seconds: float


class Images(Protocol):
    """Training images, and their classes in ``labels`` where they have any."""

    def __len__(self) -> int: ...

    def images(self, rows: np.ndarray) -> Tensor:
        """Images (B, C, H, W) in [-1, 1]."""
        ...


def name_of(prior: nn.Module) -> str:
    """What a prior is asked for by. A mixture that was never fitted is N(0, I)."""
    if isinstance(prior, MixturePrior):
        return "mixture" if bool(prior.fitted) else "normal"
    found = {NormalPrior: "normal", FlowPrior: "flow"}
    return next((name for kind, name in found.items() if isinstance(prior, kind)), TRAINED)


def available(networks: dict[str, nn.Module]) -> dict[str, str]:
    """The priors of a model by name, and their roles; the one trained with comes first."""
    fitted = {name: role for name, role in ROLES.items() if role in networks}
    return {name_of(networks["prior"]): "prior"} | fitted


def fit_priors(
    model: Model,
    images: Images,
    samples: int = 10_000,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Fit]:
    """The priors that a model lacks, by role, fitted to z ~ q(z|x) of training images.

    Nothing for a model without an encoder or of another task than to generate, for one whose own
    prior is neither normal nor a mixture, or whose z has more than :data:`LARGEST` dimensions.
    The prior trained with is not fitted again, nor is what the model has already.

    images: what it was trained on
    samples: draws of z that they are fitted to, of all images where there are fewer
    seed: of the images and of the draws
    """
    own = model.networks["prior"]
    fits = isinstance(own, NormalPrior | MixturePrior) and model.latent <= LARGEST
    if model.info.task != "generate" or "encoder" not in model.networks or not fits:
        return {}
    names = [name for name in KINDS if name not in available(model.networks)]
    if not names or not len(images):
        return {}
    z, *c = aggregate(model, images, samples, seed)
    made: dict[str, Fit] = {}
    for done, name in enumerate(names):
        if progress:
            progress("priors fitted", done, len(names))
        with torch.random.fork_rng(devices=[]):
            prior: Any = zoo.build(KINDS[name], model.info.networks, model.info.shape)
        start = time.perf_counter()
        prior.fit(z, *c)
        made[ROLES[name]] = Fit(prior.eval().to(model.device), time.perf_counter() - start)
    if progress:
        progress("priors fitted", len(names), len(names))
    return made


def aggregate(model: Model, images: Images, samples: int, seed: int) -> tuple[Tensor, ...]:
    """Draws of the aggregate posterior, (samples, d), and their classes where the model has any.

    Each from another image, or as often as another where there are more samples than images.
    """
    order = np.random.default_rng(seed).permutation(len(images))[:samples]
    labels: Any = getattr(images, "labels", None) if model.info.classes else None
    found = []
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        c = () if labels is None else (torch.from_numpy(labels[rows].astype(np.int64)),)
        found.append(model.encode(images.images(rows), *c))
    q, times = Posterior.cat(found), -(-samples // len(order))
    noise = Noise(seed, total=len(order), device=model.device)
    z = torch.cat([q.rsample(noise) for _ in range(times)])[:samples]
    if labels is None:
        return (z,)
    return z, torch.from_numpy(np.tile(labels[order].astype(np.int64), times))[:samples]
