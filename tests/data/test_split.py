from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganvae import config
from ganvae.data import open_data
from ganvae.data.split import by_content, duplicates, leaks

Make = Callable[..., Path]
Setting = Callable[..., config.Data]


def hashes(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 16)).astype(np.uint8)


@given(st.integers(2, 60), st.integers(0, 60), st.integers(0, 99), st.floats(0.05, 0.95))
def test_adding_images_moves_nobody(count: int, more: int, seed: int, share: float) -> None:
    all_of_them = hashes(count + more, seed)
    before, after = by_content(all_of_them[:count], share), by_content(all_of_them, share)
    assert before.any() and not before.all()
    nearest = (before.sum() == 1) | ((~before).sum() == 1)  # so few that one had to be chosen
    assert (before == after[:count]).all() or nearest


def test_most_images_of_a_larger_set_fall_as_the_share_says() -> None:
    assert abs(by_content(hashes(20_000), 0.1).mean() - 0.1) < 0.01


@given(st.lists(st.integers(0, 9), min_size=2, max_size=40))
def test_copies_stay_together(which: list[int]) -> None:
    values = hashes(10)[which]
    if len(set(which)) > 1:
        side = by_content(values, 0.3)
        sides = {k: {bool(s) for w, s in zip(which, side, strict=True) if w == k} for k in which}
        assert all(len(found) == 1 for found in sides.values())
    groups = duplicates(values)
    assert {tuple(group) for group in groups} == {
        tuple(np.flatnonzero(np.array(which) == k)) for k in which if which.count(k) > 1
    }


def test_duplicates_never_straddle_a_folders_split(make: Make, setting: Setting) -> None:
    root = make(60)
    for number in range(60):
        shutil.copy(root / f"{number}.png", root / f"again{number}.png")
    data = open_data(setting(root, test_share=0.4))
    assert data.report["duplicates"] == 60 and data.report["leaks"] == 0
    held_out = set(data.test.names())
    assert 0 < len(held_out) < 120
    for number in range(60):
        assert (f"{number}.png" in held_out) == (f"again{number}.png" in held_out)


def test_a_folder_that_grows_moves_nobody(make: Make, setting: Setting) -> None:
    before = open_data(setting(make(60)))
    after = open_data(setting(make(60, first=60)))
    assert set(before.test.names()) < set(after.test.names())
    assert set(before.train.names()) < set(after.train.names())


@pytest.mark.parametrize("planted", [0, 1, 7])
def test_d16_planted_leaks_are_all_found_and_said(
    planted: int, make: Make, setting: Setting
) -> None:
    train = make(20, "set/train")
    test = make(10, "set/test", first=100)
    for number in range(planted):
        shutil.copy(train / f"{number}.png", test / f"planted{number}.png")
    data = open_data(setting(train.parent))
    assert data.report["leaks"] == planted == len(data.leaked)
    names = data.test.names()
    assert [names[k] for k in data.leaked] == [f"test/planted{n}.png" for n in range(planted)]
    said = [note for note in data.notes if "also training images" in note]
    assert len(said) == bool(planted)


def test_leaks_by_hash() -> None:
    values = hashes(6)
    values[5] = values[0]
    found = leaks(values, np.array([0, 1, 2]), np.array([3, 4, 5]))
    assert found.tolist() == [5]


def test_few_images_are_said(make: Make, setting: Setting) -> None:
    data = open_data(setting(make(3), test_share=0.01))
    assert len(data.test) == 1 and any("so few images" in note for note in data.notes)
