"""Translates source images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ganvae.models import Model, checks
from ganvae.models.images import enlarged, save_png, sheet_of_sources
from ganvae.progress import Progress
from ganvae.tasks.output import ON_A_SHEET, SHEET, Folder, Result, about, join, target
from ganvae.tasks.reader import Pictures, Reader


def translate(
    model: Model,
    data: Pictures,
    out: str | Path,
    *,
    variants: int = 4,
    reverse: bool = False,
    n: int | None = None,
    seed: int = 0,
    batch: int = 64,
    progress: Progress | None = None,
) -> list[Path]:
    """Translates each source image, several times.

    Source images are of the kind that the model was trained on (outlines, grey or small pictures);
    they are resized as in training, and made grey or coloured as those were.

    out: a folder for 000000_00.png, … (image, variant), sheet.png (a row an image: the source,
        then the variants; of the first 32 images) and index.json; or a .png, the sheet alone
    variants: how many of each; number v of an image and a seed does not depend on how many
    reverse: from images to sources, where the model learnt from unpaired sets
    n: takes the first n images; unset: all, 32 for a sheet

    Returns the files written. Raises ConfigError for a model that was not trained for it or has no
    way back, DataError for images that cannot be read.
    """
    out, sheet = target(out, data)
    reader = sources(model, data, ON_A_SHEET if sheet and n is None else n, batch, reverse)
    parts = translations(reader, variants, seed=seed, reverse=reverse, progress=progress)
    folder, names, on_sheet = Folder(out, (6, 2)), list[str](), list[Result]()
    for part in parts:
        if not sheet:
            folder.add(part)
        names += part.names
        on_sheet.append(part if sheet else part.head(max(0, ON_A_SHEET - part.first)))
    rows = join(on_sheet)
    picture = sheet_of_sources(rows.originals, rows.images, scale=enlarged(model.shape))
    if sheet:
        return [save_png(picture, out)]
    folder.paths.append(save_png(picture, out / SHEET))
    index: dict[str, Any] = {
        "model": about(model),
        "seed": seed,
        "variants": variants,
        "reverse": reverse,
        "images": names,
        "skipped": reader.skipped,
    }
    return folder.finish(index)


def sources(
    model: Model, data: Pictures, n: int | None = None, batch: int = 64, reverse: bool = False
) -> Reader:
    """The source images of a translation."""
    channels = model.shape[0] if reverse else model.info.shape.source
    return Reader(model, data, n, batch, channels=channels, source=not reverse)


def translations(
    reader: Reader,
    variants: int = 4,
    *,
    seed: int = 0,
    reverse: bool = False,
    progress: Progress | None = None,
) -> Iterator[Result]:
    """Translations of a reader's images, (N, variants, C, H, W), in parts; no files.

    reader: see :func:`sources`
    The others: see :func:`translate`.
    """
    checks.trained_to(reader.model.info, "translate")
    checks.has_direction(reader.model.info, reverse)
    for part in reader.batches("translating", progress):
        images = reader.model.translate(
            part.images, variants, seed=seed, reverse=reverse, batch=reader.batch, start=part.first
        )
        yield Result(images.cpu(), part.images.cpu(), tuple(part.names), part.first)
