"""Images between images, to files."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from ganvae.errors import DataError
from ganvae.models import Model
from ganvae.models.images import grid, make_gif, save_png
from ganvae.tasks.pictures import (
    INDEX,
    Pictures,
    Progress,
    about,
    folder,
    is_sheet,
    scale_of,
    spread,
    write_json,
)

ROWS = 8


def interpolate(
    model: Model,
    data: Pictures | None,
    out: str | Path,
    *,
    steps: int = 9,
    n: int | None = None,
    seed: int = 0,
    milliseconds: int = 80,
    progress: Progress | None = None,
) -> list[Path]:
    """The way from each image to the next, through the latents.

    out: a .png for a sheet with one way a row; a .gif for a film along all of them and back to the
        start; else a folder of frames 000_000.png (way, step) and index.json
    data: images, encoded and decoded on the way; None: images that the model makes by ``seed``
    steps: images a way, both ends included
    n: takes the first n images; unset: 9, that is 8 ways (images and ways of a film: 8)

    Returns the files written. Raises ConfigError where images are given to a model without an
    encoder, DataError where they cannot be read or are fewer than two.
    """
    out = Path(out)
    sheet = is_sheet(out, ".png", ".gif")
    film = sheet and out.suffix.lower() == ".gif"
    ends = _ends(model, data, n or (ROWS if film else ROWS + 1), seed)
    if film:
        ends = torch.cat([ends, ends[:1]])
    ways = []
    for done, (a, b) in enumerate(pairwise(ends), 1):
        ways.append(model.interpolate(a, b, steps).cpu())
        if progress:
            progress("interpolating", done, len(ends) - 1)
    if film:
        frames = torch.cat([way[:-1] for way in ways])  # an end is the next one's start
        return [make_gif(frames, out, duration=milliseconds, scale=scale_of(model))]
    if sheet:
        return [save_png(grid(torch.cat(ways), steps, scale=scale_of(model)), out)]
    place = folder(out)
    written = [
        save_png(image, place / f"{number:03d}_{step:03d}.png")
        for number, way in enumerate(ways)
        for step, image in enumerate(way)
    ]
    told = {"steps": steps, "ways": len(ways), "seed": None if data is not None else seed}
    return [*written, write_json(out / INDEX, {"model": about(model), "interpolate": told})]


def _ends(model: Model, data: Pictures | None, n: int, seed: int) -> Tensor:
    """Images (N, C, H, W), or latents (N, d), N ≥ 2."""
    if n < 2:
        raise ValueError(f"an interpolation needs at least 2 images, got n = {n}")
    ends = model.latents(n, seed=seed) if data is None else spread(model, data, n)
    if len(ends) < 2:
        raise DataError("an interpolation needs at least 2 images; give a folder with more")
    return ends
