"""Images between images, to files."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from ganvae.errors import DataError, RangeError
from ganvae.models import Model
from ganvae.models.images import enlarged, grid, save_png
from ganvae.models.model import Label, spherical
from ganvae.progress import Progress
from ganvae.tasks.films import FILMS, is_film, save_film
from ganvae.tasks.pictures import (
    Pictures,
    about,
    folder,
    gathered,
    is_sheet,
    refuse_over,
    write_index,
)

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
    out = Path(out)
    sheet = is_sheet(out, ".png", *FILMS)
    refuse_over(out, data)
    film = sheet and is_film(out)
    if steps < 2:
        raise RangeError(f"an interpolation needs at least 2 steps, got {steps}")
    if milliseconds < 1:
        raise RangeError(f"a frame lasts at least 1 millisecond, got {milliseconds}")
    if n is None:
        n = ROWS if film else ROWS + 1
    z, labels = _ends(model, data, n, seed, label)
    order = [*range(len(z)), *([0] if film else [])]
    ways = []
    for done, (a, b) in enumerate(pairwise(order), 1):
        told = None if labels is None else _halves(labels[a], labels[b], steps)
        ask = model.render if data is None else model.decode
        t = torch.linspace(0, 1, steps, device=z.device)[:, None]
        ways.append(ask(spherical(z[a : a + 1], z[b : b + 1], t), told).cpu())
        if progress:
            progress("interpolating", done, len(order) - 1)
    if film:
        frames = torch.cat([way[:-1] for way in ways])  # an end is the next one's start
        return [save_film(frames, out, milliseconds=milliseconds, scale=enlarged(model.shape))]
    if sheet:
        return [save_png(grid(torch.cat(ways), steps, scale=enlarged(model.shape)), out)]
    place = folder(out)
    written = [
        save_png(image, place / f"{number:03d}_{step:03d}.png")
        for number, way in enumerate(ways)
        for step, image in enumerate(way)
    ]
    told_of = {"steps": steps, "ways": len(ways), "seed": None if data is not None else seed}
    return write_index(out, written, {"model": about(model), "interpolate": told_of})


def _ends(
    model: Model, data: Pictures | None, n: int, seed: int, label: Label
) -> tuple[Tensor, Tensor | None]:
    """Latents (N, d), N ≥ 2, and their classes (N,) where there are such."""
    if n < 2:
        raise RangeError(f"an interpolation needs at least 2 images, got n = {n}")
    if data is None:
        labels = model.labels(n, label, seed=seed)
        return model.latents(n, labels, seed=seed), labels
    found = gathered(model, data, n, label)
    if len(found.names) < 2:
        raise DataError("an interpolation needs at least 2 images; give a folder with more")
    return model.encode(found.images, found.labels).mean, found.labels


def _halves(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """The class at every step: the start's, and from the middle on the end's. Shape (steps,)."""
    return torch.where(torch.arange(steps, device=a.device) < steps / 2, a, b)
