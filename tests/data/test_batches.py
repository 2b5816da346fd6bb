from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ganvae.data import Batches, Data, Images, open_data
from ganvae.data.subset import to_float
from ganvae.errors import ConfigError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """100 numbered images; the number is every pixel of the left column."""
    from ganvae import config

    folder = tmp_path_factory.mktemp("numbered")
    images = np.zeros((100, 4, 4, 3), np.uint8)
    images[:, :, 0, :] = np.arange(100)[:, None, None]
    images[:, 0, 1, 0] = 255  # coloured, and not symmetric
    np.savez(folder / "n.npz", images=images, labels=np.arange(100) % 3)
    return open_data(config.Data(path=str(folder / "n.npz"), cache=str(folder)), labels=True)


def numbers(images: Tensor) -> list[int]:
    """Which images these are."""
    left = images[:, 2, 3, [0, 3]].amax(1)
    return ((left + 1) * 127.5).round().int().tolist()


def test_pixels_become_numbers_in_minus_one_to_one(data: Data) -> None:
    raw, images = data.train.take([3, 1, 3]), data.train.images([3, 1, 3])
    assert raw.dtype == torch.uint8 and raw.shape == (3, 4, 4, 3)
    assert images.shape == (3, 3, 4, 4) and images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close((images.permute(0, 2, 3, 1) + 1) * 127.5, raw.float())
    every = to_float(torch.arange(256, dtype=torch.uint8).reshape(1, 1, 256, 1)).flatten()
    assert every[0] == -1 and every[-1] == 1 and (every.diff() > 0).all()


def test_positions_are_checked(data: Data) -> None:
    for wrong in ([-1], [len(data.train)]):
        with pytest.raises(IndexError):
            data.train.take(wrong)
    assert data.train.take([]).shape == (0, 4, 4, 3)
    with pytest.raises(ValueError, match="at least 1"):
        next(data.train.batches(0))


def test_all_images_in_order(data: Data) -> None:
    got = torch.cat(list(data.train.batches(7)))
    torch.testing.assert_close(got, data.train.images(np.arange(len(data.train))))
    assert [int(name) for name in data.train.names()] == numbers(got)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 40), st.integers(0, 2**63), st.integers(0, 20))
def test_every_epoch_has_every_image_once(data: Data, batch: int, seed: int, skip: int) -> None:
    batches = Batches(data.train, batch=batch, seed=seed)
    count = len(data.train)
    start = skip * count
    steps = range(start // batch, (start + count) // batch + 2)
    stream = [n for step in steps for n in numbers(batches.at(step).image)]
    offset = start - steps[0] * batch
    assert sorted(stream[offset : offset + count]) == sorted(map(int, data.train.names()))


def test_orders_differ_by_epoch_and_seed_and_follow_from_them(data: Data) -> None:
    count = len(data.train)
    one, other = (Batches(data.train, batch=count, seed=seed) for seed in (1, 2))
    first = numbers(one.at(0).image)
    assert first != numbers(one.at(1).image)
    assert first != numbers(other.at(0).image)
    late = numbers(one.at(1000).image)
    assert late == numbers(Batches(data.train, batch=count, seed=1).at(1000).image)
    assert first == numbers(one.at(0).image)


@pytest.mark.parametrize(("world", "micros"), [(1, 4), (2, 1), (2, 3), (12, 1)])
def test_parts_of_a_step_are_the_step(data: Data, world: int, micros: int) -> None:
    batches = Batches(data.train, batch=12, seed=5, flip=True)
    for step in (0, 7, 8):  # step 7 runs over the end of the first epoch
        whole = batches.at(step)
        parts = [
            batches.at(step, rank=rank, world=world, micro=micro, micros=micros)
            for rank in range(world)
            for micro in range(micros)
        ]
        torch.testing.assert_close(torch.cat([part.image for part in parts]), whole.image)
        assert whole.label is not None
        labels = [part.label for part in parts if part.label is not None]
        torch.testing.assert_close(torch.cat(labels), whole.label)
        noise = torch.cat([part.noise.normal(2) for part in parts])
        torch.testing.assert_close(noise, whole.noise.normal(2))


def test_labels_stay_with_their_images(data: Data) -> None:
    batch = Batches(data.train, batch=30, seed=0).at(2)
    assert batch.label is not None and batch.label.dtype == torch.int64
    assert batch.label.tolist() == [n % 3 for n in numbers(batch.image)]
    assert data.classes == ["0", "1", "2"]


def test_flips_are_half_and_new_in_each_epoch(data: Data) -> None:
    count = len(data.train)
    batches = Batches(data.train, batch=count, seed=3, flip=True)
    plain = Batches(data.train, batch=count, seed=3)
    mirrored = []
    for step in range(4):
        got, want = batches.at(step).image, plain.at(step).image
        turned = torch.tensor([bool((g != w).any()) for g, w in zip(got, want, strict=True)])
        torch.testing.assert_close(
            got, torch.where(turned[:, None, None, None], want.flip(3), want)
        )
        order = numbers(want)
        mirrored.append({n for n, t in zip(order, turned.tolist(), strict=True) if t})
        assert 0.3 < turned.float().mean() < 0.7
    assert len({frozenset(m) for m in mirrored}) == 4


def test_a_batch_that_cannot_be_shared_is_refused(data: Data) -> None:
    with pytest.raises(ConfigError, match="multiple of 8"):
        Batches(data.train, batch=12, seed=0).at(0, world=4, micros=2)
    with pytest.raises(ConfigError, match="at least 1"):
        Batches(data.train, batch=0, seed=0)


def test_d10_fewer_images_than_a_batch(
    make: Callable[..., Path], setting: Callable[..., object]
) -> None:
    small = open_data(setting(make(10)))  # type: ignore[arg-type]
    count = len(small.train)
    batches = Batches(small.train, batch=64, seed=0)
    assert batches.batch == count and "lowered from 64" in batches.notes[0]
    assert batches.at(0).image.shape == (count, 3, 16, 16)
    even = Batches(small.train, batch=64, seed=0, multiple=2)
    assert even.batch % 2 == 0 and even.batch >= count - 1
    with pytest.raises(ConfigError, match="cannot be shared by 64"):
        Batches(small.train, batch=64, seed=0, multiple=64)


def test_fingerprints_tell_images_and_labels(data: Data) -> None:
    store, rows = data.store, np.arange(10)
    same = Images(store, rows).fingerprint
    assert same == Images(store, rows).fingerprint
    assert same != Images(store, rows[::-1]).fingerprint
    assert same != Images(store, rows, np.zeros(10, np.int32)).fingerprint
