"""Images encoded and decoded again, to files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ganvae.models import Model
from ganvae.models.images import enlarged, grid, save_png
from ganvae.models.model import Label
from ganvae.progress import Progress
from ganvae.tasks.pictures import (
    Pictures,
    Reader,
    about,
    folder,
    is_sheet,
    refuse_over,
    write_index,
)

ON_A_SHEET, COLUMNS = 32, 8


def reconstruct(
    model: Model,
    data: Pictures,
    out: str | Path,
    *,
    label: Label = None,
    n: int | None = None,
    seed: int | None = None,
    batch: int = 64,
    progress: Progress | None = None,
) -> list[Path]:
    """Reconstructions of images: one sheet if ``out`` is a .png, else a folder.

    A sheet has each row of originals above its reconstructions. A folder gets 000000.png, … and
    index.json with each one's source and its mean squared error (of values in [-1, 1]).

    label: for a class-conditional model: the class of all images; unset: by sub-folder
    n: takes the first n images; unset: all, 32 for a sheet
    seed: unset: from the posterior's mean; else from a sample of it
    Returns the files written. Raises ConfigError for a model without an encoder, DataError for
    images that cannot be read.
    """
    out = Path(out)
    sheet = is_sheet(out, ".png")
    refuse_over(out, data)
    reader = Reader(model, data, ON_A_SHEET if sheet and n is None else n, batch, label)
    shown: list[tuple[Tensor, Tensor]] = []
    written: list[Path] = []
    index: list[dict[str, Any]] = []
    done = 0
    for part in reader:
        again = model.reconstruct(
            part.images, part.labels, seed=seed, batch=batch, start=done
        ).cpu()
        original = part.images.cpu()
        if sheet:
            shown.append((original, again))
        else:
            errors = (again - original).square().flatten(1).mean(1).tolist()
            for name, image, error in zip(part.names, again, errors):
                path = save_png(image, folder(out) / f"{len(written):06d}.png")
                written.append(path)
                index.append({"file": path.name, "source": name, "mse": error})
        done += len(part.names)
        if progress:
            progress("reconstructing", done, reader.total)
    if sheet:
        originals, reconstructions = (torch.cat(parts) for parts in zip(*shown))
        return [save_png(side_by_side(originals, reconstructions, enlarged(model.shape)), out)]
    told = {"model": about(model), "seed": seed, "images": index, "skipped": reader.skipped}
    return write_index(out, written, told)


def side_by_side(originals: Tensor, reconstructions: Tensor, scale: int = 1) -> Image.Image:
    """Each row of originals (N, C, H, W) above the row of its reconstructions."""
    columns = min(COLUMNS, len(originals))
    blank = originals.new_ones(-len(originals) % columns, *originals.shape[1:])
    rows = [torch.cat([x, blank]).split(columns) for x in (originals, reconstructions)]
    return grid(torch.cat([x for pair in zip(*rows) for x in pair]), columns, scale=scale)
