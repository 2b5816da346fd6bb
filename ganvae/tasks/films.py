"""Films: GIF and WebP by Pillow, MP4 where ``ganvae[video]`` is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from torch import Tensor

from ganvae.errors import ConfigError
from ganvae.files import write
from ganvae.models.images import grid, make_gif, to_uint8

FILMS = (".gif", ".webp", ".mp4")


def is_film(out: Path) -> bool:
    """Whether ``out`` is a film. Raises ConfigError for an .mp4 where none can be written."""
    suffix = out.suffix.lower()
    if suffix == ".mp4" and find_spec("imageio_ffmpeg") is None:
        raise ConfigError(
            f"{out} needs imageio-ffmpeg: pip install 'ganvae[video]', or end it in .gif or .webp"
        )
    return suffix in FILMS


def save_film(images: Tensor, out: Path, *, milliseconds: int = 80, scale: int = 1) -> Path:
    """Write images (N, C, H, W) in [-1, 1] as an endless film; an .mp4 ends with the last one.

    milliseconds: how long each is shown
    scale: enlarges every pixel that many times

    Raises CheckpointError where the disk refuses, ConfigError where FFmpeg is missing.
    """
    suffix = out.suffix.lower()
    if suffix == ".gif":
        return make_gif(images, out, duration=milliseconds, scale=scale)
    frames = [grid(frame[None], 1, gap=0, scale=scale) for frame in to_uint8(images)]
    if suffix == ".mp4":
        pixels = [_even(np.asarray(frame.convert("RGB"))) for frame in frames]
        return write(out, lambda scratch: _encode(pixels, scratch, 1000 / milliseconds))
    return write(
        out,
        lambda scratch: frames[0].save(
            scratch,
            format="WEBP",
            save_all=True,
            append_images=frames[1:],
            duration=milliseconds,
            loop=0,
            quality=90,
        ),
    )


def _even(pixels: np.ndarray) -> np.ndarray:
    """The last row and column twice where their number is odd: the codec halves the colours."""
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _encode(frames: list[np.ndarray], path: Path, rate: float) -> None:
    import imageio_ffmpeg

    height, width = frames[0].shape[:2]
    film = imageio_ffmpeg.write_frames(
        str(path), (width, height), fps=rate, quality=8, macro_block_size=1
    )
    try:
        film.send(None)
        for frame in frames:
            film.send(np.ascontiguousarray(frame))
    except RuntimeError as error:
        raise ConfigError(f"no FFmpeg to write an .mp4 with: {error}") from None
    finally:
        film.close()
