"""One image file, or one array, to prepared pixels: upright, 8 bits, sRGB, of one size."""

from __future__ import annotations

import math
import os
import stat
import warnings
from dataclasses import asdict, dataclass, replace
from enum import IntFlag
from functools import lru_cache
from io import BytesIO
from typing import IO, Any, Literal

import numpy as np
from PIL import Image, ImageColor, UnidentifiedImageError

from ganvae.data.formats import HEAD, MAX_PIXELS, Bad, opened, unidentified
from ganvae.errors import ConfigError
from ganvae.telling import words

Resize = Literal["cover", "contain", "stretch", "pad"]


class Policy(IntFlag):
    """What was done to an image on the way; :data:`MEANING` says it in words."""

    NONE = 0
    REDUCED = 1
    ENLARGED = 2
    CROPPED = 4
    BORDERED = 8
    STRETCHED = 16
    TRANSPARENT = 32
    TURNED = 64
    FIRST_FRAME = 128
    DEEP = 256
    FLOAT = 512
    CMYK = 1024
    PROFILE = 2048
    PROFILE_IGNORED = 4096
    PALETTE = 8192
    GREYED = 16384
    THIN = 32768
    CUT_OFF = 65536


MEANING = {
    Policy.REDUCED: "made smaller",
    Policy.ENLARGED: "enlarged (smaller than the size asked for)",
    Policy.CROPPED: "cropped to the centre",
    Policy.BORDERED: "given borders in the background colour",
    Policy.STRETCHED: "stretched to another aspect",
    Policy.TRANSPARENT: "transparent, laid on the background colour",
    Policy.TURNED: "turned upright by their EXIF orientation",
    Policy.FIRST_FRAME: "animated or of several pages, first one taken",
    Policy.DEEP: "16 bits, scaled to 8",
    Policy.FLOAT: "floating point in [0, 1], scaled to 8 bits",
    Policy.CMYK: "CMYK, converted to RGB",
    Policy.PROFILE: "with a colour profile, converted to sRGB",
    Policy.PROFILE_IGNORED: "with an unusable colour profile, taken as sRGB",
    Policy.PALETTE: "of palette or 1-bit colours",
    Policy.GREYED: "coloured, made grey",
    Policy.THIN: "of an aspect beyond 4:1",
    Policy.CUT_OFF: "brighter than data.depth says, cut off at white",
}


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What every image is made into.

    channels: 1, 3, or None to keep grey images grey where all of them are
    background: what shows through transparency and fills borders, as sRGB
    depth: how many bits of 16-bit pictures are used: 2^depth - 1 becomes white; None: all 16
    """

    height: int
    width: int
    channels: int | None = None
    resize: Resize = "cover"
    background: tuple[int, int, int] = (255, 255, 255)
    depth: int | None = None

    def __post_init__(self) -> None:
        if not (1 <= self.height <= 4096 and 1 <= self.width <= 4096):
            raise ConfigError(
                f"data.size must be between 1 and 4096 pixels, got {self.height}x{self.width}"
            )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary; without a depth of all 16 bits, as older ones are."""
        return {k: v for k, v in asdict(self).items() if k != "depth" or v is not None}


@dataclass(frozen=True)
class Prepared:
    """An image as it is packed.

    pixels: uint8 (H, W, 1) where the image is grey, else (H, W, 3)
    peak: the highest value of a 16-bit picture before it was scaled; 0 for others
    """

    pixels: np.ndarray
    policies: Policy
    peak: int = 0


def colour(name: str) -> tuple[int, int, int]:
    """An sRGB triple from a colour name or #rrggbb. Raises ConfigError."""
    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError:
        raise ConfigError(
            f"data.background {name!r} is no colour; give a name such as white, or #rrggbb"
        ) from None


def prepare(source: str | bytes, how: Preparation) -> Prepared:
    """Decodes a file (by its path) or the bytes of one, wholly, and fits it to the size.

    Raises :class:`Bad` with the reason where that cannot be done.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # every oddity is either harmless or raised below
        file = _open(source)
        with file:
            try:
                return _prepare(file, how)
            except Bad:
                raise
            except Image.DecompressionBombError:
                raise Bad(f"more than {MAX_PIXELS:,} pixels by its header") from None
            except UnidentifiedImageError:
                file.seek(0)
                raise Bad(unidentified(file.read(HEAD))) from None
            except MemoryError:
                raise Bad("not enough memory to decode it") from None
            except Exception as error:
                raise Bad(f"damaged: {words(error)}") from None


def prepare_array(image: np.ndarray, how: Preparation) -> Prepared:
    """Fits uint8 or uint16 pixels of shape (H, W) or (H, W, 1|3|4) to the size."""
    if image.dtype == np.uint16:
        prepared = prepare_array(eight_bits(image, how.depth), how)
        policy = prepared.policies | Policy.DEEP | _cut_off(image, how)
        return Prepared(prepared.pixels, policy, int(image.max()))
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.shape in ((how.height, how.width), (how.height, how.width, 3)):
        pixels = _canonical(image)
        if pixels.shape[2] == 1 or how.channels != 1:
            return Prepared(pixels, Policy.NONE)
    height, width = image.shape[:2]
    return _fit(Image.fromarray(image), how, Policy.NONE, width, height)


def _open(source: str | bytes) -> IO[bytes]:
    if isinstance(source, bytes):
        return BytesIO(source)
    try:
        # never wait for a FIFO that took an image's name
        handle = os.open(source, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise Bad(f"cannot be read: {error.strerror}") from None
    file = os.fdopen(handle, "rb")
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        file.close()
        raise Bad("not a regular file")
    return file


def _prepare(file: IO[bytes], how: Preparation) -> Prepared:
    with opened(file) as image:
        width, height = image.size
        policy = Policy.NONE
        if getattr(image, "is_animated", False):
            policy |= Policy.FIRST_FRAME
        turn = _orientation(image) if image.format != "PNG" else 1
        if image.format in ("JPEG", "MPO"):
            _draft(image, how, sideways=turn >= 5)
        image.load()
        image = with_16_bits(image)
        if image.format == "PNG":
            turn = _orientation(image)  # a PNG may have EXIF data behind the pixels
        if turn > 1:
            policy |= Policy.TURNED
        if image.format == "TIFF":  # turned by Pillow while loading
            return _fit(image, how, policy, *image.size)
        if turn >= 5:
            width, height = height, width
        upright = image.transpose(_TURNS[turn]) if turn > 1 else image
        upright.info.update(image.info)
        return _fit(upright, how, policy, width, height)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; damaged EXIF data counts as upright."""
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _draft(image: Image.Image, how: Preparation, sideways: bool) -> None:
    """Lets libjpeg decode at a half, a quarter or an eighth, never below twice the size."""
    if how.resize == "pad":
        return
    width, height = image.size[::-1] if sideways else image.size
    across, down = how.width / width, how.height / height
    if how.resize != "stretch":
        across = down = max(across, down) if how.resize == "cover" else min(across, down)
    want = math.ceil(2 * across * width), math.ceil(2 * down * height)
    image.draft(None, want[::-1] if sideways else want)


def _fit(
    image: Image.Image, how: Preparation, policy: Policy, width: int, height: int
) -> Prepared:
    """``width`` and ``height`` are those of the upright image, before any draft."""
    if max(width, height) > 4 * min(width, height):
        policy |= Policy.THIN
    profile = image.info.get("icc_profile")
    image, policy, peak = _plain(image, how, policy)
    image, policy = _resized(image, how, policy, width, height)
    image, policy = _srgb(image, profile, policy)
    image, policy = _opaque(image, how, policy)
    if image.size != (how.width, how.height):
        image, policy = _bordered(image, how, policy)
    return replace(_finish(image, how, policy), peak=peak)


def _plain(
    image: Image.Image, how: Preparation, policy: Policy
) -> tuple[Image.Image, Policy, int]:
    """The image as L, LA, RGB, RGBA or CMYK, and the highest value of 16-bit pixels, else 0."""
    mode = image.mode
    if mode in ("P", "PA", "1"):
        policy |= Policy.PALETTE
    if mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.uint16)
        scaled = Image.fromarray(eight_bits(deep, how.depth))
        return scaled, policy | Policy.DEEP | _cut_off(deep, how), int(deep.max())
    if mode == "F":
        return Image.fromarray(_from_float(np.asarray(image))), policy | Policy.FLOAT, 0
    if mode == "CMYK":
        return image, policy | Policy.CMYK, 0
    if mode in ("L", "LA", "RGB", "RGBA") and "transparency" not in image.info:
        return image, policy, 0
    if mode in ("L", "1", "La", "LA"):
        return image.convert("LA" if image.has_transparency_data else "L"), policy, 0
    if mode in ("P", "PA", "RGB", "RGBX", "RGBa", "RGBA", "YCbCr", "HSV"):
        return image.convert("RGBA" if image.has_transparency_data else "RGB"), policy, 0
    raise Bad(f"pixels of mode {mode} are not supported; save it as 8-bit RGB or grey")


def with_16_bits(image: Image.Image) -> Image.Image:
    """A decoded PGM of more than 8 bits, which Pillow gives 32, as other 16-bit pictures are."""
    if image.format != "PPM" or image.mode != "I":
        return image
    return Image.fromarray(np.asarray(image).astype(np.uint16))


DEPTHS = (8, 10, 12, 14)
"""Bits that a set of 16-bit pictures may use, where none of its values needs all of them."""


def depth_of(peak: int) -> int | None:
    """The least of :data:`DEPTHS` that holds a set's highest value; None: none, or it is 0."""
    return next((bits for bits in DEPTHS if 0 < peak < 1 << bits), None)


def eight_bits(deep: np.ndarray, depth: int | None) -> np.ndarray:
    """16-bit values as 8-bit ones, 2^depth - 1 and what is above it as 255."""
    white = (1 << (depth or 16)) - 1
    values, pixels = deep.reshape(-1), np.empty(deep.size, np.uint8)
    for start in range(0, deep.size, 2**20):  # intermediate uint32 takes more
        part = np.minimum(values[start : start + 2**20], white).astype(np.uint32)
        pixels[start : start + 2**20] = (part * 255 + white // 2) // white
    return pixels.reshape(deep.shape)


def _cut_off(deep: np.ndarray, how: Preparation) -> Policy:
    beyond = how.depth is not None and deep.max(initial=0) >= 1 << how.depth
    return Policy.CUT_OFF if beyond else Policy.NONE


def _from_float(pixels: np.ndarray) -> np.ndarray:
    if not np.isfinite(pixels).all():
        raise Bad("floating-point pixels that are not finite")
    if pixels.min() < 0 or pixels.max() > 1:
        raise Bad("floating-point pixels outside [0, 1]; save it as 8 or 16 bits")
    return np.rint(pixels * 255).astype(np.uint8)


def _resized(
    image: Image.Image, how: Preparation, policy: Policy, width: int, height: int
) -> tuple[Image.Image, Policy]:
    """Scales, and for "cover" crops, or for "pad" crops only; borders come later."""
    if (width, height) == (how.width, how.height) == image.size:
        return image, policy
    across, down = how.width / width, how.height / height
    w, h = image.size
    if how.resize == "pad":
        left, top = max(0, (w - how.width) // 2), max(0, (h - how.height) // 2)
        box = left, top, left + min(w, how.width), top + min(h, how.height)
        cropped = (w, h) != (box[2] - left, box[3] - top)
        return image.crop(box), policy | (Policy.CROPPED if cropped else Policy.NONE)
    if how.resize == "stretch":
        size, frame = (how.width, how.height), (0.0, 0.0, float(w), float(h))
        policy |= Policy.STRETCHED if across != down else Policy.NONE
        scale = max(across, down)
    elif how.resize == "cover":
        scale = max(across, down)
        size = how.width, how.height
        share_x, share_y = across / scale, down / scale
        x, y = w * (1 - share_x) / 2, h * (1 - share_y) / 2
        frame = x, y, w - x, h - y
        policy |= Policy.CROPPED if across != down else Policy.NONE
    else:
        scale = min(across, down)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        frame = 0.0, 0.0, float(w), float(h)
    policy |= Policy.ENLARGED if scale > 1 else Policy.REDUCED if scale < 1 else Policy.NONE
    image = image.resize(size, Image.Resampling.LANCZOS, box=frame, reducing_gap=3.0)
    return image, policy


def _srgb(image: Image.Image, profile: bytes | None, policy: Policy) -> tuple[Image.Image, Policy]:
    """Colours as sRGB: by the embedded profile, else by Pillow's plain conversion."""
    if profile:
        alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
        base = image.convert(image.mode[:-1]) if alpha else image
        try:
            transform = _transform(profile, base.mode)
        except Exception:
            policy |= Policy.PROFILE_IGNORED
        else:
            if transform is not None:
                image = transform.apply(base)
                policy |= Policy.PROFILE
                if alpha:
                    image.putalpha(alpha)
    return (image.convert("RGB") if image.mode == "CMYK" else image), policy


def as_srgb(image: Image.Image) -> Image.Image:
    """A CMYK image as RGB without the CMYK profile; its other metadata stay."""
    profile = image.info.get("icc_profile")
    converted, _ = _srgb(image, profile, Policy.NONE)
    info = image.info | converted.info
    converted.info = {k: v for k, v in info.items() if k != "icc_profile" or v != profile}
    return converted


@lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> Any:
    """Colour transform to sRGB; None where the profile is sRGB already."""
    from PIL import ImageCms

    source = ImageCms.ImageCmsProfile(BytesIO(profile))
    if mode == "RGB" and "srgb" in ImageCms.getProfileDescription(source).lower():
        return None
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")


def _opaque(image: Image.Image, how: Preparation, policy: Policy) -> tuple[Image.Image, Policy]:
    if image.mode not in ("LA", "RGBA"):
        return image, policy
    alpha = image.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return image.convert(image.mode[:-1]), policy
    grey = image.mode == "LA" and len(set(how.background)) == 1
    mode = "L" if grey else "RGB"
    under = Image.new(mode, image.size, how.background[0] if grey else how.background)
    under.paste(image.convert(mode), mask=alpha)
    return under, policy | Policy.TRANSPARENT


def _bordered(image: Image.Image, how: Preparation, policy: Policy) -> tuple[Image.Image, Policy]:
    grey = image.mode == "L" and len(set(how.background)) == 1
    mode = "L" if grey else "RGB"
    size = how.width, how.height
    under = Image.new(mode, size, how.background[0] if grey else how.background)
    corner = (how.width - image.width) // 2, (how.height - image.height) // 2
    under.paste(image.convert(mode), corner)
    return under, policy | Policy.BORDERED


def _finish(image: Image.Image, how: Preparation, policy: Policy) -> Prepared:
    pixels = _canonical(np.asarray(image))
    if how.channels == 1 and pixels.shape[2] == 3:
        pixels = np.asarray(image.convert("L"))[:, :, None]
        policy |= Policy.GREYED
    return Prepared(pixels, policy)


def _canonical(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 1) where the three channels are equal everywhere, else (H, W, 3)."""
    if pixels.ndim == 2:
        return pixels[:, :, None]
    return np.ascontiguousarray(pixels[:, :, :1]) if is_grey(pixels) else pixels


def is_grey(pixels: np.ndarray) -> bool:
    """Whether the channels of (H, W, 3) are equal everywhere."""
    first, second, third = pixels[:, :, 0], pixels[:, :, 1], pixels[:, :, 2]
    if (first[::8, ::8] != second[::8, ::8]).any():  # a sample settles most coloured images
        return False
    return bool((first == second).all() and (first == third).all())
