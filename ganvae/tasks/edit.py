"""Changes images along directions in the latent space."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ganvae.errors import RangeError
from ganvae.models import Model
from ganvae.models.checks import Label
from ganvae.models.images import enlarged, grid, save_png
from ganvae.progress import Progress
from ganvae.tasks.directions import Directions
from ganvae.tasks.output import ON_A_SHEET, Folder, Result, about, join, target
from ganvae.tasks.reader import Pictures, Reader


def edit(
    model: Model,
    data: Pictures,
    directions: Directions | str | Path,
    out: str | Path,
    *,
    amounts: Sequence[float] = (2.0,),
    which: str | int | None = None,
    label: Label = None,
    n: int | None = None,
    batch: int = 64,
    progress: Progress | None = None,
) -> list[Path]:
    """Encode images, move them along directions, and decode them again.

    out: a .png: for one image, one direction and one amount the edited image; else a sheet with a
        row an image and direction, the image as it was first and then an amount a column. Else a
        folder of 000000_00_00.png (image, direction, amount) and index.json
    directions: what :func:`direction` wrote, or its path
    amounts: how far, in standard deviations; negative ones go the other way
    which: one direction by name or number; unset: all of them
    label: for a class-conditional model: the class of all images; unset: by sub-folder
    n: takes the first n images; unset: all, 32 for a sheet

    Returns the files written. Raises ConfigError for directions of another model, DataError for
    images or directions that cannot be read. Warns where the model was trained further since.
    """
    out, sheet = target(out, data)
    directions = _fitting(directions, model)
    reader = Reader(model, data, ON_A_SHEET if sheet and n is None else n, batch, label)
    parts = edits(reader, directions, amounts, which, progress=progress)
    if sheet:
        result = join(parts)
        alone = result.images.shape[:3] == (1, 1, 1)
        scale = enlarged(model.shape)
        return [save_png(result.images[0, 0, 0] if alone else strips(result, scale), out)]
    folder, names = Folder(out, (6, 2, 2)), list[str]()
    for part in parts:
        folder.add(part)
        names += part.names
    index: dict[str, Any] = {
        "model": about(model),
        "images": names,
        "directions": [directions.names[k] for k in _numbers(directions, which)],
        "amounts": list(amounts),
        "skipped": reader.skipped,
    }
    return folder.finish(index)


def edits(
    reader: Reader,
    directions: Directions,
    amounts: Sequence[float] = (2.0,),
    which: str | int | None = None,
    *,
    progress: Progress | None = None,
) -> Iterator[Result]:
    """The images of a reader moved along directions, in parts; no files.

    Images are of shape (N, directions, amounts, C, H, W).

    amounts, which: see :func:`edit`
    """
    if not amounts or not all(abs(amount) < float("inf") for amount in amounts):
        raise RangeError(f"amounts must be finite numbers, at least one, got {list(amounts)}")
    numbers = _numbers(directions, which)
    for part in reader.batches("editing", progress):
        images = moved(reader.model, part.images, directions, amounts, numbers, part.labels)
        yield Result(images.cpu(), part.images.cpu(), tuple(part.names), part.first)


def _numbers(directions: Directions, which: str | int | None) -> list[int]:
    """The numbers of all directions, or of one."""
    return [*range(len(directions))] if which is None else [directions.find(which)]


def _fitting(directions: Directions | str | Path, model: Model) -> Directions:
    """The directions, read if they are a path, and checked against the model."""
    if not isinstance(directions, Directions):
        directions = Directions.load(directions)
    note = directions.check(model)
    if note:
        warnings.warn(note, stacklevel=3)
    return directions


def moved(
    model: Model,
    x: Tensor,
    directions: Directions,
    amounts: Sequence[float],
    which: Sequence[int] = (0,),
    label: Label = None,
) -> Tensor:
    """Images (B, C, H, W) moved along directions: shape (B, directions, amounts, C, H, W)."""
    z = model.encode(x, label).mean
    ways = [
        model.decode(directions.move(z, amount, k), label) for k in which for amount in amounts
    ]
    return torch.stack(ways, 1).unflatten(1, (len(which), len(amounts)))


def strips(result: Result, scale: int = 1) -> Image.Image:
    """A row for each image and direction: the image as it was, then an amount a column."""
    directions, amounts = result.images.shape[1:3]
    first = result.originals[:, None, None].expand(-1, directions, 1, -1, -1, -1)
    rows = torch.cat([first, result.images], 2).flatten(0, 2)
    return grid(rows, amounts + 1, scale=scale)
