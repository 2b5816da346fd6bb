"""A picture is read with all its bits, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from ganvae.errors import DataError
from ganvae.tasks.exact import Picture, read

RAMP = np.linspace(0, 255, 32 * 32 * 3).astype(np.uint8).reshape(32, 32, 3)
pillow_heif.register_heif_opener()


@pytest.mark.parametrize("ending", ["avif", "heic", "ppm"])
def test_pictures_of_every_format_are_read(ending: str, tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(path := tmp_path / f"a.{ending}", quality=95)
    picture = read(path)
    assert picture.mode == "RGB" and picture.exact == (ending == "ppm")
    assert abs(picture.pixels.astype(int) - RAMP).mean() < 3


def test_16_bits_of_a_grey_map_are_kept(tmp_path: Path) -> None:
    deep = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32) * 64
    (tmp_path / "a.pgm").write_bytes(b"P5 32 32 65535\n" + deep.astype(">u2").tobytes())
    picture = read(tmp_path / "a.pgm")
    assert picture.mode == "I;16" and (picture.pixels[:, :, 0] == deep).all()


def test_more_bits_than_pillow_keeps_are_refused(tmp_path: Path) -> None:
    deep = (np.linspace(0, 65535, 32 * 32 * 3).reshape(32, 32, 3)).astype(np.uint16)
    file = pillow_heif.from_bytes("RGB;16", (32, 32), deep.tobytes())
    file.save(tmp_path / "a.heic", quality=90)
    with pytest.raises(DataError, match=r"a.heic has 1[02] bits a colour, which would become 8"):
        read(tmp_path / "a.heic")
    (tmp_path / "a.ppm").write_bytes(b"P6 2 2 65535\n" + bytes(24))
    with pytest.raises(DataError, match=r"a.ppm has 16 bits a colour"):
        read(tmp_path / "a.ppm")


def test_a_picture_that_is_not_read_is_named_with_its_mend(tmp_path: Path) -> None:
    (tmp_path / "a.psd").write_bytes(b"8BPS\0\1" + bytes(30))
    with pytest.raises(DataError, match=r"a picture of the kind \.psd, not read; export"):
        read(tmp_path / "a.psd")


def test_white_is_what_the_model_took_for_it() -> None:
    values = np.array([[[0], [4095], [2000], [65535]]], np.uint16)
    picture = Picture(values, "I;16", depth=12)
    seen = picture.tensor(1, (255, 255, 255))
    np.testing.assert_allclose(seen[0, 0].numpy(), [-1, 1, 2000 / 4095 * 2 - 1, 1], atol=1e-6)
    hole = np.array([[False, True, True, False]])
    filled = picture.filled(seen, hole)
    assert filled.pixels[:, :, 0].tolist() == [[0, 4095, 2000, 65535]]
