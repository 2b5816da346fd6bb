"""Images changed along a direction of the latents, to files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganvae.errors import RangeError
from ganvae.models import Model
from ganvae.models.images import enlarged, grid, save_png
from ganvae.models.model import Label
from ganvae.progress import Progress
from ganvae.tasks.directions import Directions
from ganvae.tasks.pictures import (
    Pictures,
    Reader,
    about,
    folder,
    is_sheet,
    refuse_over,
    write_index,
)

ON_A_SHEET = 32


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
    out = Path(out)
    sheet = is_sheet(out, ".png")
    refuse_over(out, data)
    directions = _fitting(directions, model)
    if not amounts or not all(abs(amount) < float("inf") for amount in amounts):
        raise RangeError(f"amounts must be finite numbers, at least one, got {list(amounts)}")
    chosen = [*range(len(directions))] if which is None else [directions.find(which)]
    reader = Reader(model, data, ON_A_SHEET if sheet and n is None else n, batch, label)
    originals: list[Tensor] = []
    edited: list[Tensor] = []
    written: list[Path] = []
    names: list[str] = []
    for part in reader:
        made = moved(model, part.images, directions, amounts, chosen, part.labels).cpu()
        if sheet:
            originals.append(part.images.cpu())
            edited.append(made)
        else:
            written += _write(made, folder(out), len(names))
        names += part.names
        if progress:
            progress("editing", len(names), reader.total)
    if sheet:
        return [_sheet(torch.cat(originals), torch.cat(edited), out, enlarged(model.shape))]
    told: dict[str, Any] = {
        "model": about(model),
        "images": names,
        "directions": [directions.names[k] for k in chosen],
        "amounts": list(amounts),
        "skipped": reader.skipped,
    }
    return write_index(out, written, told)


def _fitting(directions: Directions | str | Path, model: Model) -> Directions:
    """The directions, read where they are a path; a note of theirs becomes a warning."""
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


def _write(made: Tensor, place: Path, first: int) -> list[Path]:
    return [
        save_png(image, place / f"{first + i:06d}_{k:02d}_{a:02d}.png")
        for i, rows in enumerate(made)
        for k, row in enumerate(rows)
        for a, image in enumerate(row)
    ]


def _sheet(originals: Tensor, edited: Tensor, out: Path, scale: int) -> Path:
    count, directions, amounts = edited.shape[:3]
    if count == directions == amounts == 1:
        return save_png(edited[0, 0, 0], out)
    first = originals[:, None, None].expand(-1, directions, 1, -1, -1, -1)
    rows = torch.cat([first, edited], 2).flatten(0, 2)
    return save_png(grid(rows, amounts + 1, scale=scale), out)
