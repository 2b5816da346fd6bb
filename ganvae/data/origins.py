"""Source images of translations and completions that are computed from the images themselves.

Images are float (B, C, H, W) in [-1, 1]. What is made of them has whole 8-bit levels, so that a
file could hold it: a model meets in files what it has learnt from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ganvae import config
from ganvae.data import masks, rng
from ganvae.errors import ConfigError
from ganvae.task import TASKS

Kind = Literal["masked", "low_resolution", "grey", "noise", "edges"]
REDUCTION = 4
"""How many times smaller ``low_resolution`` makes each side."""
SIGMA = 25.0
"""Standard deviation of ``noise`` in 8-bit levels (of 0 … 255)."""


@dataclass(frozen=True)
class Origin:
    """Makes sources of a kind; ``holes`` says which masks cut into images for completion."""

    kind: Kind
    holes: masks.Kind = "mixed"

    @staticmethod
    def of(settings: config.Data, shape: tuple[int, int, int]) -> Origin | None:
        """What makes the source images of a single set; None where it has none.

        shape: (H, W, C) of its images. Raises ConfigError for images that allow none.
        """
        height, width, channels = shape
        kind = TASKS[settings.task].starts_from(settings.origin)
        assert kind != "given"
        if kind is None:
            return None
        if kind == "masked" and min(height, width) < 2:
            raise ConfigError(f"images of {height}x{width} pixels are too small to complete")
        if kind == "grey" and channels == 1:
            raise ConfigError(
                f"the images in {settings.path} are grey, so there is no colour to learn; choose"
                " another data.origin, or coloured images"
            )
        return Origin(cast(Kind, kind), settings.masks)

    def channels(self, image: int) -> int:
        """How many channels the source of an image of so many has."""
        return {"masked": image + 1, "grey": 1, "edges": 1}.get(self.kind, image)

    def __call__(self, images: Tensor, seeds: np.ndarray) -> Tensor:
        """The images' sources, float (B, S, H, W) in [-1, 1], each a function of its seed.

        seeds: whole numbers, shape (B,)
        """
        if self.kind == "masked":
            return masked(images, masks.draw(self.holes, seeds, *images.shape[2:]))
        if self.kind == "noise":
            return noise(images, seeds)
        plain = {"low_resolution": low_resolution, "grey": grey, "edges": edges}
        return plain[self.kind](images)


def masked(images: Tensor, holes: Tensor) -> Tensor:
    """The known pixels, 0 in the hole, and the mask as the last channel: (B, C + 1, H, W).

    holes: shape (B, 1, H, W), 1 = to be filled in, 0 = known
    """
    holes = holes.to(images)
    return torch.cat([torch.where(holes > 0, torch.zeros_like(images), images), holes], 1)


def low_resolution(images: Tensor) -> Tensor:
    """Means over areas of 4x4 pixels, enlarged again as small files are: by Pillow's Lanczos.

    Sides that are no multiple of four have areas that overlap.
    """
    height, width = images.shape[2:]
    small = [max(1, round(side / REDUCTION)) for side in (height, width)]
    # in double precision no batch size and no device rounds another way
    wide = torch.float32 if images.device.type == "mps" else torch.float64
    reduced = F.interpolate(_levels(images).to(wide), small, mode="area").round()
    down, across = (
        torch.from_numpy(_lanczos(*sides)).to(reduced)
        for sides in ((small[0], height), (small[1], width))
    )
    return _image(down @ reduced @ across.T).to(images.dtype)


def grey(images: Tensor) -> Tensor:
    """Luma as Pillow rounds it (ITU-R 601): (B, 1, H, W)."""
    return _image(_luma(images))


def edges(images: Tensor) -> Tensor:
    """The luma's gradient by Sobel, black where it is steep, on white: (B, 1, H, W).

    A vertical or horizontal edge between black and white is black, and two pixels wide.
    """
    padded = F.pad(_luma(images), [1, 1, 1, 1], mode="replicate")
    down = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    across = padded[:, :, :, :-2] + 2 * padded[:, :, :, 1:-1] + padded[:, :, :, 2:]
    horizontal = down[:, :, :, 2:] - down[:, :, :, :-2]
    vertical = across[:, :, 2:] - across[:, :, :-2]
    return _image(255 - (horizontal.square() + vertical.square()).sqrt() / 4)


def noise(images: Tensor, seeds: np.ndarray) -> Tensor:
    """The image with Gaussian noise of ``SIGMA`` levels, cut off at black and white.

    seeds: whole numbers, shape (B,)
    """
    numbers = rng.normal(seeds, images[0].numel()) if len(images) else np.zeros(0, np.float32)
    gaussian = torch.from_numpy(numbers).to(images.device).view(images.shape)
    return _image(_levels(images) + SIGMA * gaussian).to(images.dtype)


def _levels(images: Tensor) -> Tensor:
    """The 8-bit levels that images stand for."""
    return images.float().add(1).mul(127.5).round()


def _image(levels: Tensor) -> Tensor:
    """8-bit levels as an image, rounded exactly as an image file would be."""
    return levels.round().float().clamp_(0, 255).div_(127.5).sub_(1)


def _luma(images: Tensor) -> Tensor:
    levels = _levels(images)
    if levels.shape[1] == 1:
        return levels
    red, green, blue = levels.split(1, 1)  # whole numbers below 2^24: exact
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) / 65536).floor()


@lru_cache
def _lanczos(small: int, large: int) -> np.ndarray:
    """The matrix (large, small) that enlarges a line of pixels."""
    unit = Image.fromarray(np.eye(small, dtype=np.float32))
    return np.array(unit.resize((small, large), Image.Resampling.LANCZOS))
