"""Tensors of images to pixels, grids, PNG and GIF files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ganvae import files

WHITE = 255


def to_uint8(images: Tensor) -> np.ndarray:
    """Images of shape (B, C, H, W) in [-1, 1] to 8-bit pixels of shape (B, H, W, C).

    Values beyond [-1, 1] are clipped. Raises ValueError where some are not finite.
    """
    if images.ndim != 4:
        raise ValueError(f"images must have shape (B, C, H, W), got {tuple(images.shape)}")
    x = images.detach().float().cpu()
    if not torch.isfinite(x).all():
        raise ValueError("the images contain values that are not finite numbers")
    pixels = x.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())


def to_tensor(pixels: np.ndarray) -> Tensor:
    """8-bit pixels of shape (B, H, W, C) to images (B, C, H, W) in [-1, 1], channels-last."""
    if pixels.ndim != 4 or pixels.dtype != np.uint8:
        raise ValueError(
            f"pixels must be uint8 of shape (B, H, W, C), got {pixels.dtype} {pixels.shape}"
        )
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def picture(pixels: np.ndarray) -> Image.Image:
    """One image of 8-bit pixels (H, W, C), C being 1 (grey), 3 (RGB) or 4 (RGBA).

    Other numbers of channels are laid side by side in grey.
    """
    if pixels.shape[2] not in (1, 3, 4):
        pixels = np.concatenate(np.split(pixels, pixels.shape[2], axis=2), axis=1)
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def enlarged(shape: tuple[int, ...]) -> int:
    """How much grids enlarge images of a shape (C, H, W), so that people can see small ones."""
    return max(1, 64 // max(shape[1:]))


def grid(
    images: Tensor | np.ndarray, columns: int | None = None, *, gap: int = 2, scale: int = 1
) -> Image.Image:
    """Images side by side on white, row by row.

    images: (B, C, H, W) in [-1, 1], or 8-bit pixels (B, H, W, C)
    columns: images a row; unset: about as many as rows
    gap: white pixels between them (and around)
    scale: enlarges every pixel that many times
    """
    pixels = to_uint8(images) if isinstance(images, Tensor) else images
    if not len(pixels):
        raise ValueError("a grid needs at least one image")
    columns = math.ceil(math.sqrt(len(pixels))) if columns is None else columns
    if columns < 1 or scale < 1 or gap < 0:
        raise ValueError(f"no grid of {columns} columns, gap {gap} and scale {scale}")
    tiles = [np.asarray(picture(image)) for image in pixels]
    height, width = tiles[0].shape[:2]
    rows = math.ceil(len(tiles) / columns)
    size = (rows * (height + gap) + gap, columns * (width + gap) + gap)
    sheet = np.full((*size, *tiles[0].shape[2:]), WHITE, np.uint8)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        y, x = gap + row * (height + gap), gap + column * (width + gap)
        sheet[y : y + height, x : x + width] = tile
    image = Image.fromarray(sheet)
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def in_channels(x: Tensor, channels: int) -> Tensor:
    """Source images (…, S, H, W) as images of so many channels, to be shown beside others.

    The first of more channels (a mask is the last), or the first one repeated where there are too
    few.
    """
    if x.shape[-3] >= channels:
        return x[..., :channels, :, :]
    return x[..., :1, :, :].expand(*x.shape[:-3], channels, *x.shape[-2:])


def sheet_of_sources(
    source: Tensor,
    variants: Tensor,
    target: Tensor | None = None,
    *,
    channels: int | None = None,
    scale: int = 1,
) -> Image.Image:
    """A row for each source image: the source, its variants, and its target where there is one.

    source: (B, S, H, W), in [-1, 1] as all of them
    variants: (B, V, C, H, W)
    target: (B, C, H, W)
    channels: of the sheet; unset: as many as sources or variants have
    scale: enlarges every pixel that many times
    """
    channels = channels or max(source.shape[1], variants.shape[2])
    parts = [source[:, None], variants, *([] if target is None else [target[:, None]])]
    rows = torch.cat([in_channels(x.cpu(), channels) for x in parts], 1)
    return grid(rows.flatten(0, 1), rows.shape[1], scale=scale)


def save_png(image: Image.Image | Tensor | np.ndarray, path: str | Path) -> Path:
    """Write one image whole or not at all: a picture, a tensor (C, H, W) or pixels (H, W, C)."""
    if isinstance(image, Tensor):
        return save_png(to_uint8(image[None])[0], path)
    still: Image.Image = picture(image) if isinstance(image, np.ndarray) else image
    return files.write(Path(path), lambda scratch: still.save(scratch, format="PNG"))


def make_gif(
    images: Tensor | np.ndarray, path: str | Path, *, duration: int = 80, scale: int = 1
) -> Path:
    """Write an endless animation of images, (N, C, H, W) in [-1, 1] or pixels (N, H, W, C).

    duration: milliseconds each is shown
    """
    pixels = to_uint8(images) if isinstance(images, Tensor) else images
    frames = [grid(frame[None], 1, gap=0, scale=scale) for frame in pixels]
    if not frames:
        raise ValueError("an animation needs at least one image")
    return files.write(
        Path(path),
        lambda scratch: frames[0].save(
            scratch,
            format="GIF",
            save_all=True,
            append_images=frames[1:],
            duration=duration,
            loop=0,
        ),
    )
