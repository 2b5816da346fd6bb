"""New images."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ganvae.errors import ConfigError, DataError, RangeError
from ganvae.models import Model, checks, draws
from ganvae.models.checks import Label
from ganvae.models.images import enlarged, grid, save_png, to_uint8
from ganvae.progress import Progress
from ganvae.tasks.output import Folder, Result, about, join, target
from ganvae.tasks.reader import Batch, Pictures, gathered

PIXELS = 2**20
"""Most pixels of the images that are computed at once."""


def generate(
    model: Model,
    n: int,
    out: str | Path,
    *,
    label: Label = None,
    like: Pictures | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    prior: str | None = None,
    truncation: float | None = None,
    start: int = 0,
    batch: int | None = None,
    columns: int | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Images ``start`` to ``start + n`` of a seed: one grid if ``out`` is a .png, else a folder.

    A folder gets 000000.png, … named by the image's number, and index.json. Image i of a seed is
    the same however many are made and wherever that starts, so many processes can share the work.
    label: of a class-conditional model: the class of all images; unset: by chance
    like: one image, and the new ones are then samples around its posterior, see :func:`around`
    temperature: below 1 more typical, less various (of ``like``: closer to it)
    prior, truncation: see :meth:`ganvae.models.Model.generate`; not with ``like``
    batch: images computed at once; unset: as many as have a million pixels, at most 256
    Returns the files written. Raises RangeError for numbers that make no sense, ConfigError for a
    class that does not exist.
    """
    out, sheet = target(out, like)
    if n < 1:
        raise RangeError(f"n must be at least 1, got {n}")
    size = at_once(model) if batch is None else batch
    original = None if like is None else _original(model, like, label, prior, truncation)

    def make(count: int, first: int) -> Tensor:
        if original is not None:
            return around(
                model, original.images, count, original.labels, seed=seed,
                temperature=temperature, start=first, batch=size,
            )  # fmt: skip
        return model.generate(
            count, label, seed=seed, temperature=temperature, prior=prior, truncation=truncation,
            start=first, batch=size,
        )  # fmt: skip

    parts = in_batches(make, n, start=start, batch=size, progress=progress)
    if sheet:
        images = join(parts).images
        return [save_png(grid(images, columns, scale=enlarged(model.shape)), out)]
    folder = Folder(out, (6,))
    for part in parts:
        folder.add(part)
    facts: dict[str, Any] = {"seed": seed, "temperature": temperature, "start": start, "n": n}
    name = original.names[0] if original else None
    options = {"prior": prior, "truncation": truncation, "like": name}
    facts |= {key: value for key, value in options.items() if value is not None}
    if isinstance(label, str | int):
        facts["class"] = label
    return folder.finish({"model": about(model), "generate": facts})


def at_once(model: Model) -> int:
    """A fast number of images to compute at once; fewer take up to a fifth longer on a CPU."""
    return max(1, min(256, PIXELS // (model.shape[1] * model.shape[2])))


def in_batches(
    make: Callable[[int, int], Tensor],
    n: int,
    *,
    start: int = 0,
    batch: int = 64,
    progress: Progress | None = None,
) -> Iterator[Result]:
    """Images ``start`` to ``start + n`` in parts; no files.

    make: gives images (B, C, H, W) in [-1, 1], by their count and the first one's number
    """
    for first in range(start, start + n, batch):
        count = min(batch, start + n - first)
        yield Result(make(count, first).cpu(), first=first)
        if progress:
            progress("generating", first - start + count, n)


def blocks(
    make: Callable[[int, int], Tensor], n: int, *, start: int = 0, batch: int = 64
) -> Iterator[tuple[int, np.ndarray]]:
    """The same as 8-bit pixels: (number of the first image, shape (B, H, W, C))."""
    for part in in_batches(make, n, start=start, batch=batch):
        yield part.first, to_uint8(part.images)


def around(
    model: Model,
    x: Tensor,
    n: int,
    label: Label = None,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    start: int = 0,
    batch: int = 64,
) -> Tensor:
    """Images like ``x``: z = μ + τ σ ε of its posterior, decoded. Shape (n, C, H, W), in [-1, 1].

    Sample i depends on (seed, start + i) alone; at τ = 1 it is that of ``model.reconstruct``.

    x: one image, shape (1, C, H, W), in [-1, 1]
    temperature: τ, 0 or more; at 0 all are the reconstruction from the mean
    """
    checks.temperature(temperature)
    q = model.encode(x, label)
    eps = draws.draw(lambda noise: noise.normal(model.latent), n, seed, start=start)
    return model.decode(q.mean + temperature * q.std * eps.to(q.mean), label, batch=batch)


def _original(
    model: Model, like: Pictures, label: Label, prior: str | None, truncation: float | None
) -> Batch:
    """The image that new ones are to resemble. Warns where all new ones will be the same."""
    if prior is not None or truncation is not None:
        raise ConfigError("images like another come from its posterior: prior and truncation are "
                          "for those from a prior")  # fmt: skip
    original = gathered(model, like, 2, label)
    if len(original.names) != 1:
        raise DataError("new images can be like one image; give a single file")
    if not bool(model.encode(original.images, original.labels).std.any()):
        warnings.warn(
            "this model gives an image one code: all new ones are the same", stacklevel=3
        )
    return original
