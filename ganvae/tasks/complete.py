"""Fills in holes in pictures."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ganvae.data.decode import colour
from ganvae.data.folder import Folder
from ganvae.data.pairs import key
from ganvae.errors import ConfigError, DataError, RangeError
from ganvae.models import Model, checks
from ganvae.models.images import enlarged, grid, save_png
from ganvae.progress import Progress
from ganvae.tasks.exact import Picture, read
from ganvae.tasks.holes import find_hole
from ganvae.tasks.output import SHEET, about, folder, is_sheet, target, write_index
from ganvae.tasks.regions import Box, Region, common, enlarge, regions, shrink

TILE = 384
"""The longest side of a picture on a sheet."""


def complete(
    model: Model,
    data: str | Path | Picture,
    out: str | Path,
    *,
    mask: str | Path | np.ndarray | None = None,
    mask_colour: str | None = None,
    mask_alpha: bool = False,
    invert_mask: bool = False,
    variants: int = 4,
    context: float = 2.0,
    seed: int = 0,
    batch: int = 16,
    progress: Progress | None = None,
) -> list[Path]:
    """Fill in a hole in a picture, several times.

    Each variant is a PNG of the picture's size and mode. Every pixel outside the hole has the
    value it had; those in the hole are opaque.

    data: a picture, or a folder of them
    out: a folder for 00.png, 01.png, … (variant), sheet.png (the picture, then the variants) and
        index.json; or, for one variant, a .png. Of a folder of pictures each has such a folder of
        its name in ``out``, or, for one variant, a .png of its name
    mask: of a folder of pictures one for all, or a folder of them by the pictures' names
    mask, mask_colour, mask_alpha: one of them, see :func:`ganvae.tasks.holes.find_hole`
    invert_mask: fill in what is not marked
    variants: how many; number v of a seed does not depend on how many
    context: how much of a larger picture is shown to the model around a hole, over the hole's
        thickness; see :func:`ganvae.tasks.regions.regions`

    Returns the files written. Raises ConfigError for a model that was not trained for it,
    DataError for a picture that cannot be read or kept exactly, and for a mask that does not fit;
    such pictures of a folder are left out with a warning, unless there are no others.
    """
    _check(model, variants, context)
    if not isinstance(data, Picture) and str(data) and Path(data).expanduser().is_dir():
        one = partial(
            complete, model, mask_colour=mask_colour, mask_alpha=mask_alpha,
            invert_mask=invert_mask, variants=variants, context=context, seed=seed, batch=batch,
        )  # fmt: skip
        return _each(one, Path(data).expanduser(), Path(out), mask, variants == 1, progress)
    out, single = target(out, data, mask)
    if single and variants > 1:
        raise ConfigError(f"{out} is one file for {variants} variants: give a folder")
    picture = data if isinstance(data, Picture) else read(data)
    hole = find_hole(picture, mask, mask_colour, mask_alpha, invert_mask)
    result = completions(
        model, picture, hole, variants=variants, context=context, seed=seed, batch=batch,
        progress=progress,
    )  # fmt: skip
    if single:
        return [result.pictures[0].save(out)]
    place = folder(out)
    paths = [filled.save(place / f"{v:02d}.png") for v, filled in enumerate(result.pictures)]
    paths.append(save_png(result.sheet(enlarged(model.shape)), place / SHEET))
    name = None if isinstance(data, Picture) else str(data)
    facts = {"seed": seed, "variants": variants, "picture": name, **result.facts()}
    return write_index(place, paths, {"model": about(model), "complete": facts})


@dataclass(frozen=True)
class Completion:
    """A picture with its hole filled in.

    original: the picture
    pictures: the same with its hole filled in, a variant each
    hole: what was filled in, bool, (H, W)
    regions: the parts of the picture that were shown to the model
    """

    original: Picture
    pictures: list[Picture]
    hole: np.ndarray
    regions: list[Region]

    def sheet(self, scale: int = 1) -> Image.Image:
        """The picture with its hole in mid-grey, and its variants, all at a size to look at.

        scale: enlarges pictures of up to 64 pixels
        """
        marked = self.original.filled(torch.zeros(1, *self.original.size), self.hole)
        tiles = np.stack([_tile(one) for one in (marked, *self.pictures)])
        columns = len(tiles) if len(tiles) <= 6 else math.ceil(math.sqrt(len(tiles)))
        return grid(tiles, columns, scale=scale if max(self.original.size) <= 64 else 1)

    def facts(self) -> dict[str, Any]:
        """The number of pixels filled in, and the regions, for index.json."""
        return {"filled": int(self.hole.sum()), "regions": [_facts(part) for part in self.regions]}


def completions(
    model: Model,
    picture: Picture,
    hole: np.ndarray,
    *,
    variants: int = 4,
    context: float = 2.0,
    seed: int = 0,
    batch: int = 16,
    progress: Progress | None = None,
) -> Completion:
    """A picture of any size with its hole filled in, several times; no files.

    hole: bool, (H, W), neither empty nor full; see :func:`ganvae.tasks.holes.find_hole`
    variants, context: see :func:`complete`
    """
    _check(model, variants, context)
    picture = replace(picture, depth=model.info.depth)
    parts = regions(hole, model.shape[1:], context)
    box = common([part.box for part in parts])
    x = fill(model, picture, hole, parts, variants, seed=seed, batch=batch, progress=progress)
    return Completion(picture, [picture.filled(one, hole[box], box) for one in x], hole, parts)


def _check(model: Model, variants: int, context: float) -> None:
    """Raises ConfigError for a model that cannot complete, RangeError for numbers out of range."""
    checks.trained_to(model.info, "complete")
    checks.variants(variants)
    if not 1.25 <= context <= 8:
        raise RangeError(f"context must be from 1.25 to 8, got {context}")


def _each(
    one: Callable[..., list[Path]],
    root: Path,
    out: Path,
    mask: str | Path | np.ndarray | None,
    single: bool,
    progress: Progress | None,
) -> list[Path]:
    """Completes every picture of a folder.

    one: completes one picture; the result is all files written
    """
    if is_sheet(out, ".png"):
        raise ConfigError(f"{out} is one file for a folder of pictures: give a folder")
    if out.resolve() == root.resolve():
        raise ConfigError(f"{out} holds the pictures to complete: give another folder")
    names = Folder(str(root), root).index().names
    if not names:
        raise DataError(f"there are no images in {root}")
    masks = _masks(mask)
    folder(out)
    alike = Counter(map(key, names))
    paths: list[Path] = []
    failed: list[DataError] = []
    for number, name in enumerate(names, 1):
        place = out / (key(name) if alike[key(name)] == 1 else name)
        try:
            own = mask if masks is None else masks.get(key(name))
            if masks is not None and own is None:
                raise DataError(f"{mask} holds no mask named as {name}")
            place = place.with_name(f"{place.name}.png") if single else place
            paths += one(root / name, place, mask=own)
        except DataError as error:
            failed.append(error)
        if progress:
            progress("pictures completed", number, len(names))
    if not paths:
        raise failed[0]
    if failed:
        warnings.warn(
            f"{len(failed):,} of {len(names):,} pictures were left out: {failed[0]}", stacklevel=3
        )
    return paths


def _masks(mask: str | Path | np.ndarray | None) -> dict[str, Path] | None:
    """The masks of a folder by their names without endings; None where it is no folder."""
    if mask is None or isinstance(mask, np.ndarray) or not Path(mask).expanduser().is_dir():
        return None
    root = Path(mask).expanduser()
    return {key(name): root / name for name in Folder(str(root), root).index().names}


def fill(
    model: Model,
    picture: Picture,
    hole: np.ndarray,
    parts: list[Region],
    variants: int,
    *,
    seed: int = 0,
    batch: int = 16,
    progress: Progress | None = None,
) -> Tensor:
    """The common box of the regions, filled in: shape (variants, C, h, w), in [-1, 1].

    Regions are filled one after the other, those with known pixels first, and what was filled in
    is known to the later ones. A variant has the same z in all of them.
    """
    channels = model.shape[0]
    if channels not in (1, 3):
        raise ConfigError(f"this model's images have {channels} channels; image files have 1 or 3")
    box = common([part.box for part in parts])
    near = picture.part(box)
    surroundings = near.colours[~hole[box]]
    if channels == 1 and (surroundings != surroundings[:, :1]).any():
        warnings.warn("this model makes grey images: the hole is filled in grey", stacklevel=3)
    x = near.tensor(channels, colour(model.info.background))
    filled = x.repeat(variants, 1, 1, 1)
    unknown = torch.from_numpy(hole[box].copy())
    remaining = [(part, _inside(part, box)) for part in parts]
    while remaining:
        startable = (i for i, (_, where) in enumerate(remaining) if not bool(unknown[where].all()))
        part, (rows, columns) = remaining.pop(next(startable, 0))
        image, gap = filled[:, :, rows, columns], unknown[rows, columns]
        holes = gap.expand(variants, 1, *gap.shape)
        if part.scale < 1:
            small, mask = shrink(image, holes, part.scale)
            content = model.complete(small, mask, seed=seed, batch=batch)[:, 0].cpu()
            content = enlarge(content, (gap.shape[0], gap.shape[1]))
        else:
            content = model.complete(image, holes, seed=seed, batch=batch)[:, 0].cpu()
        own = torch.from_numpy(part.hole)
        filled[:, :, rows, columns] = torch.where(own, content, image)
        unknown[rows, columns] &= ~own
        if progress:
            progress("completing", len(parts) - len(remaining), len(parts))
    return filled


def _facts(part: Region) -> dict[str, Any]:
    """A region's place in the picture, in pixels, and the scale at which the model saw it."""
    (height, width), (rows, columns) = part.hole.shape, part.box
    place = {"top": rows.start, "left": columns.start, "height": height, "width": width}
    return {**place, "scale": part.scale}


def _inside(part: Region, box: Box) -> Box:
    """A region's rows and columns relative to a box around it."""
    rows, columns = (
        slice(own.start - whole.start, own.stop - whole.start)
        for own, whole in zip(part.box, box, strict=True)
    )
    return rows, columns


def _tile(picture: Picture) -> np.ndarray:
    x = picture.tensor(picture.colours.shape[2], (255, 255, 255))
    pixels = x.add(1).mul(127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    image.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
    tile = np.asarray(image)
    return tile[:, :, None] if tile.ndim == 2 else tile
