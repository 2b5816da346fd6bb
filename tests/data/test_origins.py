from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ganvae import config
from ganvae.data import Batches, Data, open_data, origins
from ganvae.data.origins import Origin
from ganvae.data.subset import to_float
from ganvae.errors import ConfigError

from .conftest import photo

Make = Callable[..., Path]
Setting = Callable[..., config.Data]
MADE = ("low_resolution", "grey", "noise", "edges")


def levels(image: Tensor) -> np.ndarray:
    """(H, W) or (H, W, C) in 8-bit levels."""
    return ((image[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy().squeeze()


@pytest.fixture
def pixels() -> np.ndarray:
    return np.asarray(photo(3, 32, 24))


@pytest.fixture
def image(pixels: np.ndarray) -> Tensor:
    return to_float(torch.from_numpy(pixels.copy())[None])


def test_grey_is_what_pillow_makes_of_it(image: Tensor, pixels: np.ndarray) -> None:
    got = origins.grey(image)
    assert got.shape == (1, 1, 24, 32)
    np.testing.assert_array_equal(levels(got), np.asarray(Image.fromarray(pixels).convert("L")))
    assert torch.equal(origins.grey(got), got)


def test_low_resolution_is_a_small_file_enlarged(image: Tensor, pixels: np.ndarray) -> None:
    small = np.rint(pixels.reshape(6, 4, 8, 4, 3).mean((1, 3))).astype(np.uint8)
    want = Image.fromarray(small).resize((32, 24), Image.Resampling.LANCZOS)
    difference = levels(origins.low_resolution(image)).astype(int) - np.asarray(want, int)
    assert abs(difference).max() <= 2 and abs(difference).mean() < 0.5  # Pillow rounds between


@pytest.mark.parametrize("shape", [(1, 3, 5, 7), (2, 1, 1, 1), (2, 3, 2, 9), (1, 1, 30, 34)])
def test_low_resolution_of_any_size_keeps_what_is_flat(shape: tuple[int, ...]) -> None:
    flat = to_float(torch.full((shape[0], *shape[2:], shape[1]), 77, dtype=torch.uint8))
    assert torch.equal(origins.low_resolution(flat), flat)


def test_noise_has_the_stated_size_and_its_own_seed() -> None:
    grey = torch.zeros(8, 3, 64, 64)
    got = origins.noise(grey, np.arange(8))
    assert abs((got * 127.5).std() - origins.SIGMA) < 0.3 and abs(got.mean()) < 0.01
    assert torch.equal(got[2:4], origins.noise(grey[2:4], np.arange(2, 4)))
    assert len(got.flatten(1).unique(dim=0)) == 8
    white = origins.noise(torch.ones(1, 1, 64, 64), np.arange(1))
    assert white.max() == 1 and abs((white == 1).float().mean() - 0.5) < 0.03


def test_edges_are_sobel_black_on_white(image: Tensor) -> None:
    step = torch.full((1, 1, 8, 8), -1.0)
    step[..., 4:] = 1
    got = levels(origins.edges(step))
    assert (got[:, 3:5] == 0).all() and (np.delete(got, [3, 4], 1) == 255).all()
    assert (levels(origins.edges(step.mT)) == got.T).all()
    assert (origins.edges(torch.full((2, 3, 5, 5), 0.2)) == 1).all()
    luma = np.pad(levels(origins.grey(image)).astype(float), 1, mode="edge")
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    windows = np.lib.stride_tricks.sliding_window_view(luma, (3, 3))
    across, down = ((windows * k).sum((2, 3)) for k in (kernel, kernel.T))
    want = np.rint(255 - np.hypot(across, down) / 4).clip(0)
    np.testing.assert_array_equal(levels(origins.edges(image)), want)


def test_masked_keeps_the_known_pixels_and_tells_the_hole(image: Tensor) -> None:
    got = Origin("masked", "centre")(image, np.arange(1))
    assert got.shape == (1, 4, 24, 32) == (1, Origin("masked").channels(3), 24, 32)
    hole = got[:, 3:] == 1
    assert hole[0, 0, 6:18, 8:24].all() and hole.sum() == 12 * 16
    assert torch.equal(got[:, :3], image * ~hole)


@pytest.mark.parametrize("kind", MADE)
def test_made_sources_are_what_a_file_holds(kind: origins.Kind, image: Tensor) -> None:
    origin = Origin(kind)
    for x in (image, image[:, :1]):
        got = origin(x, np.arange(1))
        assert got.shape == (1, origin.channels(x.shape[1]), 24, 32)
        assert got.dtype == torch.float32 and got.abs().max() <= 1
        whole = ((got + 1) * 127.5).round().byte().permute(0, 2, 3, 1)
        assert torch.equal(to_float(whole), got)
        assert origin(x[:0], np.arange(0)).shape == got[:0].shape


@pytest.mark.parametrize("kind", ["masked", *MADE])
def test_a_source_does_not_depend_on_its_batch(kind: origins.Kind) -> None:
    images = to_float(
        torch.from_numpy(np.stack([np.asarray(photo(n, 21, 21)) for n in range(12)]))
    )
    seeds = np.arange(12) * 1000
    whole = Origin(kind)(images, seeds)
    for rows in ([0], [3, 4], [11, 2, 7, 1, 5]):
        assert torch.equal(Origin(kind)(images[rows], seeds[rows]), whole[rows])


# ------------------------------------------------------------------------------- of a data set


@pytest.fixture
def opened(make: Make, setting: Setting) -> Callable[..., Data]:
    def build(**options: object) -> Data:
        return open_data(setting(make(40), test_share=0.3, **options))

    return build


CASES = [{"task": "complete"}, *({"task": "translate", "origin": kind} for kind in MADE)]


@pytest.mark.parametrize("options", CASES, ids=lambda o: str(o.get("origin", "masked")))
def test_parts_of_a_step_have_the_steps_sources(
    options: dict[str, object], opened: Callable[..., Data]
) -> None:
    data = opened(**options)
    assert data.paired is True and data.source_channels == data.train.source_channels > 0
    batches = Batches(data.train, batch=12, seed=5, flip=True)
    for step in (0, 2, 9):
        whole = batches.at(step)
        assert whole.source is not None
        assert whole.source.shape == (12, data.source_channels, 16, 16)
        for world, micros in ((1, 4), (2, 3), (12, 1)):
            parts = [
                batches.at(step, rank=rank, world=world, micro=micro, micros=micros).source
                for rank in range(world)
                for micro in range(micros)
            ]
            assert torch.equal(torch.cat([p for p in parts if p is not None]), whole.source)
        again = Batches(data.train, batch=12, seed=5, flip=True).at(step).source
        assert again is not None and torch.equal(again, whole.source)


def test_a_source_is_made_of_the_mirrored_image(opened: Callable[..., Data]) -> None:
    for data, make in (
        (opened(task="translate", origin="grey"), lambda b: origins.grey(b.image)),
        (opened(task="complete"), lambda b: origins.masked(b.image, b.source[:, -1:])),
    ):
        for step in range(3):
            batch = Batches(data.train, batch=16, seed=1, flip=True).at(step)
            assert batch.source is not None and torch.equal(batch.source, make(batch))


def test_chance_is_new_in_each_epoch_and_seed(opened: Callable[..., Data]) -> None:
    data = opened(task="complete", masks="brush")
    count = len(data.train)

    def holes(seed: int, step: int) -> dict[bytes, bytes]:
        batch = Batches(data.train, batch=count, seed=seed).at(step)
        assert batch.source is not None
        return {
            x.numpy().tobytes(): m.numpy().tobytes()
            for x, m in zip(batch.image, batch.source[:, -1], strict=True)
        }

    one, next_, other = holes(1, 0), holes(1, 1), holes(2, 0)
    assert one.keys() == next_.keys() == other.keys()
    for image, hole in one.items():
        assert hole != next_[image] and hole != other[image]


def test_held_out_sources_are_fixed(opened: Callable[..., Data]) -> None:
    for options in CASES:
        data = opened(**options)
        rows = np.arange(len(data.test))
        whole = data.test.sources(rows)
        assert torch.equal(data.test.sources(rows[::-1]).flip(0), whole)
        assert torch.equal(opened(**options).test.sources(rows[2:4]), whole[2:4])
        chance = options.get("origin", "noise") == "noise"
        assert torch.equal(data.test.sources(rows, seed=1), whole) != chance
    plain = opened()
    assert plain.paired is None and plain.source_channels == 0
    assert Batches(plain.train, batch=4, seed=0).at(0).source is None
    with pytest.raises(ValueError, match="no sources"):
        plain.test.sources([0])


def test_the_fingerprint_tells_tasks_apart_and_images_stay_the_same(
    opened: Callable[..., Data],
) -> None:
    every = [opened(), opened(task="complete", masks="box"), *(opened(**o) for o in CASES)]
    assert len({data.fingerprint for data in every}) == len(every)
    assert len({data.test.fingerprint for data in every}) == 1  # judged by the same images
    first = [Batches(data.train, batch=8, seed=3, flip=True).at(1).image for data in every]
    assert all(torch.equal(image, first[0]) for image in first)


def test_settings_that_cannot_be(make: Make, setting: Setting, tmp_path: Path) -> None:
    root = make(4)
    with pytest.raises(ConfigError, match=r"choose data\.task translate"):
        open_data(setting(root, origin="grey"))
    with pytest.raises(ConfigError, match="no colour to learn"):
        open_data(setting(root, task="translate", origin="grey", channels=1))
    with pytest.raises(ConfigError, match="too small to complete"):
        open_data(setting(root, task="complete", size=1))
