"""New images to files."""

from __future__ import annotations

from pathlib import Path

import torch

from ganvae.models import Model
from ganvae.models.images import grid, save_png
from ganvae.tasks.pictures import INDEX, Progress, about, folder, is_sheet, scale_of, write_json


def generate(
    model: Model,
    n: int,
    out: str | Path,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    start: int = 0,
    batch: int = 64,
    columns: int | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Images ``start`` to ``start + n`` of a seed: one grid if ``out`` is a .png, else a folder.

    A folder gets 000000.png, … named by the image's number, and index.json. Image i of a seed is
    the same however many are made and wherever that starts, so many processes can share the work.
    temperature: below 1 more typical, less various
    Returns the files written. Raises ValueError for numbers that make no sense.
    """
    out = Path(out)
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    sheet = is_sheet(out, ".png")
    written, parts = [], []
    for first in range(start, start + n, batch):
        count = min(batch, start + n - first)
        images = model.generate(
            count, seed=seed, temperature=temperature, start=first, batch=batch
        ).cpu()
        if sheet:
            parts.append(images)
        else:
            place = folder(out)
            written += [save_png(x, place / f"{first + i:06d}.png") for i, x in enumerate(images)]
        if progress:
            progress("generating", first - start + count, n)
    if sheet:
        return [save_png(grid(torch.cat(parts), columns, scale=scale_of(model)), out)]
    told = {"seed": seed, "temperature": temperature, "start": start, "n": n}
    return [*written, write_json(out / INDEX, {"model": about(model), "generate": told})]
