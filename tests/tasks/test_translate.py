"""Translation: what is read, and what is written."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganvae import tasks
from ganvae.errors import ConfigError, DataError
from ganvae.models.images import save_png, to_tensor, to_uint8


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for i in range(5):
        save_png(random.integers(0, 256, (16, 16, 1), np.uint8), tmp_path / "in" / f"{i}.png")
    return tmp_path / "in"


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


@pytest.mark.parametrize("name", ["bicycle", "unit"])
def test_a_png_a_variant_and_a_sheet(make_translation, sources, tmp_path, name):
    model = make_translation(name)
    told = []
    *paths, sheet, index = tasks.translate(
        model, sources, tmp_path / "out", variants=2, batch=3, seed=4,
        progress=lambda *now: told.append(now),
    )  # fmt: skip
    assert [p.name for p in paths[:3]] == ["000000_00.png", "000000_01.png", "000001_00.png"]
    source = np.stack([pixels(f).astype(np.uint8)[:, :, None] for f in sorted(sources.iterdir())])
    expected = to_uint8(model.translate(to_tensor(source), 2, seed=4).flatten(0, 1))
    for path, image in zip(paths, expected, strict=True):
        assert np.abs(pixels(path) - image).max() <= 1
    shown = pixels(sheet)[::4, ::4]
    assert shown.shape == (5 * 18 + 2, 3 * 18 + 2, 3)
    for i in range(5):
        row = shown[2 + 18 * i : 18 + 18 * i]
        assert np.array_equal(row[:, 2:18], source[i].repeat(3, 2))
        assert np.abs(row[:, 38:54] - expected[2 * i + 1]).max() <= 1
    assert json.loads(index.read_text())["images"] == [f"{i}.png" for i in range(5)]
    assert told[-1] == ("translating", 5, None)


def test_a_sheet_alone(make_translation, sources, tmp_path):
    model = make_translation("bicycle")
    (path,) = tasks.translate(model, sources, tmp_path / "s.png", variants=3, n=2)
    assert path.name == "s.png" and pixels(path).shape == ((2 * 18 + 2) * 4, (4 * 18 + 2) * 4, 3)
    (again,) = tasks.translate(model, sources / "0.png", tmp_path / "one.png", variants=3)
    assert pixels(again).shape[0] == 20 * 4


def test_only_the_number_of_channels_is_adapted(make_translation, sources, tmp_path):
    grey, colour = make_translation("bicycle", source=1), make_translation("bicycle", source=3)
    for model in (grey, colour):
        tasks.translate(model, sources, tmp_path / "s.png", variants=1)
    save_png(np.full((40, 20, 3), [200, 10, 10], np.uint8), tmp_path / "wide" / "w.png")
    for model in (grey, colour):
        tasks.translate(model, tmp_path / "wide", tmp_path / "s.png", variants=1)


def test_the_way_back(make_translation, tmp_path):
    model = make_translation("unit")
    save_png(np.full((16, 16, 3), [200, 10, 10], np.uint8), tmp_path / "in" / "w.png")
    *paths, _, index = tasks.translate(
        model, tmp_path / "in", tmp_path / "out", variants=2, reverse=True
    )
    assert pixels(paths[0]).shape == (16, 16) and json.loads(index.read_text())["reverse"]
    with pytest.raises(ConfigError, match="pairs, which have one direction"):
        tasks.translate(make_translation("bicycle"), "absent", tmp_path / "no", reverse=True)


def test_what_cannot_be_is_said_before_anything_is_written(
    model, completion, make_translation, sources, tmp_path
):
    for other in (model, completion):
        with pytest.raises(ConfigError, match="cannot translate them: train one with --task"):
            tasks.translate(other, sources, tmp_path / "no")
    bicycle = make_translation("bicycle")
    with pytest.raises(ValueError, match="variants must be 1"):
        tasks.translate(bicycle, sources, tmp_path / "no", variants=0)
    with pytest.raises(DataError, match="absent"):
        tasks.translate(bicycle, "absent", tmp_path / "no")
    assert not (tmp_path / "no").exists()
