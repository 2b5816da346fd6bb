"""Reads and writes pictures without changing a bit of their pixels."""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.Image import DecompressionBombError
from torch import Tensor

from ganvae.data.decode import as_srgb, with_16_bits
from ganvae.data.formats import HEAD, Bad, opened, unidentified
from ganvae.errors import DataError
from ganvae.files import write
from ganvae.telling import words

LUMA = (0.299, 0.587, 0.114)
KEPT = ("L", "LA", "RGB", "RGBA", "I;16")
"""Modes that pictures have; others are converted, or refused where that loses something."""
_CONVERTED = {"1": "L", "P": "RGB", "PA": "RGBA", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB",
              "CMYK": "RGB", "YCbCr": "RGB", "HSV": "RGB"}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A picture with the exact pixels of its file.

    pixels: 8 or 16 bits, shape (H, W, C), the last channel of LA and RGBA being alpha
    mode: one of :data:`KEPT`
    metadata: for its file, such as the colour profile
    exact: whether the format of its file is lossless
    depth: how many of 16 bits are used: 2^depth - 1 is white
    """

    pixels: np.ndarray
    mode: str
    metadata: dict[str, Any] = field(default_factory=dict)
    exact: bool = True
    depth: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def most(self) -> int:
        """The largest value of a pixel."""
        return int(np.iinfo(self.pixels.dtype).max)

    @property
    def white(self) -> int:
        """The value of white; larger ones are white, too."""
        return self.most if self.depth is None else min(self.most, (1 << self.depth) - 1)

    @property
    def alpha(self) -> np.ndarray | None:
        """Opacity, (H, W); None without such a channel."""
        return self.pixels[:, :, -1] if self.mode in ("LA", "RGBA") else None

    @property
    def colours(self) -> np.ndarray:
        """The pixels without opacity: (H, W, 1 or 3)."""
        return self.pixels if self.alpha is None else self.pixels[:, :, :-1]

    def tensor(self, channels: int, background: tuple[int, int, int]) -> Tensor:
        """A model's input: (channels, H, W) in [-1, 1], laid on a background colour."""
        x = torch.from_numpy(self.colours.astype(np.float32)).permute(2, 0, 1) / self.white
        x = x.clamp(max=1)
        if self.alpha is not None:
            opacity = torch.from_numpy(self.alpha.astype(np.float32)) / self.most
            under = torch.tensor(background)[:, None, None] / 255
            x = opacity * x + (1 - opacity) * under
        return as_channels(x * 2 - 1, channels)

    def part(self, box: tuple[slice, slice]) -> Picture:
        """Some rows and columns of it."""
        return replace(self, pixels=self.pixels[box])

    def filled(
        self, x: Tensor, hole: np.ndarray, box: tuple[slice, slice] = (slice(None), slice(None))
    ) -> Picture:
        """This picture with the pixels of ``x`` in the hole, opaque; the others are not touched.

        x: shape (C, h, w), in [-1, 1], for the rows and columns of ``box``
        hole: bool, of the same rows and columns
        """
        shares = as_channels(x.float().cpu(), self.colours.shape[2]).clamp(-1, 1).add(1).div(2)
        values = shares.mul(self.white).round().permute(1, 2, 0).numpy().astype(self.pixels.dtype)
        pixels = self.pixels.copy()
        part = pixels[box]
        part[hole, : values.shape[2]] = values[hole]
        if self.alpha is not None:
            part[hole, -1] = self.most
        return replace(self, pixels=pixels, exact=True)

    def image(self) -> Image.Image:
        """The same for Pillow."""
        return Image.fromarray(self.pixels[:, :, 0] if self.pixels.shape[2] == 1 else self.pixels)

    def save(self, path: Path) -> Path:
        """Write a PNG."""
        image = self.image()
        return write(path, lambda scratch: image.save(scratch, format="PNG", **self.metadata))


def as_channels(x: Tensor, channels: int) -> Tensor:
    """(…, C, H, W) with 1 or 3 channels: grey repeated, colour weighted as Pillow does."""
    if x.shape[-3] == channels:
        return x
    if x.shape[-3] == 1:
        return x.expand(*x.shape[:-3], channels, *x.shape[-2:])
    return (x * torch.tensor(LUMA).to(x)[:, None, None]).sum(-3, keepdim=True)


def read(path: str | Path, *, quiet: bool = False) -> Picture:
    """Reads a picture, upright, with the pixels of its file. Warns where its mode must change.

    Raises DataError for what cannot be read, or cannot be kept exactly.
    """
    if not str(path):
        raise DataError("an image file was given without a name")
    path = Path(path).expanduser()
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise DataError(f"{path} {what}; give an image file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = _load(path)
    except UnidentifiedImageError:
        with path.open("rb") as file:
            raise DataError(f"{path} is {unidentified(file.read(HEAD))}") from None
    except Bad as bad:
        raise DataError(f"{path} cannot be read: {bad}") from None
    except (OSError, SyntaxError, ValueError, RuntimeError, DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read: {words(error)}") from None
    picture = _plain(image, path)
    if picture.mode != image.mode and not quiet:
        warnings.warn(
            f"{path} is of mode {image.mode}, the result of {picture.mode}", stacklevel=2
        )
    pixels = np.asarray(picture)
    if picture.mode.startswith("I;16"):
        pixels = pixels.astype(np.uint16)
    metadata: dict[str, Any] = {
        k: picture.info[k] for k in ("icc_profile", "dpi") if k in picture.info
    }
    if not all(math.isfinite(dots) and dots > 0 for dots in metadata.get("dpi", ())):
        del metadata["dpi"]  # of a file that says 0/0
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    return Picture(pixels, picture.mode, metadata, image.info["exact"])


def _load(path: Path) -> Image.Image:
    with path.open("rb") as file, opened(file) as image:
        deep = _bits(image, path)
        image.load()
        read = with_16_bits(image)
        if deep > 8 and not read.mode.startswith("I;16"):
            raise DataError(
                f"{path} has {deep} bits a colour, which would become 8: save it with 8 bits, or "
                f"in grey"
            )
        metadata = dict(image.info)
        upright = ImageOps.exif_transpose(read)
        metadata["exact"] = image.format not in ("JPEG", "MPO", "WEBP", "AVIF", "HEIF", "JXL")
        upright.info.update({k: v for k, v in metadata.items() if k != "exif"})
        return upright


def _bits(image: Image.Image, path: Path) -> int:
    """Bits a colour in an image's file, from its header; Pillow may decode only 8 of them."""
    if image.format == "HEIF":
        return int(image.info.get("bit_depth", 8))
    if image.format == "AVIF":
        with path.open("rb") as file:
            header = re.search(rb"av1C..(.)", file.read(2**16), re.DOTALL)
        flags = header[1][0] if header else 0
        return 8 if not flags & 64 else 12 if flags & 32 else 10
    tiles = getattr(image, "tile", [])
    parts = [part for tile in tiles for part in np.ravel(np.array(tile[3], object))]
    most = parts[-1] if image.format == "PPM" and parts else 0
    deep = any(isinstance(part, str) and ";16" in part for part in parts)
    return 16 if deep or (isinstance(most, int) and most > 255) else 8


def _plain(image: Image.Image, path: Path) -> Image.Image:
    """The image in one of the modes of :data:`KEPT`."""
    clear = image.has_transparency_data
    if image.mode.startswith("I;16"):
        if clear:
            raise DataError(f"{path} has 16 bits and a transparent colour: save it with 8 bits")
        return image
    mode = _CONVERTED.get(image.mode, image.mode)
    if mode not in KEPT:
        raise DataError(f"{path} is of mode {image.mode}: save it as 8-bit RGB or grey")
    if clear and mode in ("L", "RGB"):
        mode += "A"
    if mode == image.mode:
        return image
    if image.mode == "CMYK":  # its profile describes inks, not the RGB of the result
        return as_srgb(image)
    return image.convert(mode)
