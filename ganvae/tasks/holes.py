"""Finds the pixels to fill in: those that a mask, a colour or transparency marks."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import ImageColor

from ganvae.errors import ConfigError, DataError
from ganvae.tasks.exact import LUMA, Picture, read

NEAR = 48
"""By how many of 255 levels JPEG changes a marked colour."""
COLOURFUL = 0.5
"""A mask's pixel is coloured where its channels, in [0, 1], differ by this or more."""
MOST = 0.75
"""Where a mask marks a larger share, it may be meant the other way round."""


def find_hole(
    picture: Picture,
    mask: str | Path | np.ndarray | None = None,
    colour: str | None = None,
    alpha: bool = False,
    invert: bool = False,
) -> np.ndarray:
    """The pixels to fill in, bool (H, W), marked in exactly one of three ways.

    mask: an image of the same size, see :func:`marked`; or an array of one, (H, W): bool, 8 or 16
        bits, or numbers from 0 to 1
    colour: every pixel of it, #rrggbb or a name
    alpha: every pixel that is not wholly opaque
    invert: fill in what is not marked

    Warns where nearly everything is marked. Raises ConfigError for none or several of them,
    DataError for a mask of another size, and for one that marks nothing or everything.
    """
    if (mask is not None) + (colour is not None) + alpha != 1:
        raise ConfigError(
            "mark what is to be filled in by one of: a mask image (--mask), a colour "
            "(--mask-colour), or transparency (--mask-alpha)"
        )
    if mask is not None:
        hole, name, cause = _by_image(mask, picture.size)
    elif colour is not None:
        hole, name, cause = _by_colour(picture, colour), f"the colour {colour}", ""
        if not picture.exact and not hole.any():
            cause = "; a JPEG does not keep colours exactly"
    elif picture.alpha is None:
        raise DataError(f"the picture has no transparency ({picture.mode}): give it a mask")
    else:
        hole, name, cause = picture.alpha < picture.most, "the transparency", ""
    return _sensible(~hole if invert else hole, f"{name}, inverted," if invert else name, cause)


def _sensible(hole: np.ndarray, name: str, cause: str) -> np.ndarray:
    """The hole itself. Raises DataError if it is empty or everything, warns if it nearly is."""
    if not hole.any():
        raise DataError(f"{name} marks nothing to fill in{cause}")
    if hole.all():
        raise DataError(f"{name} marks the whole picture{cause}: some pixels must be known")
    share = float(hole.mean())
    if share > MOST:
        mend = "leave out" if name.endswith("inverted,") else "add"
        warnings.warn(
            f"{name} marks {min(share, 0.99):.0%} of the picture{cause}; to fill in the rest "
            f"instead, {mend} --invert-mask",
            stacklevel=4,
        )
    return hole


def marked(mask: Picture) -> np.ndarray:
    """The pixels that a mask marks, bool (H, W); soft edges are cut at half.

    In a mask with transparency these are the opaque pixels, or, if those are light and dark, the
    light ones of them. Else, in a mask with colours, the coloured pixels. Else the light ones: at
    least half of white, or, of two values, the lighter.
    """
    light, alpha = _light(mask.colours.astype(np.float32) / mask.most), mask.alpha
    if alpha is None:
        return light
    opaque = alpha >= mask.most / 2
    inside = light & opaque
    if opaque.all() or (inside.any() and (inside != opaque).any()):
        return inside
    return opaque


def _light(values: np.ndarray) -> np.ndarray:
    """The marked pixels of a mask (H, W, 1 or 3) in [0, 1], apart from its transparency."""
    if values.shape[2] == 3:
        colourful = values.max(2) - values.min(2)
        if (most := float(colourful.max())) >= COLOURFUL:
            return np.asarray(colourful >= most / 2)
    level = values @ np.array(LUMA, np.float32) if values.shape[2] == 3 else values[:, :, 0]
    low, high = level.min(), level.max()
    if low < high and ((level == low) | (level == high)).all():  # 0 and 1, for example
        return np.asarray(level == high)
    return np.asarray(level >= 0.5)


def _by_image(mask: str | Path | np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, str, str]:
    """A mask's marks, its name in messages, and an explanation of what it marks."""
    name = "the mask" if isinstance(mask, np.ndarray) else f"the mask {mask}"
    image = _of_array(mask) if isinstance(mask, np.ndarray) else read(mask, quiet=True)
    if image.size != size:
        actual = "x".join(map(str, image.size[::-1]))
        raise DataError(f"{name} is {actual} pixels, the picture {size[1]}x{size[0]}")
    values = image.pixels if image.alpha is None else image.colours
    low, high = int(values.min()), int(values.max())
    cause = f" (its values run from {low} to {high} of {image.most}, and what is light marks)"
    if image.alpha is not None and not (image.alpha == image.most).all():
        cause = " (some of it is transparent, and what is opaque marks)"
    return marked(image), name, cause


def _of_array(mask: np.ndarray) -> Picture:
    """A mask image of an array (H, W). Raises DataError for other shapes."""
    if mask.ndim != 2:
        raise DataError(f"a mask is an array (H, W), got the shape {mask.shape}")
    if mask.dtype not in (np.uint8, np.uint16):
        values = mask if mask.dtype.kind == "f" else mask != 0
        mask = (values.clip(0, 1) * 255.0).astype(np.uint8)
    return Picture(mask[:, :, None], "I;16" if mask.dtype == np.uint16 else "L")


def _by_colour(picture: Picture, colour: str) -> np.ndarray:
    try:
        rgb: tuple[int, ...] = ImageColor.getrgb(colour)
    except ValueError:
        rgb = ()
    if len(rgb) != 3:
        raise ConfigError(f"{colour!r} is no colour; give a name such as red, or #rrggbb")
    values = np.array(rgb, np.int64) * picture.most // 255
    distance = abs(picture.colours.astype(np.int64) - values).max(2)
    nearly = int((distance <= NEAR * picture.most // 255).sum() - (distance == 0).sum())
    if nearly and not picture.exact and (distance == 0).any():
        warnings.warn(
            f"{nearly:,} pixels are nearly {colour} and are kept: a JPEG does not keep colours "
            f"exactly; mark the hole in a PNG, or give a mask",
            stacklevel=3,
        )
    return distance == 0
