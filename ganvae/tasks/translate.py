"""Images made from source images, to files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganvae.errors import ConfigError, RangeError
from ganvae.models import Model
from ganvae.models.images import enlarged, grid, save_png
from ganvae.progress import Progress
from ganvae.tasks.exact import as_channels
from ganvae.tasks.pictures import (
    Pictures,
    Reader,
    about,
    folder,
    is_sheet,
    refuse_over,
    require,
    write_index,
)

SHEET, ON_A_SHEET = "sheet.png", 32


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
    """What each source image becomes, several times.

    The images are the source itself, as the model was trained on it (an outline, a grey or a small
    picture); they are fitted to the model's size as in training, and made grey or coloured where
    its sources are.

    out: a folder for 000000_00.png, … (image, variant), sheet.png (a row an image: the source,
        then the variants; of the first 32 images) and index.json; or a .png, the sheet alone
    variants: how many of each; number v of an image and a seed does not depend on how many
    reverse: from images to sources, where the model learnt from unpaired sets
    n: takes the first n images; unset: all, 32 for a sheet

    Returns the files written. Raises ConfigError for a model that was not trained for it or has no
    way back, DataError for images that cannot be read.
    """
    _refuse(model, variants, reverse)
    out = Path(out)
    sheet = is_sheet(out, ".png")
    refuse_over(out, data)
    channels = model.shape[0] if reverse else model.info.shape.source
    reader = Reader(
        model, data, ON_A_SHEET if sheet and n is None else n, batch, channels=channels,
        source=not reverse,
    )  # fmt: skip
    shown: list[Tensor] = []
    written: list[Path] = []
    names: list[str] = []
    for part in reader:
        made = model.translate(
            part.images, variants, seed=seed, reverse=reverse, batch=batch, start=len(names)
        ).cpu()
        rows = made.shape[0] if sheet else max(0, ON_A_SHEET - len(names))
        shown.append(_rows(part.images.cpu(), made)[:rows])
        if not sheet:
            written += _write(made, folder(out), len(names))
        names += part.names
        if progress:
            progress("translating", len(names), reader.total)
    picture = grid(torch.cat(shown).flatten(0, 1), variants + 1, scale=enlarged(model.shape))
    if sheet:
        return [save_png(picture, out)]
    written.append(save_png(picture, out / SHEET))
    told: dict[str, Any] = {
        "model": about(model),
        "seed": seed,
        "variants": variants,
        "reverse": reverse,
        "images": names,
        "skipped": reader.skipped,
    }
    return write_index(out, written, told)


def _refuse(model: Model, variants: int, reverse: bool) -> None:
    """Raises ConfigError for what a model cannot do."""
    require(model, "translate")
    if reverse and model.info.paired:
        raise ConfigError(
            "this model learnt from pairs, which have one direction: train another one with "
            "source/ and target/ exchanged"
        )
    if variants < 1:
        raise RangeError(f"variants must be 1 or more, got {variants}")


def _write(made: Tensor, place: Path, first: int) -> list[Path]:
    return [
        save_png(x, place / f"{first + i:06d}_{v:02d}.png")
        for i, row in enumerate(made)
        for v, x in enumerate(row)
    ]


def _rows(source: Tensor, made: Tensor) -> Tensor:
    """Each source (B, S, H, W) before its variants (B, V, C, H, W): (B, 1 + V, 1 or 3, H, W)."""
    channels = max(source.shape[1], made.shape[2])
    both = [as_channels(x, channels) for x in (source[:, None], made)]
    return torch.cat(both, 1)
