"""Which images are judged: rows of the data and numbered samples of a model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ganvae.metrics.protocols import HeldoutImages, Images, Model
from ganvae.task import TASKS, Task

CHUNK = 128
"""Images drawn or read at once."""


def rows(total: int, n: int, seed: int) -> np.ndarray:
    """n of ``total`` row numbers (all if there are fewer), at random by ``seed``, ascending.

    A smaller n with the same seed gives a subset.
    """
    return np.sort(np.random.default_rng(seed).permutation(total)[:n])


def spread(total: int, n: int) -> np.ndarray:
    """n of ``total`` row numbers (all if there are fewer), evenly from the first to the last.

    To be looked at: of a folder that is sorted by class they are of all classes.
    """
    return np.unique(np.linspace(0, total - 1, min(n, total)).round().astype(np.int64))


def read(images: Images, numbers: np.ndarray) -> Iterator[Tensor]:
    """The images of some rows, in batches (B, C, H, W) in [-1, 1]."""
    for start in range(0, len(numbers), CHUNK):
        yield images.images(numbers[start : start + CHUNK])


def read_with_labels(images: HeldoutImages, numbers: np.ndarray) -> Iterator[tuple[Tensor, ...]]:
    """The same, each batch as (images,), or as (images, labels) where they have labels (B,)."""
    if images.labels is None:
        yield from zip(read(images, numbers))
        return
    labels = torch.from_numpy(images.labels[numbers].astype(np.int64))
    yield from zip(read(images, numbers), labels.split(CHUNK))


def levels(x: Tensor) -> Tensor:
    """Images (B, C, H, W) rounded to the 8-bit levels that files hold, on the CPU.

    Raises ValueError for values that are not finite.
    """
    x = x.detach().cpu().float()
    if not bool(x.isfinite().all()):
        raise ValueError("The model makes images that are not finite: its weights are broken.")
    return x.clamp(-1, 1).add(1).mul(127.5).round().div(127.5).sub(1)


def task_of(model: Model) -> Task:
    """What the model was trained for."""
    return TASKS[model.info.task]


def generated(
    model: Model, n: int, seed: int, test: HeldoutImages | None = None
) -> Iterator[Tensor]:
    """n new images in batches, at 8 bits: (B, C, H, W) in [-1, 1].

    ``model.generate(n, seed=seed)``; of a model that starts from sources: what it makes of those
    of n held-out images ``test``.
    """
    if task_of(model).from_sources:
        assert test is not None
        numbers = rows(len(test), n, seed)
        yield from (variants[:, 0] for variants in made_of_sources(model, test, numbers, seed))
        return
    for start in range(0, n, CHUNK):
        yield levels(model.generate(min(CHUNK, n - start), seed=seed, start=start))


def made_of_sources(
    model: Model, test: HeldoutImages, numbers: np.ndarray, seed: int, variants: int = 1
) -> Iterator[Tensor]:
    """What a model makes of the sources of some held-out images, at 8 bits.

    Batches of shape (B, variants, C, H, W) in [-1, 1].
    """
    for start in range(0, len(numbers), CHUNK):
        chunk = numbers[start : start + CHUNK]
        source = test.sources(chunk).to(model.device)
        yield levels(model.of_sources(source, variants, seed=seed, start=start))
