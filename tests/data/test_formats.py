"""Formats that an extra or a newer Pillow reads, and pictures that nothing here reads."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from ganvae import config
from ganvae.data import formats, open_data
from ganvae.data.decode import Bad, Policy, Preparation, prepare
from ganvae.data.findings import unused
from ganvae.errors import DataError
from ganvae.tasks import exact

from .conftest import photo

heif = pytest.importorskip("pillow_heif")
pytest.importorskip("pillow_jxl")
heif.register_heif_opener()
HOW = Preparation(height=40, width=40)
FINE = {"JXL": {"lossless": True}, "AVIF": {"quality": 98}, "HEIF": {"quality": 98}, "PPM": {}}
kinds = pytest.mark.parametrize("kind", FINE)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **(FINE.get(kind, {}) | options))  # type: ignore[arg-type]
    return file.getvalue()


@kinds
def test_pixels_come_out_and_a_cut_file_is_caught(kind: str) -> None:
    image = photo(1, 40, 40)
    got = prepare(encoded(image, kind), HOW)
    assert np.abs(got.pixels.astype(int) - np.asarray(image, int)).mean() <= 7
    whole = encoded(photo(2, 300, 200), kind)
    for share in (0.1, 0.5, 0.9, 0.99):
        with pytest.raises(Bad, match="damaged"):
            prepare(whole[: int(len(whole) * share)], HOW)


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_pictures_are_turned_once(kind: str, turn: int, tmp_path: Path) -> None:
    image, told = photo(4, 40, 40), Image.Exif()
    told[0x0112] = image.getexif()[0x0112] = turn
    path = tmp_path / "a"
    path.write_bytes(encoded(image, kind, exif=told.tobytes()))
    upright = np.asarray(ImageOps.exif_transpose(image), int)
    assert np.abs(prepare(str(path), HOW).pixels - upright).mean() <= 7
    assert np.abs(exact.read(path).pixels - upright).mean() <= 7


def test_the_header_of_jpeg_xl_says_how_it_is_turned_not_its_exif_data() -> None:
    image, told = photo(4, 40, 40), Image.Exif()
    told[0x0112] = 6
    done = prepare(encoded(image, "JXL", exif=told.tobytes()), HOW)
    np.testing.assert_array_equal(done.pixels, np.asarray(image))


@pytest.mark.parametrize("kind", ["AVIF", "HEIF", "JXL"])
@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_grey_stays_grey_and_transparency_is_laid_on_the_background(kind: str, mode: str) -> None:
    image = photo(5, 40, 40, "L") if mode == "L" else Image.new("RGBA", (40, 40), (255, 0, 0, 0))
    done = prepare(encoded(image, kind), HOW)
    assert done.pixels.shape[2] == 1  # white, where nothing is opaque
    assert (Policy.TRANSPARENT in done.policies) == (mode == "RGBA")


def lying(kind: str, side: int = 20_000) -> bytes:
    """A small file whose header says that it has very many pixels."""
    if kind == "JXL":
        bits = (3 << 1) | (side - 1) << 3 | 1 << 33  # 30 bits of height, as wide as high
        return b"\xff\x0a" + bits.to_bytes(16, "little") + bytes(200)
    if kind == "PPM":
        return b"P6\n%d %d\n255\n" % (side, side) + bytes(1000)
    data = encoded(photo(1, 64, 64), kind)
    size = struct.pack(">II", 64, 64)
    assert b"ispe\0\0\0\0" + size in data
    return data.replace(b"ispe\0\0\0\0" + size, b"ispe\0\0\0\0" + struct.pack(">II", side, side))


@kinds
def test_too_many_pixels_are_refused_by_the_header(kind: str, tmp_path: Path) -> None:
    with pytest.raises(Bad, match=r"more than 134,217,728 pixels|damaged"):
        prepare(lying(kind), HOW)
    (tmp_path / "a").write_bytes(lying(kind))
    with pytest.raises(DataError, match=r"cannot be read|damaged"):
        exact.read(tmp_path / "a")


@pytest.mark.parametrize("size", [(1, 1), (40, 40), (300, 200), (200, 300), (4096, 8), (700, 513)])
@pytest.mark.parametrize("container", [False, True])
def test_the_size_in_the_header_of_jpeg_xl(size: tuple[int, int], container: bool) -> None:
    data = encoded(Image.new("RGB", size), "JXL", use_container=container)
    assert formats.jpeg_xl_size(io.BytesIO(data)) == size
    for end in (0, 1, 2, 3, 12, 20):
        assert formats.jpeg_xl_size(io.BytesIO(data[:end])) in (None, size)


@pytest.mark.parametrize("most", [255, 1023, 4095, 65535])
@pytest.mark.parametrize("plain", [False, True])
def test_pgm_of_8_bits_and_more(most: int, plain: bool) -> None:
    deep = np.linspace(0, most, 1600).round().astype(int).reshape(40, 40)
    head = f"P{2 if plain else 5}\n# made by hand\n40 40\n{most}\n".encode()
    body = " ".join(map(str, deep.flat)).encode()
    if not plain:
        body = deep.astype(np.uint8 if most < 256 else ">u2").tobytes()
    done = prepare(head + body, HOW)
    assert np.abs(done.pixels[:, :, 0] - deep / most * 255).max() <= 0.51
    assert done.policies == (Policy.DEEP if most > 255 else Policy.NONE)
    with pytest.raises(Bad, match="damaged"):
        prepare((head + body)[:-90], HOW)


def test_a_picture_of_10_bits_cannot_be_kept_to_the_bit(tmp_path: Path) -> None:
    deep = np.linspace(0, 65535, 40 * 40 * 3).astype(np.uint16).reshape(40, 40, 3)
    made = heif.from_bytes(mode="RGB;16", size=(40, 40), data=deep.tobytes())
    made.save(tmp_path / "a.heic")
    with pytest.raises(DataError, match="10 bits a colour, which would become 8"):
        exact.read(tmp_path / "a.heic")
    assert prepare(str(tmp_path / "a.heic"), HOW).pixels.shape[:2] == (40, 40)


# ------------------------------------------------------------------------------ what is not read


@pytest.mark.parametrize(
    ("head", "ending"),
    [
        (b"\x89PNG\r\n\x1a\n", ".png"), (b"\xff\xd8\xff\xe0", ".jpg"), (b"8BPS\0\x01", ".psd"),
        (b"\0\0\0\x18ftypheic", ".heic"), (b"\0\0\0\x1cftypavif", ".avif"),
        (b"\0\0\0\x18ftypcrx ", ".cr3"), (b"\0\0\0\x18ftypmp42", ""),
        (b"II*\0\x10\0\0\0CR\x02\0", ".cr2"), (b"MM\0*\0\0\0\x08", ".tif"),
        (b"<?xml version='1.0'?>\n<svg xmlns=''>", ".svg"), (b"<html>", ""),
        (b"P5 12 8 255 ", ".ppm"),
        (b"P5 is the best part", ""), (b"BMW", ""), (b"", ""), (b"hello", ""), (b"\0" * 64, ""),
    ],
)  # fmt: skip
def test_kinds_by_their_first_bytes(head: bytes, ending: str) -> None:
    assert formats.kind(head) == ending


def test_what_is_not_read_is_named_with_its_mend_before_training(
    make: Callable[..., Path], setting: Callable[..., config.Data]
) -> None:
    root = make(6)
    for number in range(3):
        (root / f"{number}.psd").write_bytes(b"8BPS\0\x01")
        (root / f"{number}.NEF").write_bytes(b"MM\0*")
        (root / f"plain{number}").write_bytes((root / "0.png").read_bytes())
        (root / f"{number}.dat").write_bytes((root / "0.png").read_bytes())
    (root / "notes.txt").touch()
    (root / "more.zip").touch()
    (root / "Thumbs.db").touch()
    (root / ".DS_Store").touch()
    data = open_data(setting(root))
    first, second = data.notes[:2]
    assert first.startswith("most pictures, 12 of 18, are not read: ")
    for said in ("3 .psd (export", "3 .nef (dev", "6 .png inside (give them the ending .png)"):
        assert said in first
    assert second.startswith("files that are not used: ")
    assert "1 .txt" in second and "1 .zip (unpack it)" in second and "hidden" not in second
    assert not unused({"hidden": 5}, 10)
    assert unused({".svg": 2}, 10) == ["2 pictures are not read: 2 .svg (draw them as PNG)"]


def test_few_files_are_looked_into(
    make: Callable[..., Path],
    setting: Callable[..., config.Data],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = make(4)
    for number in range(9):
        (root / f"plain{number}").write_bytes((root / "0.png").read_bytes())
    monkeypatch.setattr("ganvae.data.folder.LOOKED_INTO", 5)
    found = open_data(setting(root)).report["ignored"]
    assert found == {".png inside": 5, "no extension": 4}


WITHOUT = """
import sys
sys.modules["pillow_heif"] = sys.modules["pillow_jxl"] = None  # as if they were not installed
from ganvae import config
from ganvae.data import open_data
data = open_data(config.Data(path=sys.argv[1], cache=sys.argv[2], size=16, max_bad=1.0))
print(len(data.train) + len(data.test), *data.notes, sep="\\n")
"""


def test_phone_photos_are_read_with_the_extra_and_named_without(
    tmp_path: Path, setting: Callable[..., config.Data]
) -> None:
    root = tmp_path / "phone"
    root.mkdir()
    for number in range(5):
        for kind, ending in (("HEIF", "heic"), ("AVIF", "avif"), ("JXL", "jxl")):
            (root / f"{ending}{number}.{ending}").write_bytes(encoded(photo(number), kind))
    photo(9).save(root / "a.jpg")
    (root / "b.jpg").write_bytes((root / "heic0.heic").read_bytes())
    data = open_data(setting(root))
    assert len(data.train) + len(data.test) == 17 and not data.notes[1:]
    said = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(root), str(tmp_path / "other")],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert said[0] == "6"
    assert said[1] == (
        "most pictures, 10 of 16, are not read: 5 .heic (pip install 'ganvae[heic]'),"
        " 5 .jxl (pip install 'ganvae[jxl]')"
    )
    assert any("kind .heic, not read; pip install 'ganvae[heic]'" in s for s in said)
