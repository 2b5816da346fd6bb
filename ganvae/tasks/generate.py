"""New images to files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganvae.errors import ConfigError, DataError, RangeError
from ganvae.models import Model
from ganvae.models.checks import Label
from ganvae.models.draws import BLOCK
from ganvae.models.images import enlarged, grid, save_png, to_uint8
from ganvae.progress import Progress
from ganvae.tasks.pictures import (
    Pictures,
    about,
    folder,
    gathered,
    is_sheet,
    refuse_over,
    write_index,
)
from ganvae.types import Noise

PIXELS = 2**20
"""Pixels at most of the images that are computed at once."""


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
    out = Path(out)
    if n < 1:
        raise RangeError(f"n must be at least 1, got {n}")
    sheet = is_sheet(out, ".png")
    refuse_over(out, like)
    batch = at_once(model) if batch is None else batch
    if like is None:
        make, name = _drawn(model, label, seed, temperature, prior, truncation, batch), ""
    elif prior is None and truncation is None:
        make, name = _alike(model, label, like, seed, temperature, batch)
    else:
        raise ConfigError("images like another come from its posterior: prior and truncation are "
                          "for those from a prior")  # fmt: skip
    written: list[Path] = []
    parts: list[np.ndarray] = []
    for first, pixels in blocks(make, n, start=start, batch=batch):
        if sheet:
            parts.append(pixels)
        else:
            place = folder(out)
            written += [save_png(x, place / f"{first + i:06d}.png") for i, x in enumerate(pixels)]
        if progress:
            progress("generating", first - start + len(pixels), n)
    if sheet:
        return [save_png(grid(np.concatenate(parts), columns, scale=enlarged(model.shape)), out)]
    told: dict[str, Any] = {"seed": seed, "temperature": temperature, "start": start, "n": n}
    options = {"prior": prior, "truncation": truncation, "like": name or None}
    told |= {key: value for key, value in options.items() if value is not None}
    if isinstance(label, str | int):
        told["class"] = label
    return write_index(out, written, {"model": about(model), "generate": told})


def at_once(model: Model) -> int:
    """How many images are best computed at once: on a CPU fewer take up to a fifth longer."""
    return max(1, min(256, PIXELS // (model.shape[1] * model.shape[2])))


def blocks(
    make: Callable[[int, int], Tensor], n: int, *, start: int = 0, batch: int = 64
) -> Iterator[tuple[int, np.ndarray]]:
    """The pixels of images ``start`` to ``start + n``: (number of the first, (B, H, W, C)).

    make: so many images (B, C, H, W) in [-1, 1] from a number on
    """
    for first in range(start, start + n, batch):
        yield first, to_uint8(make(min(batch, start + n - first), first))


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
    if not 0 <= temperature < float("inf"):
        raise RangeError(f"temperature must be 0 or more, got {temperature}")
    q = model.encode(x, label)
    blocks = range(start // BLOCK, (start + n - 1) // BLOCK + 1)
    noise = [Noise(seed, block, total=BLOCK).normal(model.latent) for block in blocks]
    at = start - blocks[0] * BLOCK
    z = q.mean + temperature * q.std * torch.cat(noise)[at : at + n].to(q.mean)
    return model.decode(z, label, batch=batch)


def _drawn(
    model: Model,
    label: Label,
    seed: int,
    temperature: float,
    prior: str | None,
    truncation: float | None,
    batch: int,
) -> Callable[[int, int], Tensor]:
    """What makes so many images of a prior from a number on."""
    return lambda n, start: model.generate(
        n, label, seed=seed, temperature=temperature, prior=prior, truncation=truncation,
        start=start, batch=batch,
    )  # fmt: skip


def _alike(
    model: Model, label: Label, like: Pictures, seed: int, temperature: float, batch: int
) -> tuple[Callable[[int, int], Tensor], str]:
    """What makes so many images from a number on, and the name of the image they are like."""
    found = gathered(model, like, 2, label)
    if len(found.names) != 1:
        raise DataError("new images can be like one image; give a single file")
    told = None if found.labels is None else int(found.labels[0])
    if not bool(model.encode(found.images, told).std.any()):
        warnings.warn(
            "this model gives an image one code: all new ones are the same", stacklevel=3
        )
    return lambda n, start: around(
        model, found.images, n, told, seed=seed, temperature=temperature, start=start, batch=batch
    ), found.names[0]
