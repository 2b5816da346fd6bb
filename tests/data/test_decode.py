from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from ganvae.data.decode import MAX_PIXELS, Bad, Policy, Preparation, prepare, prepare_array
from ganvae.errors import ConfigError

from .conftest import photo


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def to(width: int, height: int | None = None, **options: object) -> Preparation:
    return Preparation(height=height or width, width=width, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "JPEG", "WEBP", "GIF"])
def test_every_kind_of_file_gives_its_pixels(kind: str) -> None:
    image = photo(1, 40, 40)
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 98}}.get(kind, {})
    got = prepare(encoded(image, kind, **lossless), to(40)).pixels.astype(int)
    worst = {"JPEG": 6.0, "GIF": 12.0}.get(kind, 0.0)
    assert np.abs(got - np.asarray(image, int)).mean() <= worst


# ------------------------------------------------------------------------------------ D1, D2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "zero bytes"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"\xef\xbb\xbf\n <svg/>", "markup"),
        (bytes(range(256)) * 8, "known format"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "damaged|known format"),
    ],
)
def test_d1_what_is_no_image_is_named(content: bytes, reason: str) -> None:
    with pytest.raises(Bad, match=reason):
        prepare(content, to(16))


@pytest.mark.parametrize("size", [16, 200])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_d2_a_cut_file_is_caught(kind: str, share: float, size: int) -> None:
    whole = encoded(photo(2, 300, 200), kind)
    prepare(whole, to(size))
    with pytest.raises(Bad, match="damaged"):
        prepare(whole[: int(len(whole) * share)], to(size))


@given(st.integers(0, 5000), st.binary(min_size=1, max_size=8), st.sampled_from(["PNG", "JPEG"]))
def test_damaged_bytes_are_an_image_or_bad_and_nothing_else(
    at: int, junk: bytes, kind: str
) -> None:
    whole = bytearray(encoded(photo(3, 48, 32), kind))
    at %= len(whole)
    whole[at : at + len(junk)] = junk
    try:
        assert prepare(bytes(whole), to(16)).pixels.shape[:2] == (16, 16)
    except Bad as bad:
        assert str(bad)


# ------------------------------------------------------------------------- D3, D4, D5, D6, D7


def test_d3_16_bit_grey_is_scaled() -> None:
    deep = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    for kind in ("PNG", "TIFF"):
        done = prepare(encoded(Image.fromarray(deep), kind), to(64))
        assert len(np.unique(done.pixels)) >= 250
        assert done.policies == Policy.DEEP
        assert np.abs(done.pixels[:, :, 0] - deep / 257).max() <= 0.51


def test_d4_cmyk_without_profile() -> None:
    image = photo(4, 64, 64).convert("CMYK")
    done = prepare(encoded(image, "TIFF"), to(64))
    want = np.asarray(image.convert("RGB"), int)
    assert np.abs(done.pixels.astype(int) - want).mean() <= 2
    assert done.policies == Policy.CMYK


@pytest.mark.parametrize("size", [64, 32])
def test_d4_a_profile_is_converted_to_srgb(size: int) -> None:
    lab = ImageCms.createProfile("LAB", 5000)
    assert lab
    swapped = _swapped_profile()
    image = photo(5, 64, 64)
    done = prepare(encoded(image, "PNG", icc_profile=swapped), to(size))
    source, target = ImageCms.ImageCmsProfile(io.BytesIO(swapped)), ImageCms.createProfile("sRGB")
    reference = ImageCms.profileToProfile(image, source, target)
    assert reference
    want = np.asarray(reference.resize((size, size), Image.LANCZOS), int)
    assert np.abs(want - np.asarray(image.resize((size, size)), int)).mean() > 5  # it matters
    assert np.abs(done.pixels.astype(int) - want).mean() <= 2
    assert Policy.PROFILE in done.policies


def _swapped_profile() -> bytes:
    """An sRGB-like profile that calls its green primary blue and the other way round."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(data[128:132], "big")
    for tag in range(count):
        at = 132 + 12 * tag
        name = bytes(data[at : at + 4])
        data[at : at + 4] = {b"gXYZ": b"bXYZ", b"bXYZ": b"gXYZ"}.get(name, name)
    return bytes(data).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


def test_an_unusable_profile_is_said() -> None:
    done = prepare(encoded(photo(6, 16, 16), "PNG", icc_profile=b"nonsense" * 20), to(16))
    assert done.policies == Policy.PROFILE_IGNORED


def test_an_srgb_profile_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = photo(6, 16, 16)
    done = prepare(encoded(image, "PNG", icc_profile=profile), to(16))
    assert done.policies == Policy.NONE
    np.testing.assert_array_equal(done.pixels, np.asarray(image))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB-key"])
@pytest.mark.parametrize("size", [32, 16])
def test_d5_hidden_colours_do_not_leak(mode: str, size: int) -> None:
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[:, :, 0] = 250  # loud, and hidden on the left half
    pixels[:, 16:] = (10, 10, 10, 255)
    image = Image.fromarray(pixels)
    if mode == "RGB-key":
        data = encoded(image.convert("RGB"), "PNG", transparency=(250, 0, 0))
    elif mode == "P":
        data = encoded(image.convert("RGB").quantize(4), "PNG", transparency=0)
        first = prepare(data, to(32, background=(0, 200, 0)))
        assert Policy.TRANSPARENT in first.policies
        return
    else:
        data = encoded(image.convert(mode), "PNG")
    done = prepare(data, to(size, background=(0, 0, 255)))
    left = done.pixels[:, : size // 2 - 3]
    np.testing.assert_array_equal(left, np.broadcast_to([0, 0, 255], left.shape))
    assert done.pixels[:, :, 0].max() <= 20  # no red anywhere, the blended edge included
    assert Policy.TRANSPARENT in done.policies


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_d6_the_eight_orientations_are_one(kind: str) -> None:
    upright = photo(7, 60, 40)
    stored = {
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }
    results = []
    for number, image in stored.items():
        exif = Image.Exif()
        exif[0x0112] = number
        options = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}
        data = encoded(image, kind, exif=exif, **options.get(kind, {}))
        done = prepare(data, to(30, 20))
        results.append(done.pixels.astype(int))
        assert (Policy.TURNED in done.policies) == (number > 1)
    for result in results[1:]:
        assert np.abs(result - results[0]).mean() <= (1.5 if kind == "JPEG" else 0)
    want = np.asarray(upright.resize((30, 20), Image.LANCZOS), int)
    assert np.abs(results[0] - want).mean() < 3


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_d7_the_first_frame_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), c) for c in ("#ff0000", "#00ff00", "#0000ff")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    done = prepare(data, to(16))
    np.testing.assert_array_equal(done.pixels, np.asarray(frames[0]))
    assert Policy.FIRST_FRAME in done.policies


# -------------------------------------------------------------------------------- D8, D9, D11


def test_d8_modes_have_the_right_shape_and_range() -> None:
    grey = np.asarray(photo(8, 16, 16, "L"))
    for mode in ("1", "L", "LA"):
        done = prepare(encoded(Image.fromarray(grey).convert(mode), "PNG"), to(16))
        assert done.pixels.shape == (16, 16, 1)
        if mode != "1":
            np.testing.assert_array_equal(done.pixels[:, :, 0], grey)
    assert set(np.unique(prepare(encoded(Image.fromarray(grey > 9), "PNG"), to(16)).pixels)) <= {
        0,
        255,
    }
    palette = photo(8, 16, 16).quantize(64)
    done = prepare(encoded(palette, "PNG"), to(16))
    np.testing.assert_array_equal(done.pixels, np.asarray(palette.convert("RGB")))
    unit = Image.fromarray(grey.astype(np.float32) / 255)
    done = prepare(encoded(unit, "TIFF"), to(16))
    np.testing.assert_array_equal(done.pixels[:, :, 0], grey)
    assert done.policies == Policy.FLOAT


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.full((4, 4), 700.0, np.float32), r"outside \[0, 1\]"),
        (np.full((4, 4), np.nan, np.float32), "not finite"),
        (np.full((4, 4), 70_000, np.int32), "mode I are not supported"),
    ],
)
def test_d8_what_has_no_range_is_refused_by_name(pixels: np.ndarray, reason: str) -> None:
    with pytest.raises(Bad, match=reason):
        prepare(encoded(Image.fromarray(pixels), "TIFF"), to(4))


def bomb(width: int, height: int) -> bytes:
    """A small PNG whose header promises a huge image."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return len(data).to_bytes(4, "big") + kind + data + check.to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    pixels = zlib.compress(b"\0" * 10_000_000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [12_000, 60_000])
def test_d9_a_bomb_is_refused_by_its_header(side: int, tmp_path: Path) -> None:
    assert side**2 > MAX_PIXELS
    (tmp_path / "bomb.png").write_bytes(bomb(side, side))
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from ganvae.data.decode import *\n"
        "from PIL import Image\n"
        "Image.init()\n"
        "status = lambda: Path('/proc/self/status').read_text()\n"
        "peak = lambda: int(status().split('VmHWM:')[1].split()[0])\n"
        "before = peak()\n"
        "try:\n    prepare(sys.argv[1], Preparation(height=16, width=16))\n"
        "except Bad as bad:\n    print(bad)\n"
        "assert peak() - before < 50_000, peak() - before\n"
    )
    run = [sys.executable, "-c", code, str(tmp_path / "bomb.png")]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert "134,217,728 pixels" in done.stdout, done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("resize", ["cover", "contain", "stretch", "pad"])
@pytest.mark.parametrize("size", [(1, 1), (3, 20_000), (20_000, 3), (16, 16), (17, 5), (40, 31)])
def test_d11_any_size_fits(resize: str, size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (10, 20, 30))
    how = to(16, 12, resize=resize, background=(200, 0, 0))
    done = prepare(encoded(image, "PNG"), how)
    assert done.pixels.shape == (12, 16, 3)
    middle = done.pixels[5:7, 7:9]  # is always the image's
    assert (middle == (10, 20, 30)).all(-1).any()
    has_border = bool((done.pixels == (200, 0, 0)).all(-1).any())
    assert has_border == (Policy.BORDERED in done.policies)
    assert Policy.BORDERED not in done.policies or resize in ("contain", "pad")
    assert Policy.CROPPED not in done.policies or resize in ("cover", "pad")
    assert (Policy.THIN in done.policies) == (max(size) > 4 * min(size))


def test_cover_takes_the_centre() -> None:
    pixels = np.zeros((30, 90, 3), np.uint8)
    pixels[:, 30:60] = 255
    done = prepare(encoded(Image.fromarray(pixels), "PNG"), to(10))
    assert done.pixels.min() > 200
    assert done.policies == Policy.REDUCED | Policy.CROPPED


def test_draft_stays_close_to_a_full_decode() -> None:
    image = photo(9, 640, 480)
    data = encoded(image, "JPEG", quality=95)
    got = prepare(data, to(32)).pixels.astype(int)
    full = Image.open(io.BytesIO(data)).crop((80, 0, 560, 480)).resize((32, 32), Image.LANCZOS)
    assert np.abs(got - np.asarray(full, int)).mean() < 2


def test_channels() -> None:
    grey, colour = photo(10, 8, 8, "L"), photo(10, 8, 8)
    assert prepare(encoded(grey.convert("RGB"), "PNG"), to(8)).pixels.shape == (8, 8, 1)
    done = prepare(encoded(colour, "PNG"), to(8, channels=1))
    np.testing.assert_array_equal(done.pixels[:, :, 0], np.asarray(colour.convert("L")))
    assert done.policies == Policy.GREYED
    np.testing.assert_array_equal(
        prepare_array(np.asarray(colour), to(8, channels=1)).pixels, done.pixels
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_a_coloured_border_colours_a_grey_image(channels: int) -> None:
    how = to(8, resize="pad", background=(255, 0, 0), channels=channels)
    pixels = prepare_array(np.zeros((4, 4), np.uint8), how).pixels
    assert pixels.shape == (8, 8, channels)


def test_arrays_of_the_right_size_pass_untouched() -> None:
    pixels = np.asarray(photo(11, 8, 8))
    np.testing.assert_array_equal(prepare_array(pixels, to(8)).pixels, pixels)
    alpha = np.dstack([pixels, np.zeros((8, 8), np.uint8)])
    assert (prepare_array(alpha, to(8, background=(1, 2, 3))).pixels == (1, 2, 3)).all()


def test_a_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    seen: list[str] = []

    def attempt() -> None:
        try:
            prepare(str(tmp_path / "pipe.png"), to(16))
        except Bad as bad:
            seen.append(str(bad))

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(5)
    assert seen == ["not a regular file"]


def test_sizes_are_bounded() -> None:
    for size in (0, -1, 5000):
        with pytest.raises(ConfigError, match="between 1 and 4096"):
            to(size)


def test_draft_of_a_turned_image_keeps_its_detail() -> None:
    upright = photo(12, 640, 480)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    data = encoded(turned, "JPEG", quality=95, exif=exif)
    for size in ((320, 20), (20, 240)):
        how = to(*size, resize="stretch")
        got = prepare(data, how).pixels.astype(int)
        want = prepare(encoded(upright, "PNG"), how).pixels.astype(int)
        assert np.abs(got - want).mean() < 2.5
