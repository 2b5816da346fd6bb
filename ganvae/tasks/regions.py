"""Splits a large picture's hole into regions that the model can fill in."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

Box = tuple[slice, slice]


@dataclass(frozen=True)
class Region:
    """A part of a picture that is shown to the model at once.

    box: rows and columns of the part
    hole: bool, of the box's shape: the pixels that are filled in
    scale: by which the part is resized for the model, at most 1
    """

    box: Box
    hole: np.ndarray
    scale: float


def regions(hole: np.ndarray, size: tuple[int, int], context: float = 2.0) -> list[Region]:
    """The regions of a hole, which are filled in one after the other.

    A picture that is no larger than the model's is one region. Else holes that are close together
    share one, and one that is too long for a region is cut into several. A region is a square,
    cut at the picture's borders, of at least the model's size; for a thick hole it is larger, and
    resized for the model.

    hole: bool, (H, W); size: height and width of the model's images
    context: side of a region over the thickness of its hole, 1.25 to 8
    """
    height, width = hole.shape
    if height <= size[0] and width <= size[1]:
        return [Region((slice(0, height), slice(0, width)), hole, 1.0)]
    side = min(size)
    return [
        _region(hole.shape, box, part, around, side)
        for box, part, around in _parts(hole, side, context)
    ]


def _parts(hole: np.ndarray, side: int, context: float) -> Iterator[tuple[Box, np.ndarray, int]]:
    """Boxes around parts of the hole, those parts, and the side of each one's region."""
    from scipy import ndimage

    labelled, _ = ndimage.label(hole, structure=np.ones((3, 3)))
    close: dict[tuple[int, int], list[int]] = defaultdict(list)
    cell = max(1.0, side / (2 * context))
    boxes = ndimage.find_objects(labelled)
    large = []
    for number, (rows, columns) in enumerate(boxes, 1):
        if max(rows.stop - rows.start, columns.stop - columns.start) * context > side:
            large.append(number)
            continue
        y, x = rows.start + rows.stop, columns.start + columns.stop
        close[int(y / 2 / cell), int(x / 2 / cell)].append(number)
    for numbers in close.values():
        box = common([boxes[number - 1] for number in numbers])
        part = np.isin(labelled[box], numbers)
        yield box, part, max(side, math.ceil(context * max(part.shape)))
    for number in large:
        box = boxes[number - 1]
        yield from _pieces(hole.shape, box, labelled[box] == number, side, context)


def _pieces(
    shape: tuple[int, ...], box: Box, part: np.ndarray, side: int, context: float
) -> Iterator[tuple[Box, np.ndarray, int]]:
    """One hole: whole if a region holds it with a margin, else cut into cells."""
    from scipy import ndimage

    thickness = 2 * float(ndimage.distance_transform_edt(np.pad(part, 1)).max())
    around = max(side, math.ceil(context * thickness))
    margin = around / 8
    window = _box_around(shape, box, around)
    if all(
        (s.start == 0 or s.start <= b.start - margin)
        and (s.stop == n or s.stop >= b.stop + margin)
        for s, b, n in zip(window, box, shape)
    ):
        yield box, part, around
        return
    cell = max(1, math.ceil(around / context))
    for top in range(0, part.shape[0], cell):
        for left in range(0, part.shape[1], cell):
            piece = part[top : top + cell, left : left + cell]
            if piece.any():
                y, x = box[0].start + top, box[1].start + left
                where = slice(y, y + piece.shape[0]), slice(x, x + piece.shape[1])
                yield where, piece, around


def _region(shape: tuple[int, ...], box: Box, part: np.ndarray, around: int, side: int) -> Region:
    window = _box_around(shape, box, around)
    own = np.zeros([s.stop - s.start for s in window], bool)
    rows, columns = (
        slice(b.start - s.start, b.stop - s.start) for b, s in zip(box, window, strict=True)
    )
    own[rows, columns] = part
    return Region(window, own, min(1.0, side / max(own.shape)))


def _box_around(shape: tuple[int, ...], box: Box, side: int) -> Box:
    """A square around the middle of a box, moved into the picture, and cut where it is larger."""
    sides = []
    for part, most in zip(box, shape):
        size = min(side, most)
        start = (part.start + part.stop - size) // 2
        start = min(max(start, 0), most - size)
        sides.append(slice(start, start + size))
    return sides[0], sides[1]


def common(boxes: list[Box]) -> Box:
    """The smallest box around several."""
    rows, columns = zip(*boxes)
    return (
        slice(min(s.start for s in rows), max(s.stop for s in rows)),
        slice(min(s.start for s in columns), max(s.stop for s in columns)),
    )


def shrink(x: Tensor, hole: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Images (B, C, H, W) and their holes (B, 1, H, W) at a scale below 1.

    A pixel is the mean of the known ones under it, and known where these are at least half; where
    that would make a hole of all pixels or of none, another share than half decides.
    """
    size = [max(1, round(side * scale)) for side in x.shape[2:]]
    known = 1 - hole.to(x)
    share = F.interpolate(known, size, mode="area")
    smaller = F.interpolate(x * known, size, mode="area") / share.clamp(min=1e-6)
    least = share.flatten(1).amin(1)[:, None, None, None]
    for small in (share < 0.5, share < 1, share <= least):
        marked = small.flatten(1)
        if bool((marked.any(1) & ~marked.all(1)).all()):
            break
    return smaller.clamp(-1, 1), small


def enlarge(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (B, C, h, w) at another size."""
    larger = F.interpolate(x, size, mode="bicubic", align_corners=False)
    return larger.clamp(-1, 1)
