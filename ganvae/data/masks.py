"""Holes to be filled in: boxes, halves, strokes of a brush and the centre.

Every mask has a pixel to be filled in and one that is known.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ganvae.data.rng import uniform

Kind = Literal["mixed", "box", "half", "brush", "centre"]
STROKES, DISCS = 5, 16
_WHICH, _SHAPE = 1, 2


def draw(kind: Kind, seeds: np.ndarray, height: int, width: int) -> Tensor:
    """A mask for each seed, the same whatever the others are: float32 (B, 1, H, W), 1 = fill in.

    seeds: whole numbers, shape (B,)

    Raises ValueError for less than 2x2 pixels.
    """
    if min(height, width) < 2:
        raise ValueError(f"masks need images of at least 2x2 pixels, got {height}x{width}")
    holes = np.zeros((len(seeds), height, width), np.bool_)
    if kind == "mixed":
        which = (uniform(seeds, 1, _WHICH)[:, 0] * len(_SHAPES)).astype(np.int64)
    else:
        which = np.full(len(seeds), list(_SHAPES).index(kind))
    at_once = max(1, 2**17 // (height * width))  # fits into a core's cache
    for number, (shape, count) in enumerate(_SHAPES.values()):
        rows = np.flatnonzero(which == number)
        for chunk in np.split(rows, range(at_once, len(rows), at_once)):
            if len(chunk):
                holes[chunk] = shape(uniform(seeds[chunk], count, _SHAPE), height, width)
    return torch.from_numpy(holes[:, None].astype(np.float32))


def box(numbers: np.ndarray, height: int, width: int) -> np.ndarray:
    """A rectangle anywhere inside, each side from ¼ to ¾ of the image's: bool (B, H, W).

    numbers: uniform in [0, 1), shape (B, 4)
    """
    inside = []
    for size, share, place in zip((height, width), numbers.T[:2], numbers.T[2:], strict=True):
        side = np.clip(np.rint((0.25 + 0.5 * share) * size), 1, size - 1)
        first = np.floor(place * (size - side + 1))[:, None]
        at = np.arange(size)
        inside.append((at >= first) & (at < first + side[:, None]))
    return inside[0][:, :, None] & inside[1][:, None, :]


def half(numbers: np.ndarray, height: int, width: int) -> np.ndarray:
    """The left, right, upper or lower half, without the middle line of an odd size.

    numbers: uniform in [0, 1), shape (B, 1)
    """
    rows, columns = np.mgrid[:height, :width]
    halves = (
        columns < width // 2,
        columns >= width - width // 2,
        rows < height // 2,
        rows >= height - height // 2,
    )
    return np.stack(halves)[(numbers[:, 0] * 4).astype(np.int64)]


def centre(numbers: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of half the height and half the width; nothing is random."""
    hole = np.zeros((len(numbers), height, width), np.bool_)
    top, left = (height - height // 2) // 2, (width - width // 2) // 2
    hole[:, top : top + height // 2, left : left + width // 2] = True
    return hole


def brush(numbers: np.ndarray, height: int, width: int) -> np.ndarray:
    """One to five strokes: a disc moved along a walk that turns, by one radius a step.

    Each stroke's radius is from 5 to 13 % of the shorter side, its walk from 5 to 16 discs long.

    numbers: uniform in [0, 1), shape (B, 1 + STROKES * (5 + DISCS))
    """
    strokes = numbers[:, 1:].reshape(len(numbers), STROKES, 5 + DISCS)
    size, heading, top, left, length = strokes[:, :, :5, None].transpose(2, 0, 1, 3)
    # a smaller disc could lie between the pixels
    radius = np.maximum((0.05 + 0.08 * size) * min(height, width), 0.75)
    angle = 2 * np.pi * heading + np.cumsum(1.6 * (strokes[:, :, 5:] - 0.5), axis=2)
    y = _reflect(top * (height - 1) + np.cumsum(radius * np.sin(angle), axis=2), height - 1)
    x = _reflect(left * (width - 1) + np.cumsum(radius * np.cos(angle), axis=2), width - 1)
    painted = np.arange(DISCS) < 5 + np.floor(length * (DISCS - 4))
    painted &= (np.arange(STROKES) < 1 + np.floor(numbers[:, :1] * STROKES))[:, :, None]
    hole = _discs(y, x, np.broadcast_to(radius, x.shape), painted, height, width)
    hole[hole.all((1, 2)), 0, 0] = False
    return hole


def _reflect(place: np.ndarray, end: int) -> np.ndarray:
    """Coordinates reflected at 0 and at ``end``, so that they stay between."""
    reflected: np.ndarray = end - np.abs(place % (2 * end) - end)
    return reflected


def _discs(
    y: np.ndarray, x: np.ndarray, radius: np.ndarray, painted: np.ndarray, height: int, width: int
) -> np.ndarray:
    """The union of each image's discs: bool (B, H, W). Everything else has shape (B, S, N).

    A disc is an interval in each row, so the work grows with its height and not with its area.
    """
    reach = np.arange(-int(radius.max()) - 1, int(radius.max()) + 2)
    which = np.flatnonzero(painted)
    image = (which // (painted[0].size))[:, None]
    y, x, radius = (n.reshape(-1)[which, None] for n in (y, x, radius))
    row = np.rint(y).astype(np.int64) + reach
    square = radius**2 - (row - y) ** 2
    across = np.sqrt(square.clip(0))
    first = np.ceil(x - across).clip(0, width - 1).astype(np.int64)
    last = np.floor(x + across).clip(0, width - 1).astype(np.int64)
    inside = (square >= 0) & (row >= 0) & (row < height) & (first <= last)
    lines = ((image * height + row) * (width + 1))[inside]
    cells = len(painted) * height * (width + 1)
    starts = np.bincount(lines + first[inside], minlength=cells)
    ends = np.bincount(lines + last[inside] + 1, minlength=cells)
    depth = (starts - ends).reshape(-1, height, width + 1).cumsum(2)
    hole: np.ndarray = depth[:, :, :width] > 0
    return hole


_SHAPES = {
    "box": (box, 4),
    "half": (half, 1),
    "centre": (centre, 0),
    "brush": (brush, 1 + STROKES * (5 + DISCS)),
}
"""Every kind's function, and how many numbers it takes."""
