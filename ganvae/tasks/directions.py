"""Directions in a model's latent space: learning, saving, and going along them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ganvae import config
from ganvae.data.arrays import load
from ganvae.errors import ConfigError, DataError
from ganvae.files import write
from ganvae.models import Model
from ganvae.models.directory import state_of
from ganvae.telling import words
from ganvae.types import Posterior

Kind = Literal["difference", "class", "principal"]
FORMAT = 1
FILE_BYTES = 2**25
"""Most bytes of all arrays of a file together."""


@dataclass(frozen=True, kw_only=True)
class Directions:
    """Unit vectors in the latent space of one model.

    vectors: shape (K, d), of length 1
    names: one for each
    spread: standard deviation of the aggregate posterior along each, (K,)
    distance: how far apart the means are that a vector leads from and to, in standard deviations;
        0 for principal directions, (K,)
    kind: of two sets of images, of classes, or principal
    model: digest of the weights they belong to
    origin: objective, data and seed of that model
    """

    vectors: Tensor
    names: tuple[str, ...]
    spread: Tensor
    distance: Tensor
    kind: Kind
    model: str
    origin: str

    def __len__(self) -> int:
        return len(self.names)

    def move(self, z: Tensor, amount: float, which: int = 0) -> Tensor:
        """z (B, d) moved by ``amount`` standard deviations along a direction."""
        return z + (amount * self.spread[which] * self.vectors[which]).to(z)

    def find(self, name: str | int) -> int:
        """The number of a direction by its name or number. Raises ConfigError."""
        text = str(name)
        if text in self.names:
            return self.names.index(text)
        if text.isdecimal() and int(text) < len(self):
            return int(text)
        raise ConfigError(f"no direction {text!r}{config.suggest(text, list(self.names))}")

    def save(self, path: str | Path) -> Path:
        """Write an .npz of plain arrays."""
        arrays: dict[str, Any] = {
            "format": FORMAT,
            "vectors": self.vectors.cpu().numpy(),
            "names": np.array(self.names, np.str_),
            "spread": self.spread.cpu().numpy(),
            "distance": self.distance.cpu().numpy(),
            "kind": self.kind,
            "model": self.model,
            "origin": self.origin,
        }

        def save(scratch: Path) -> None:
            with scratch.open("wb") as file:
                np.savez(file, **arrays)

        return write(Path(path), save)

    @staticmethod
    def load(path: str | Path) -> Directions:
        """Read what :meth:`save` wrote; nothing in it is ever executed. Raises DataError."""
        if not Path(path).exists():
            raise DataError(f"{path} does not exist; `ganvae direction` writes such files")
        try:
            return _parsed(load(Path(path), FILE_BYTES))
        except Exception as bad:  # whatever somebody else's arrays may be
            raise DataError(f"{path} holds no directions of latents: {words(bad)}") from None

    def check(self, model: Model) -> str:
        """A warning where the model was trained further since, else "".

        Raises ConfigError for directions of another model.
        """
        size = self.vectors.shape[1]
        if size != model.latent:
            raise ConfigError(
                f"the directions are of {size} latent dimensions, the model has {model.latent}: "
                f"learn them from this model with `ganvae direction`"
            )
        if self.model == fingerprint(model):
            return ""
        if self.origin != origin(model):
            raise ConfigError(
                "the directions belong to another model, whose latents mean something else: "
                "learn them from this one with `ganvae direction`"
            )
        return "the model has other weights than when the directions were learnt: learn them anew"


def _parsed(arrays: dict[str, np.ndarray]) -> Directions:
    numbers = [arrays[name] for name in ("vectors", "spread", "distance")]
    if odd := [array.dtype for array in numbers if array.dtype not in (np.float32, np.float64)]:
        raise ValueError(f"vectors of {odd[0]} where they are of float32")
    shape = numbers[0].shape
    if len(shape) != 2 or any(a.shape != shape[:1] for a in (*numbers[1:], arrays["names"])):
        raise ValueError(f"names, spreads and distances do not fit vectors of shape {shape}")
    if not all(shape):
        raise ValueError("there are none in it")
    vectors, spread, distance = map(torch.from_numpy, numbers)
    names = tuple(str(name) for name in arrays["names"])
    kind, number = str(arrays["kind"]), int(arrays["format"])
    if number != FORMAT or kind not in get_args(Kind):
        raise ValueError(f"format {number}, kind {kind!r} is not known")
    if not all(bool(torch.isfinite(part).all()) for part in (vectors, spread, distance)):
        raise ValueError("some numbers are not finite")
    if not bool(((spread > 0) & (distance >= 0)).all()):
        raise ValueError("some spreads or distances are not positive numbers")
    if not torch.allclose(vectors.norm(dim=1), torch.ones(len(vectors)), atol=1e-3):
        raise ValueError("some vectors are not of length 1")
    return Directions(
        vectors=vectors.float(),
        names=names,
        spread=spread.float(),
        distance=distance.float(),
        kind=kind,  # type: ignore[arg-type]
        model=str(arrays["model"]),
        origin=str(arrays["origin"]),
    )


def fingerprint(model: Model) -> str:
    """A digest of a model's weights, the same on every device."""
    digest = hashlib.blake2b(digest_size=16)
    for role, module in sorted(model.networks.items()):
        for name, value in sorted(state_of(role, module).items()):
            digest.update(f"{role}.{name} {value.dtype} {tuple(value.shape)}\n".encode())
            flat = value.detach().cpu().contiguous().flatten()
            digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return digest.hexdigest()


def origin(model: Model) -> str:
    """Objective, data and seed: the same for a run that was continued."""
    info = model.info
    return json.dumps([info.objective, info.trained.fingerprint, info.trained.seed, model.latent])


# -- learning ------------------------------------------------------------------------------------


def between(model: Model, without: Posterior, having: Posterior, name: str = "") -> Directions:
    """From the mean latent of images without something to that of images with it.

    Raises DataError where the means are the same.
    """
    step = having.mean.mean(0) - without.mean.mean(0)
    both = Posterior.cat([without, having])
    return _directions(model, both, step[None], (name or "difference",), "difference")


def of_classes(
    model: Model, q: Posterior, kinds: Sequence[str], only: str | None = None
) -> Directions:
    """To each class's mean latent from that of all the others.

    kinds: the class of every image
    only: a single one of them

    Raises DataError where all images are of one class, ConfigError for a class that is not there.
    """
    names = sorted(set(kinds))
    if only is not None and only not in names:
        raise ConfigError(f"no image is of class {only!r}{config.suggest(only, names)}")
    if len(names) < 2:
        raise DataError(f"all images are of class {names[0]!r}: a direction needs others, too")
    member = torch.tensor([names.index(kind) for kind in kinds], device=q.mean.device)
    targets = names if only is None else [only]
    steps = []
    for name in targets:
        own = member == names.index(name)
        steps.append(q.mean[own].mean(0) - q.mean[~own].mean(0))
    return _directions(model, q, torch.stack(steps), tuple(targets), "class")


def principal(model: Model, q: Posterior, k: int) -> Directions:
    """The k directions along which the posteriors' means vary most, the first one most of all.

    Each points to where its largest component is positive.
    Raises ConfigError where there are not so many.
    """
    most = min(len(q.mean) - 1, q.mean.shape[1])
    if not 1 <= k <= most:
        raise ConfigError(f"{k} principal directions were asked for: there are 1 to {most}")
    centred = (q.mean - q.mean.mean(0)).cpu().double()
    n, d = centred.shape
    if d <= n:
        vectors = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1).T[:k]
    else:
        vectors = torch.linalg.svd(centred, full_matrices=False).Vh[:k]
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    names = tuple(f"principal-{number}" for number in range(k))
    return _directions(model, q, vectors * largest.sign(), names, "principal")


def _directions(
    model: Model, q: Posterior, steps: Tensor, names: tuple[str, ...], kind: Kind
) -> Directions:
    steps = steps.cpu().double()
    length = steps.norm(dim=1)
    same = [name for name, size in zip(names, length.tolist()) if not size > 1e-9]
    if same:
        raise DataError(f"no direction for {same[0]}: the model sees no difference")
    vectors = steps / length[:, None]
    spread = _spread(q, vectors)
    return Directions(
        vectors=vectors.float(),
        names=names,
        spread=spread.float(),
        distance=(length / spread * (kind != "principal")).float(),
        kind=kind,
        model=fingerprint(model),
        origin=origin(model),
    )


def _spread(q: Posterior, vectors: Tensor) -> Tensor:
    """√(Var[v·μ] + E[v²·σ²]): the aggregate posterior's standard deviation along each, (K,)."""
    means = q.mean.cpu().double() @ vectors.T
    inside = q.logvar.cpu().double().exp().mean(0) @ vectors.square().T
    return (means.var(0, correction=0) + inside).sqrt()
