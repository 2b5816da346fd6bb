"""16-bit pictures of which not all bits are used."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganvae import config
from ganvae.data import open_data
from ganvae.data.decode import Policy, Preparation, depth_of, eight_bits, prepare, prepare_array
from ganvae.errors import ConfigError
from ganvae.tasks.exact import Picture

Setting = Callable[..., config.Data]


def deep(number: int, most: int) -> np.ndarray:
    """A 16-bit picture in which only the last one of ten reaches the highest value."""
    random = np.random.default_rng(number)
    made = random.integers(0, most if number == 9 else most // 2, (16, 16)).astype(np.uint16)
    made[0, 0] = most if number == 9 else 0
    return made


def written(root: Path, most: int) -> Path:
    root.mkdir(exist_ok=True)
    for number in range(10):
        Image.fromarray(deep(number, most)).save(
            root / f"{number}.{'png' if number % 2 else 'tif'}"
        )
    return root


@pytest.mark.parametrize(
    ("peak", "depth"),
    [(0, None), (1, 8), (255, 8), (256, 10), (1023, 10), (4000, 12), (4096, 14), (16383, 14),
     (16384, None), (65535, None)],
)  # fmt: skip
def test_the_highest_value_says_how_many_bits_there_are(peak: int, depth: int | None) -> None:
    assert depth_of(peak) == depth


def test_all_16_bits_are_scaled_as_ever() -> None:
    values = np.arange(65536, dtype=np.uint16)
    plain = ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    np.testing.assert_array_equal(eight_bits(values, None), plain)
    np.testing.assert_array_equal(eight_bits(values, 16), plain)
    assert eight_bits(np.array([0, 2048, 4095, 5000], np.uint16), 12).tolist() == [
        0,
        128,
        255,
        255,
    ]


def test_twelve_bits_are_seen_over_the_set_and_said(tmp_path: Path, setting: Setting) -> None:
    root = written(tmp_path / "cells", 4000)
    data = open_data(setting(root))
    pixels = data.store.read(np.arange(10))
    for row, name in enumerate(data.store.names()):
        expected = eight_bits(deep(int(name[0]), 4000), 12)
        np.testing.assert_array_equal(pixels[row, :, :, 0], expected)
    assert pixels.max() == 249 and data.depth == 12
    assert any("is above 4,000, so they are taken as of 12 bits: 4,095" in n for n in data.notes)
    again = open_data(setting(root))
    assert again.fingerprint == data.fingerprint and again.notes == data.notes
    said = open_data(setting(root, depth=12))
    assert said.fingerprint == data.fingerprint and not any("bits" in n for n in said.notes)
    (root / "9.png").unlink()  # the brightest
    assert (
        open_data(setting(root)).depth
        == 10 + (max(int(deep(n, 4000).max()) for n in range(9)) > 1023) * 2
    )
    dark = open_data(setting(root, depth=16))
    assert dark.store.read(np.arange(9)).max() < 16 and dark.depth is None
    assert any("are dark with data.depth 16; data.depth 1" in note for note in dark.notes)


def test_all_bits_are_used_where_a_value_needs_them(tmp_path: Path, setting: Setting) -> None:
    root = written(tmp_path / "full", 65535)
    data = open_data(setting(root))
    assert data.depth is None and data.store.meta["preparation"].keys().isdisjoint({"depth"})
    assert open_data(setting(root, depth=16)).fingerprint == data.fingerprint
    assert not any("bits" in note for note in data.notes)
    cut = open_data(setting(root, depth=12))
    assert cut.store.read(np.arange(10)).max() == 255
    assert any("pictures are brighter than data.depth" in note for note in cut.notes)
    with pytest.raises(ConfigError, match=r"data\.depth"):
        config.override(config.Config(), {"data.depth": 17})


def test_files_that_did_not_change_keep_their_height(tmp_path: Path, setting: Setting) -> None:
    root = written(tmp_path / "cells", 4000)
    assert open_data(setting(root)).depth == 12
    Image.fromarray(deep(20, 60_000)).save(root / "more.png")
    assert open_data(setting(root)).depth is None
    (root / "more.png").unlink()
    assert open_data(setting(root)).depth == 12


def test_arrays_archives_and_streams_have_the_same_rule(tmp_path: Path, setting: Setting) -> None:
    np.save(tmp_path / "a.npy", np.stack([deep(n, 4000) for n in range(10)]).astype(">u2"))
    array = open_data(setting(tmp_path / "a.npy"))
    shards = tmp_path / "shards"
    shards.mkdir()
    with tarfile.open(shards / "a.tar", "w") as archive:
        for number in range(10):
            file = io.BytesIO()
            Image.fromarray(deep(number, 4000)).save(file, "PNG")
            member = tarfile.TarInfo(f"{number}.png")
            member.size = file.tell()
            file.seek(0)
            archive.addfile(member, file)
    packed, streamed = open_data(setting(shards)), open_data(setting(shards, stream=True))
    assert array.depth == packed.depth == streamed.depth == 12
    assert streamed.stream is not None and streamed.stream.how.depth == 12
    for data in (packed, streamed):
        images = data.store.read(np.arange(10))
        assert {x.tobytes() for x in images} == {
            x.tobytes() for x in array.store.read(np.arange(10))
        }


def test_more_than_the_bits_that_were_chosen_is_cut_off_and_counted() -> None:
    how = Preparation(height=16, width=16, depth=12)
    made = prepare_array(deep(9, 5000), how)
    assert made.policies == Policy.DEEP | Policy.CUT_OFF and made.peak == 5000
    file = io.BytesIO()
    Image.fromarray(deep(9, 5000)).save(file, "PNG")
    again = prepare(file.getvalue(), how)
    np.testing.assert_array_equal(made.pixels, again.pixels)
    assert again.policies == made.policies and again.peak == made.peak


def test_a_model_sees_a_deep_picture_as_it_learnt_and_fills_it_so() -> None:
    pixels = np.array([[0, 2048], [4095, 4095]], np.uint16)[:, :, None]
    picture = replace(Picture(pixels, "I;16"), depth=12)
    x = picture.tensor(1, (255, 255, 255))
    assert torch.allclose(x[0], torch.tensor([[-1, 0], [1.0, 1.0]]), atol=1e-3)
    hole = np.array([[True, False], [False, False]])
    filled = picture.filled(torch.ones(1, 2, 2), hole)
    assert filled.pixels[:, :, 0].tolist() == [[4095, 2048], [4095, 4095]]
