"""Images that show the same picture without being equal: recompressed, resized, slightly cropped.

Two sieves. The coarse one compares perceptual hashes, 8x8 grey thumbnails without their mean, of
ten slightly cropped views of each image with those of all whole images. What passes is aligned in
scale and place, and the picture, its fine detail and its colours must then agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ganvae.data.store import Store

SIDE, HASH_SIDE, COLOUR_SIDE = 32, 8, 8
COARSE = 0.93
"""Least correlation of two hashes for a pair to be aligned and compared."""
ALIGNED, IN_PLACE = (0.95, 0.8), (0.985, 0.96)
"""Least correlation of two thumbnails and of their detail, aligned or as they are."""
APART, TINGE = 0.12, 0.04
"""Largest squared distance of two images' colours, over the sum of their squares (twice that of
jpeg noise and clipped highlights; red and dark red are .16 apart, red and blue 1.5), and the root
mean square below which an image counts as grey."""
FLAT, NOISE = 0.004, 0.0015
"""Standard deviation below which an image shows nothing, and that of compression noise."""
CROWD = 12
"""An image with more partners is so simple that alignment makes it like any other (a digit)."""
MOST_IMAGES, MOST_PAIRS = 100_000, 1_000_000


@dataclass(frozen=True)
class Pair:
    """Two rows and the correlation of their aligned thumbnails."""

    first: int
    second: int
    similarity: float


class Thumbnails(NamedTuple):
    """Some images, small.

    grey: shape (n, 1, 32, 32), in [0, 1]
    colour: what distinguishes them from grey, R-G and R+G-2B, both of unit length: (n, 2, 8, 8)
    """

    grey: Tensor
    colour: Tensor

    def take(self, rows: Tensor) -> Thumbnails:
        """Some of them."""
        return Thumbnails(self.grey[rows], self.colour[rows])


class Likeness(NamedTuple):
    """How alike two batches of thumbnails are, (n,) each.

    whole, detail: correlations, of the pictures and of their detail
    apart: squared distance of the colours, over the sum of their squares
    """

    whole: Tensor
    detail: Tensor
    apart: Tensor


def near_duplicates(store: Store, rows: np.ndarray) -> tuple[list[Pair], list[str]]:
    """Pairs of near-duplicates among some rows, and notes on what was left out.

    rows: of different content each (equal ones are found by their hashes)
    """
    notes = []
    if len(rows) > MOST_IMAGES:
        notes.append(f"near-duplicates were looked for among the first {MOST_IMAGES:,} images")
        rows = rows[:MOST_IMAGES]
    thumbs = thumbnails(store, rows)
    contrast = thumbs.grey.flatten(1).std(1) if len(rows) else torch.zeros(0)
    lively = (contrast > FLAT).nonzero()[:, 0]
    if len(lively) < 2:
        return [], notes
    thumbs, rows = thumbs.take(lively), rows[lively.numpy()]
    pairs, complete = _candidates(thumbs.grey)
    if not complete:
        notes.append("so many images are alike that only the likeliest near-duplicates are listed")
    partners = torch.bincount(pairs.flatten(), minlength=len(rows))
    crowded = (partners > CROWD)[pairs].any(1)
    if crowded.any():
        notes.append(
            f"{int((partners > CROWD).sum()):,} images resemble more than {CROWD} others each;"
            " near-duplicates of these are listed only where nothing was cropped"
        )
    confirmed = _similar(thumbs, pairs[crowded], in_place, IN_PLACE)
    confirmed += _similar(thumbs, pairs[~crowded], agreement, ALIGNED)
    duplicates = [
        Pair(int(rows[pair.first]), int(rows[pair.second]), pair.similarity) for pair in confirmed
    ]
    return sorted(duplicates, key=lambda pair: (-pair.similarity, pair.first, pair.second)), notes


def _similar(
    thumbs: Thumbnails,
    pairs: Tensor,
    compare: Callable[[Thumbnails, Thumbnails], Likeness],
    least: tuple[float, float],
) -> list[Pair]:
    """The candidates whose thumbnails, detail and colours agree."""
    duplicates = []
    for part in pairs.split(1024) if len(pairs) else ():
        one, other = thumbs.take(part[:, 0]), thumbs.take(part[:, 1])
        likeness = compare(one, other)
        enough = least[1] * torch.minimum(_clarity(one.grey), _clarity(other.grey))
        same = (likeness.whole > least[0]) & (likeness.detail > enough) & (likeness.apart < APART)
        for k in same.nonzero()[:, 0].tolist():
            first, second = sorted(part[k].tolist())
            duplicates.append(Pair(first, second, round(float(likeness.whole[k]), 4)))
    return duplicates


def thumbnails(store: Store, rows: np.ndarray) -> Thumbnails:
    """Thumbnails of rows."""
    grey, colour = [torch.zeros(0, 1, SIDE, SIDE)], [torch.zeros(0, 2, *[COLOUR_SIDE] * 2)]
    step = max(1, 2**24 // store.row)
    for start in range(0, len(rows), step):
        x = torch.from_numpy(store.read(rows[start : start + step])).permute(0, 3, 1, 2).float()
        x /= 255
        grey.append(_shrunk(x.mean(1, keepdim=True), SIDE))
        if x.shape[1] == 1:
            colour.append(torch.zeros(1).expand(len(x), *colour[0].shape[1:]))
            continue
        red, green, blue = _shrunk(x, COLOUR_SIDE).unbind(1)
        opposed = (red - green) / 2**0.5, (red + green - 2 * blue) / 6**0.5
        colour.append(torch.stack(opposed, 1))
    return Thumbnails(torch.cat(grey), torch.cat(colour))


def _shrunk(images: Tensor, side: int) -> Tensor:
    return F.interpolate(images, (side, side), mode="bilinear", antialias=True)


def agreement(a: Thumbnails, b: Thumbnails) -> Likeness:
    """How alike two batches of n thumbnails are, aligned either way."""
    forward, backward = _align(a, b), _align(b, a)
    better = forward.whole > backward.whole
    return Likeness(*(torch.where(better, *both) for both in zip(forward, backward, strict=True)))


def in_place(a: Thumbnails, b: Thumbnails) -> Likeness:
    """How alike two batches of n thumbnails are as they are."""
    detail = (_unit(_detail(a.grey)) * _unit(_detail(b.grey))).sum(1)
    return Likeness((_unit(a.grey) * _unit(b.grey)).sum(1), detail, _apart(a.colour, b.colour))


def _apart(a: Tensor, b: Tensor) -> Tensor:
    """How different colours (n, 2, 8, 8) are: 0 where they are equal, 1 where one has none."""
    both = sum(x.flatten(1).square().sum(1) for x in (a, b))
    return (a - b).flatten(1).square().sum(1) / (both + TINGE**2 * a[0].numel())


def _candidates(thumbs: Tensor) -> tuple[Tensor, bool]:
    """Pairs of similar hashes (n, 2), the likeliest first where there are too many."""
    whole = _hash(thumbs)
    views = [_hash(_crop(thumbs, view)) for view in _views((0.92,))]
    keys, values = torch.zeros(0, dtype=torch.int64), torch.zeros(0)
    complete = True
    count, tile = len(thumbs), 2048
    for start in range(0, count, tile):
        best = torch.stack([v[start : start + tile] @ whole.T for v in views]).amax(0)
        i, j = (best > COARSE).nonzero().unbind(1)
        similar, i = best[i, j], i + start
        distinct = i != j
        low, high = torch.minimum(i, j)[distinct], torch.maximum(i, j)[distinct]
        keys = torch.cat([keys, low * count + high])
        values = torch.cat([values, similar[distinct]])
        if len(keys) > 2 * MOST_PAIRS:
            top = values.topk(MOST_PAIRS).indices
            keys, values, complete = keys[top], values[top], False
    order = values.argsort(descending=True)
    keys = torch.from_numpy(_unique_in_order(keys[order].numpy()))
    complete = complete and len(keys) <= MOST_PAIRS
    keys = keys[:MOST_PAIRS]
    return torch.stack([keys // count, keys % count], 1), complete


def _unique_in_order(keys: np.ndarray) -> np.ndarray:
    _, first = np.unique(keys, return_index=True)
    return keys[np.sort(first)]


def _views(scales: tuple[float, ...]) -> Iterator[Tensor]:
    """The whole image, then crops in nine places: (scale y, scale x, centre y, centre x)."""
    yield torch.tensor([1.0, 1.0, 0.0, 0.0])
    for scale in scales:
        for y in (-1.0, 0.0, 1.0):
            for x in (-1.0, 0.0, 1.0):
                yield torch.tensor([scale, scale, y * (1 - scale), x * (1 - scale)])


def _crop(images: Tensor, view: Tensor) -> Tensor:
    """Crops scaled to full size; view: shape (4,) or (n, 4)."""
    y, x, top, left = view.expand(len(images), 4).unbind(1)
    zero = torch.zeros_like(y)
    theta = torch.stack([torch.stack([x, zero, left], 1), torch.stack([zero, y, top], 1)], 1)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _unit(images: Tensor) -> Tensor:
    flat = images.flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    return flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-6)


def _hash(thumbs: Tensor) -> Tensor:
    return _unit(F.avg_pool2d(thumbs, SIDE // HASH_SIDE))


def _detail(thumbs: Tensor) -> Tensor:
    return thumbs - F.avg_pool2d(F.pad(thumbs, [4] * 4, mode="reflect"), 9, 1)


def _clarity(thumbs: Tensor) -> Tensor:
    """Share of detail's correlation that compression leaves: near 1 unless nearly flat, (n,)."""
    energy = _detail(thumbs).flatten(1).pow(2).mean(1)
    return energy / (energy + NOISE**2)


def _align(a: Thumbnails, b: Thumbnails) -> Likeness:
    """How alike b is to the crop of a that correlates most, found by descent from ten crops."""
    goal, count = _unit(b.grey), len(b.grey)
    best = torch.full((count,), -2.0)
    views = torch.zeros(count, 4)

    def attempt(candidate: Tensor) -> None:
        nonlocal best, views
        score = (_unit(_crop(a.grey, candidate)) * goal).sum(1)
        better = score > best
        best = torch.where(better, score, best)
        views = torch.where(better[:, None], candidate, views)

    for view in _views((0.92, 0.84)):
        attempt(view.expand(count, 4))
    for step in (0.06, 0.06, 0.03, 0.03, 0.015, 0.008):
        for axis in (2, 3, 0, 1):
            for change in (-step, step):
                candidate = views.clone()
                candidate[:, axis] += change
                attempt(candidate)
    detail = (_unit(_detail(_crop(a.grey, views))) * _unit(_detail(b.grey))).sum(1)
    return Likeness(best, detail, _apart(_crop(a.colour, views), b.colour))
