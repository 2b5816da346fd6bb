"""Encodes images and decodes them again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ganvae.models import Model
from ganvae.models.checks import Label
from ganvae.models.images import enlarged, grid, save_png
from ganvae.progress import Progress
from ganvae.tasks.output import ON_A_SHEET, Folder, Result, about, join, target
from ganvae.tasks.reader import Pictures, Reader

COLUMNS = 8


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
    out, sheet = target(out, data)
    reader = Reader(model, data, ON_A_SHEET if sheet and n is None else n, batch, label)
    parts = reconstructions(reader, seed=seed, progress=progress)
    if sheet:
        both = join(parts)
        return [save_png(side_by_side(both.originals, both.images, enlarged(model.shape)), out)]
    folder, images = Folder(out, (6,)), list[dict[str, Any]]()
    for part in parts:
        paths = folder.add(part)
        errors = (part.images - part.originals).square().flatten(1).mean(1).tolist()
        images += [
            {"file": path.name, "source": name, "mse": error}
            for path, name, error in zip(paths, part.names, errors, strict=True)
        ]
    index = {"model": about(model), "seed": seed, "images": images, "skipped": reader.skipped}
    return folder.finish(index)


def reconstructions(
    reader: Reader, *, seed: int | None = None, progress: Progress | None = None
) -> Iterator[Result]:
    """The images of a reader encoded and decoded again, (N, C, H, W), in parts; no files.

    seed: see :func:`reconstruct`
    """
    for part in reader.batches("reconstructing", progress):
        images = reader.model.reconstruct(
            part.images, part.labels, seed=seed, batch=reader.batch, start=part.first
        )
        yield Result(images.cpu(), part.images.cpu(), tuple(part.names), part.first)


def side_by_side(originals: Tensor, reconstructions: Tensor, scale: int = 1) -> Image.Image:
    """Each row of originals (N, C, H, W) above the row of its reconstructions."""
    columns = min(COLUMNS, len(originals))
    blank = originals.new_ones(-len(originals) % columns, *originals.shape[1:])
    rows = [torch.cat([x, blank]).split(columns) for x in (originals, reconstructions)]
    return grid(torch.cat([x for pair in zip(*rows) for x in pair]), columns, scale=scale)
