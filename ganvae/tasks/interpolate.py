"""Interpolates between images through the latent space."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from ganvae.errors import DataError, RangeError
from ganvae.models import Model
from ganvae.models.checks import Label
from ganvae.models.images import enlarged, grid, save_png
from ganvae.models.paths import steps_between
from ganvae.progress import Progress
from ganvae.tasks.films import FILMS, is_film, save_film
from ganvae.tasks.output import Folder, Result, about, target
from ganvae.tasks.reader import Pictures, gathered

ROWS = 8


def interpolate(
    model: Model,
    data: Pictures | None,
    out: str | Path,
    *,
    label: Label = None,
    steps: int = 9,
    n: int | None = None,
    seed: int = 0,
    milliseconds: int = 80,
    progress: Progress | None = None,
) -> list[Path]:
    """The way from each image to the next, through the latents, along an arc.

    out: a .png for a sheet with one way a row; a .gif, .webp or .mp4 for a film along all of them
        and back to the start; else a folder of frames 000_000.png (way, step) and index.json
    data: images, encoded and decoded on the way; None: images that the model makes by ``seed``
    label: for a class-conditional model: the class of all images; unset: by sub-folder, or by
        chance. A way between two classes changes the class at its middle
    steps: images a way, both ends included
    n: takes the first n images; unset: 9, that is 8 ways (images and ways of a film: 8)
    milliseconds: of a frame of a film

    Returns the files written. Raises ConfigError where images are given to a model without an
    encoder or where an .mp4 cannot be written, DataError where images cannot be read or are fewer
    than two.
    """
    out, sheet = target(out, data, suffixes=(".png", *FILMS))
    film = sheet and is_film(out)
    if milliseconds < 1:
        raise RangeError(f"a frame lasts at least 1 millisecond, got {milliseconds}")
    ways = interpolations(
        model, data, label=label, steps=steps, n=n, seed=seed, closed=film, progress=progress
    )
    scale = enlarged(model.shape)
    if film:
        return [save_film(frames(ways), out, milliseconds=milliseconds, scale=scale)]
    if sheet:
        return [save_png(grid(ways.images.flatten(0, 1), steps, scale=scale), out)]
    folder = Folder(out, (3, 3))
    folder.add(ways)
    facts = {"steps": steps, "ways": len(ways.images), "seed": None if data is not None else seed}
    return folder.finish({"model": about(model), "interpolate": facts})


def interpolations(
    model: Model,
    data: Pictures | None = None,
    *,
    label: Label = None,
    steps: int = 9,
    n: int | None = None,
    seed: int = 0,
    closed: bool = False,
    progress: Progress | None = None,
) -> Result:
    """The way from each image to the next: images (ways, steps, C, H, W); no files.

    closed: the last way leads back to the first image
    n: takes the first n images; unset: as many as make 8 ways
    The others: see :func:`interpolate`.
    """
    if steps < 2:
        raise RangeError(f"an interpolation needs at least 2 steps, got {steps}")
    z, labels = _ends(model, data, ROWS + (not closed) if n is None else n, seed, label)
    order = [*range(len(z)), *([0] if closed else [])]
    show = model.render if data is None else model.decode
    ways = []
    for number, (a, b) in enumerate(pairwise(order), 1):
        classes = None if labels is None else _halves(labels[a], labels[b], steps)
        (between,) = steps_between(z[a : a + 1], z[b : b + 1], steps)
        ways.append(show(between, classes).cpu())
        if progress:
            progress("interpolating", number, len(order) - 1)
    return Result(torch.stack(ways))


def frames(ways: Result) -> Tensor:
    """The frames of a film along ways that are closed, (N, C, H, W): no end is shown twice."""
    return ways.images[:, :-1].flatten(0, 1)


def _ends(
    model: Model, data: Pictures | None, n: int, seed: int, label: Label
) -> tuple[Tensor, Tensor | None]:
    """The latents (N, d) to interpolate between, N ≥ 2, and their classes (N,), if any."""
    if n < 2:
        raise RangeError(f"an interpolation needs at least 2 images, got n = {n}")
    if data is None:
        labels = model.labels(n, label, seed=seed)
        return model.latents(n, labels, seed=seed), labels
    images = gathered(model, data, n, label)
    if len(images.names) < 2:
        raise DataError("an interpolation needs at least 2 images; give a folder with more")
    return model.encode(images.images, images.labels).mean, images.labels


def _halves(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """The class at every step: the start's, and from the middle on the end's. Shape (steps,)."""
    return torch.where(torch.arange(steps, device=a.device) < steps / 2, a, b)
