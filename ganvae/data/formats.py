"""Formats of pictures: those that can be read, and advice for those that cannot."""

from __future__ import annotations

import re
import struct
from importlib.util import find_spec
from typing import IO

from PIL import Image, features

MAX_PIXELS = 2**27
"""Images of more pixels (134 million) are refused by their header, before any is decoded."""
HEAD = 256
"""First bytes of a file that are looked at to tell what it is."""


class Bad(Exception):
    """An image that cannot be used; the message says why."""


# ------------------------------------------------------------------------------- what is read

_PLAIN = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
_AVIF = {"AVIF": (".avif",)}
_HEIF = {"HEIF": (".heic", ".heif", ".hif")}
_JXL = {"JXL": (".jxl",)}
_HAS_AVIF = bool(features.check("avif"))
_HAS_HEIF = find_spec("pillow_heif") is not None
_HAS_JXL = find_spec("pillow_jxl") is not None

READ: dict[str, tuple[str, ...]] = {
    **_PLAIN,
    **(_AVIF if _HAS_AVIF else {}),
    **(_HEIF if _HAS_HEIF else {}),
    **(_JXL if _HAS_JXL else {}),
}
"""Formats that are read, by Pillow's names, with the endings of their files."""
FORMATS = tuple(READ)
EXTENSIONS = tuple(ending for endings in READ.values() for ending in endings)
"""Endings of files that are read, in lower case, of five characters at most."""


# ---------------------------------------------------------------------------- what is not read

_EXPORT = "export them as PNG"
_DRAW, _DEVELOP, _SAVE = "draw them as PNG", "develop them to JPEG or PNG", "save them as PNG"
_UNREAD = {
    "install a Pillow that reads AVIF, or save them as PNG": ".avif",
    "pip install 'ganvae[heic]'": ".heic .heif .hif",
    "pip install 'ganvae[jxl]'": ".jxl",
    _EXPORT: ".psd .psb .xcf .kra .ora .clip .afphoto .procreate .sketch .heics .avifs",
    _DRAW: ".svg .svgz .eps .ai .pdf .wmf .emf",
    _DEVELOP: ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .iiq .kdc .mef .mos .mrw .nef .nrw .orf"
    " .pef .raf .raw .rw2 .rwl .sr2 .srf .srw .x3f",
    _SAVE: ".bpg .cur .czi .dcm .dds .dib .djvu .exr .fit .fits .flif .hdr .icns .ico .j2c .j2k"
    " .jp2 .jpc .jpf .jpm .jpx .jxr .lif .mng .nd2 .ndpi .nii .pam .pcx .pfm .pic .qoi .ras .sgi"
    " .svs .tga .wdp .xbm .xpm",
    "unpack it": ".zip .rar .7z .gz .xz .bz2 .zst",
    "name it itself as the source": ".tar .tgz .parquet .npy .npz",
}
MENDS = {
    ending: mend
    for mend, endings in _UNREAD.items()
    for ending in endings.split()
    if ending not in EXTENSIONS
}
"""Advice on files that hold pictures and are not read, by their ending."""
_ARCHIVES = {"unpack it", "name it itself as the source"}
UNREAD = tuple(ending for ending, mend in MENDS.items() if mend not in _ARCHIVES)
"""Endings of pictures that are not read."""


def kind(head: bytes) -> str:
    """The usual ending of a picture that begins so (``.png``); empty where it is none we know.

    head: the first :data:`HEAD` bytes, or all of a shorter file
    """
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "")
    for begin, ending in _BEGINNINGS:
        if begin.match(head):
            return ending
    return ".svg" if _is_markup(head) and b"<svg" in head else ""


def _is_markup(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<")


_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), ".avif"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1"), ".heic"),
    b"crx ": ".cr3",
}
_BEGINNINGS = tuple(
    (re.compile(begin, re.DOTALL), ending)
    for begin, ending in (
        (rb"\x89PNG\r\n\x1a\n", ".png"),
        (rb"\xff\xd8\xff", ".jpg"),
        (rb"GIF8[79]a", ".gif"),
        (rb"RIFF....WEBP", ".webp"),
        (rb"BM....\0\0\0\0", ".bmp"),
        (rb"(II\*\0|MM\0\*)....CR\x02", ".cr2"),
        (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", ".tif"),
        (rb"P[1-6]\s+(#[^\n]*\n\s*)*\d+\s", ".ppm"),
        (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", ".jxl"),
        (rb"8BPS\0[\x01\x02]", ".psd"),
        (rb"gimp xcf", ".xcf"),
        (rb"\0\0\0\x0cjP  \r\n\x87\n", ".jp2"),
        (rb"\xff\x4f\xff\x51\0", ".j2k"),
        (rb"\0\0\x01\0[^\0]\0", ".ico"),
        (rb"v/1\x01", ".exr"),
        (rb"#\?RADIANCE|#\?RGBE", ".hdr"),
        (rb"DDS \x7c\0\0\0", ".dds"),
        (rb"qoif", ".qoi"),
        (rb"FUJIFILMCCD-RAW", ".raf"),
        (rb"IIR[OS]|MMOR", ".orf"),
        (rb"IIU\0", ".rw2"),
        (rb"%!PS-Adobe", ".eps"),
    )
)


def unidentified(head: bytes) -> str:
    """Why a file that begins so could not be opened."""
    ending = kind(head)
    if ending in EXTENSIONS:
        return f"damaged: it begins as {ending} and cannot be decoded"
    if ending in MENDS:
        markup = ", which is markup" if ending == ".svg" else ""
        return f"a picture of the kind {ending}{markup}, not read; {MENDS[ending]}"
    if _is_markup(head):
        return "not an image but a web page or other markup"
    names = ", ".join(endings[0][1:] for endings in READ.values())
    return f"not an image of a known format ({names})"


# ------------------------------------------------------------------------------------ opening


def opened(file: IO[bytes]) -> Image.Image:
    """The image in a file at its beginning, not decoded yet, of at most :data:`MAX_PIXELS`.

    Its EXIF data say how it is still to be turned. Raises :class:`Bad` or what Pillow raises.
    """
    head = file.read(HEAD)
    file.seek(0)
    if not head:
        raise Bad("empty file (zero bytes)")
    ending = kind(head)
    if ending == ".jxl" and _HAS_JXL:
        return _jpeg_xl(file)
    formats = [name for name in FORMATS if name not in (*_HEIF, *_JXL)]
    if ending in (".heic", ".avif") and _HAS_HEIF:
        import pillow_heif

        # an embedded thumbnail is not the picture, and depths and masks are not asked for
        pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
        formats += _HEIF
    image = Image.open(file, formats=formats)
    _refuse_large(*image.size)
    return image


def _refuse_large(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise Bad(f"{width}x{height} are more than {MAX_PIXELS:,} pixels")


def _jpeg_xl(file: IO[bytes]) -> Image.Image:
    """Reads the size off the header first, as the plugin decodes the whole file to find it."""
    import pillow_jxl

    size = jpeg_xl_size(file)
    if size is None:
        raise Bad("damaged: its JPEG XL header cannot be read")
    _refuse_large(*size)
    file.seek(0)
    try:
        image = Image.open(file, formats=["JXL"])
    except BaseException as error:  # a panic of its decoder is no Exception
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise Bad("damaged: it begins as .jxl and cannot be decoded") from None
        raise
    assert pillow_jxl
    if image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK", "I;16", "F"):
        raise Bad(f"pixels of {image.mode.replace(';', ', ')} bits in JPEG XL; save it as PNG")
    if not getattr(image, "jpeg", False):
        image.info.pop("exif", None)  # upright already: its orientation is in its own header
    return image


def jpeg_xl_size(file: IO[bytes]) -> tuple[int, int] | None:
    """Width and height in the header of a JPEG XL file at its beginning; None without one."""
    head = file.read(2)
    if head != b"\xff\x0a":
        file.seek(0)
        if not _to_codestream(file) or file.read(2) != b"\xff\x0a":
            return None
    data = file.read(16)
    bits, at = int.from_bytes(data, "little"), 0

    def take(count: int) -> int:
        nonlocal at
        value = bits >> at & (1 << count) - 1
        at += count
        return value

    def length(small: int) -> int:
        return 8 * (take(5) + 1) if small else take((9, 13, 18, 30)[take(2)]) + 1

    small = take(1)
    height, ratio = length(small), take(3)
    across, down = _RATIOS[ratio]
    width = height * across // down if ratio else length(small)
    return (width, height) if 8 * len(data) >= at else None


_RATIOS = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def _to_codestream(file: IO[bytes], boxes: int = 64) -> bool:
    """Reads up to the beginning of the pixels, behind the boxes that come before them."""
    for _ in range(boxes):
        head = file.read(8)
        if len(head) < 8:
            return False
        size, name = struct.unpack(">I4s", head)
        header = 8
        if size == 1:
            size, header = int.from_bytes(file.read(8), "big"), 16
        if name == b"jxlc":
            return True
        if name == b"jxlp":
            return len(file.read(4)) == 4  # its number
        if size < header:
            return False
        file.seek(size - header, 1)
    return False
