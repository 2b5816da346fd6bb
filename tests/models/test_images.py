from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ganvae.errors import CheckpointError
from ganvae.models.images import (
    grid,
    in_channels,
    make_gif,
    picture,
    save_png,
    sheet_of_sources,
    to_tensor,
    to_uint8,
)


def test_every_level_survives_the_round_trip():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, 3)
    assert np.array_equal(to_uint8(to_tensor(levels)), levels)
    assert to_tensor(levels).min() == -1 and to_tensor(levels).max() == 1
    assert to_tensor(levels).is_contiguous(memory_format=torch.channels_last)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 4), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))
def test_to_uint8_rounds_and_clips(b, c, h, w):
    x = torch.randn(b, c, h, w) * 2
    expected = ((x.clamp(-1, 1) + 1) / 2 * 255).round().permute(0, 2, 3, 1).numpy()
    found = to_uint8(x)
    assert found.shape == (b, h, w, c) and found.dtype == np.uint8
    assert np.abs(found.astype(float) - expected).max(initial=0) <= 1
    assert found.flags["C_CONTIGUOUS"]


def test_bad_images_are_named():
    with pytest.raises(ValueError, match="finite"):
        to_uint8(torch.full((1, 1, 2, 2), float("nan")))
    with pytest.raises(ValueError, match=r"\(B, C, H, W\), got \(2, 2\)"):
        to_uint8(torch.zeros(2, 2))
    with pytest.raises(ValueError, match="uint8"):
        to_tensor(np.zeros((1, 2, 2, 1)))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_grid_puts_every_image_in_its_place(channels: int):
    pixels = np.arange(5 * 2 * 3 * channels, dtype=np.uint8).reshape(5, 2, 3, channels)
    sheet = np.asarray(grid(pixels, 2, gap=1))
    assert sheet.shape[:2] == (3 * 3 + 1, 2 * 4 + 1)
    sheet = sheet.reshape(*sheet.shape[:2], channels)
    for i, image in enumerate(pixels):
        y, x = 1 + i // 2 * 3, 1 + i % 2 * 4
        assert np.array_equal(sheet[y : y + 2, x : x + 3], image), i
    assert (sheet[7:9, 5:8] == 255).all()  # the place of the missing sixth
    assert (sheet[0] == 255).all() and (sheet[:, 4] == 255).all()


def test_grid_sizes():
    x = torch.zeros(10, 3, 4, 4)
    assert grid(x).size == (4 * 6 + 2, 3 * 6 + 2)
    assert grid(x, 5, gap=0).size == (20, 8)
    assert grid(x, 5, gap=0, scale=3).size == (60, 24)
    assert grid(torch.zeros(2, 2, 4, 4), 2, gap=0).size == (16, 4)  # two channels, side by side
    for bad in ({"columns": 0}, {"gap": -1}, {"scale": 0}):
        with pytest.raises(ValueError, match="no grid"):
            grid(x, **bad)
    with pytest.raises(ValueError, match="at least one"):
        grid(x[:0])


def test_pictures_have_the_mode_of_their_channels():
    modes = [picture(np.zeros((2, 2, c), np.uint8)).mode for c in (1, 2, 3, 4, 5)]
    assert modes == ["L", "L", "RGB", "RGBA", "L"]


def test_png_files_hold_the_pixels(tmp_path: Path):
    x = torch.rand(3, 5, 4) * 2 - 1
    path = save_png(x, tmp_path / "deep" / "x.png")
    with Image.open(path) as image:
        assert np.array_equal(np.asarray(image), to_uint8(x[None])[0])
        assert image.mode == "RGB" and image.size == (4, 5)
    save_png(np.zeros((2, 2, 1), np.uint8), path)
    save_png(grid(x[None]), path)
    assert [p.name for p in path.parent.iterdir()] == ["x.png"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch):
    path = save_png(torch.zeros(1, 2, 2), tmp_path / "x.png")
    before = path.read_bytes()

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(CheckpointError, match="disk full"):
        save_png(torch.ones(1, 2, 2), path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["x.png"]


@pytest.mark.parametrize("channels", [1, 3])
def test_gif_has_all_frames(tmp_path: Path, channels: int):
    frames = torch.linspace(-1, 1, 6)[:, None, None, None].expand(6, channels, 4, 4)
    path = make_gif(frames, tmp_path / "x.gif", duration=40, scale=2)
    with Image.open(path) as image:
        assert image.n_frames == 6 and image.size == (8, 8)
        assert image.info["duration"] == 40 and image.info["loop"] == 0
        for i in range(6):
            image.seek(i)
            level = int(np.asarray(image.convert("L"))[0, 0])
            assert abs(level - i * 51) <= 2
    with pytest.raises(ValueError, match="at least one"):
        make_gif(frames[:0], path)


@pytest.mark.parametrize(("before", "channels"), [(1, 3), (2, 3), (3, 3), (4, 3), (3, 1), (1, 1)])
def test_sources_are_shown_in_the_channels_of_others(before: int, channels: int) -> None:
    x = torch.rand(2, before, 4, 4)
    shown = in_channels(x, channels)
    assert shown.shape == (2, channels, 4, 4)
    for channel in range(channels):
        assert torch.equal(shown[:, channel], x[:, channel if before >= channels else 0])


def test_a_sheet_of_sources_has_a_row_each() -> None:
    source, target = -torch.ones(2, 1, 4, 4), torch.ones(2, 3, 4, 4)
    variants = torch.zeros(2, 5, 3, 4, 4)
    sheet = np.asarray(sheet_of_sources(source, variants, target))
    assert sheet.shape == (2 * 6 + 2, 7 * 6 + 2, 3)
    for row in (2, 8):
        assert (sheet[row, 2] == 0).all() and (sheet[row, 8] == 128).all()
        assert (sheet[row, 38] == 255).all()
    assert sheet_of_sources(source, variants).size == (6 * 6 + 2, 14)
    assert sheet_of_sources(source, variants, channels=1, scale=2).mode == "L"
