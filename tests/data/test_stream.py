"""Shards that are read while training: order, parts, places to go on from, what is held out."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganvae import config
from ganvae.data import Data, difference, open_data, sample, stream
from ganvae.data.check import check
from ganvae.data.stream import StreamBatches
from ganvae.errors import ConfigError, DataError
from ganvae.types import Batch, Noise

from .conftest import encoded, parquet, tar

Setting = Callable[..., config.Data]
COUNTS = (12, 7, 9, 12, 3, 11, 10)
TOTAL = sum(COUNTS)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BLOCK", 24)
    monkeypatch.setattr(stream, "AT_ONCE", 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven shards of unequal size; one holds a file that is no image."""
    (tmp_path / "shards").mkdir()
    first = 0
    for shard, count in enumerate(COUNTS):
        content = tar(range(first, first + count))
        if shard == 2:
            content = content.replace(encoded(first + 4), bytes(len(encoded(first + 4))))
        (tmp_path / "shards" / f"{shard}.tar").write_bytes(content)
        first += count
    return tmp_path / "shards"


@pytest.fixture
def open_stream(folder: Path, setting: Setting) -> Callable[..., Data]:
    def build(path: Path = folder, **options: Any) -> Data:
        chosen = setting(path, **{"size": 8, "stream": True, "max_bad": 0.1} | options)
        return open_data(chosen, workers=0)

    return build


Open = Callable[..., Data]


@pytest.fixture
def batches() -> Iterator[Callable[..., StreamBatches]]:
    made: list[StreamBatches] = []

    def build(data: Data, **options: Any) -> StreamBatches:
        assert data.stream is not None
        made.append(StreamBatches(data.stream, **{"batch": 6, "seed": 3} | options))
        return made[-1]

    yield build
    for each in made:
        each.close()


Make = Callable[..., StreamBatches]


@cache
def number_of() -> dict[bytes, int]:
    images = {n: np.asarray(Image.open(io.BytesIO(encoded(n)))) for n in range(TOTAL)}
    return {image.tobytes(): number for number, image in images.items()}


def numbers(batch: Batch) -> list[int]:
    """Which pictures a batch holds."""
    known = number_of()
    pixels = batch.image.add(1).mul(127.5).round().to(torch.uint8).permute(0, 2, 3, 1)
    return [known[image.contiguous().numpy().tobytes()] for image in pixels]


def seen(batches: StreamBatches, steps: int) -> tuple[list[int], list[int]]:
    """The pictures of some steps, and the epoch of each."""
    pictures, epochs = [], []
    for step in range(steps):
        pictures += numbers(batches.at(step))
        block, offset = divmod(step, batches.steps)
        held = batches._block(block)
        rows = slice(offset * batches.local_batch, (offset + 1) * batches.local_batch)
        epochs += held.epochs[held.order[rows]].tolist()
    return pictures, epochs


def packed(data: Data, part: str) -> set[int]:
    images = getattr(data, part).take(range(len(getattr(data, part)))).numpy()
    known = number_of()
    return {known[image.tobytes()] for image in images}


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_every_process_reads_shards_of_its_own_and_all_read_everything(
    world: int, open_stream: Open, batches: Make
) -> None:
    data = open_stream()
    training = packed(data, "train")
    assert len(training) + len(packed(data, "test")) == TOTAL - 1
    for epoch in (0, 1):
        read: list[int] = []
        for rank in range(world):
            one = batches(data, batch=3 * world, rank=rank, world=world)
            pictures, epochs = seen(one, 16 + 80 // (3 * world))
            assert epochs == sorted(epochs) and epochs[-1] > epoch
            read += [number for number, its in zip(pictures, epochs) if its == epoch]
        assert sorted(read) == sorted(training)  # once each, and nothing that is held out


def test_what_is_held_out_is_what_packing_holds_out(
    open_stream: Open, setting: Setting, folder: Path
) -> None:
    for share in (0.1, 0.4, 0.9):
        streamed = open_stream(test_share=share)
        whole = open_data(setting(folder, size=8, test_share=share, max_bad=0.1))
        for part in ("train", "test"):
            assert packed(streamed, part) == packed(whole, part)


@pytest.mark.parametrize("share", [1e-9, 1 - 1e-9])
def test_of_few_images_one_is_on_either_side(
    share: float, open_stream: Open, batches: Make
) -> None:
    data = open_stream(test_share=share)
    assert min(len(data.train), len(data.test)) == 1
    one = batches(data)
    steps = 4 if len(data.train) == 1 else 24
    read = {number for step in range(steps) for number in numbers(one.at(step))}
    assert read == packed(data, "train")


def test_the_order_is_another_one_for_every_epoch_and_seed(
    open_stream: Open, batches: Make
) -> None:
    data = open_stream()
    pictures, epochs = seen(batches(data), 30)
    first, second = (
        [number for number, its in zip(pictures, epochs) if its == epoch] for epoch in (0, 1)
    )
    assert sorted(first) == sorted(second) and first != second
    assert first != sorted(first)
    assert seen(batches(data), 30)[0] == pictures
    assert seen(batches(data, seed=4), 30)[0] != pictures


def drawn(noise: Noise) -> torch.Tensor:
    """Its next numbers, without moving on."""
    state = noise._generator.get_state()
    numbers = noise.normal(3)
    noise._generator.set_state(state)
    return numbers


def same(left: Batch, right: Batch) -> bool:
    parts = zip(vars(left).values(), vars(right).values())
    return (
        all(torch.equal(a, b) for a, b in parts if isinstance(a, torch.Tensor))
        and torch.equal(drawn(left.noise), drawn(right.noise))
        and (left.noise.rows, left.noise.total) == (right.noise.rows, right.noise.total)
    )


@pytest.mark.parametrize(
    "options", [{}, {"labels": True}, {"task": "complete"}], ids=["plain", "labels", "complete"]
)
def test_it_goes_on_at_any_step(options: dict[str, Any], open_stream: Open, batches: Make) -> None:
    data = open_stream(**options)
    common = {"flip": True, "batch": 8, "world": 2}

    def agree(*slots: float) -> list[float]:  # the other process is asked in between
        other = shared.get(step, slots)
        shared[step] = slots
        return np.maximum(slots, other).tolist()

    shared: dict[int, Any] = {}
    states, kept = {}, {}
    pair = [batches(data, rank=rank, **common) for rank in (0, 1)]
    for step in range(40):
        for one in pair:
            one.meet(step, agree)
        pair[0]._marks = pair[1]._marks  # the second one had heard of both
        kept[step] = [one.at(step) for one in pair]
        states[step + 1] = pair[0].state()
    for step in (1, 5, 6, 7, 17, 36):
        for rank in (0, 1):
            again = batches(data, rank=rank, **common)
            assert again.restore(states[step], step, lambda *slots: list(slots))
            for at in range(step, min(step + 9, 40)):
                assert same(again.at(at), kept[at][rank])


def test_what_lies_before_the_block_is_not_read_again(
    open_stream: Open, batches: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = open_stream()
    one = batches(data)
    for step in range(70):
        one.meet(step, lambda *slots: list(slots))
        one.at(step)
    state = one.state()
    one.close()
    decoded: list[str] = []
    prepare_all = stream.prepare_all

    def counting(items: Any, *rest: Any) -> Any:
        return prepare_all((decoded.append(item.name) or item for item in items), *rest)

    monkeypatch.setattr(stream, "prepare_all", counting)
    again = batches(data)
    again.restore(state, 70, lambda *slots: list(slots))
    again._block(70 // again.steps)
    again.close()
    assert len(decoded) < 4 * 24  # not the 420 images that were seen before


def test_micro_batches_are_the_step(open_stream: Open, batches: Make) -> None:
    data = open_stream(labels=True)
    one = batches(data, batch=12, rank=1, world=2, micros=3, flip=True)
    for step in (0, 5, 6):
        whole = one.at(step)
        parts = [one.at(step, micro=micro, micros=3) for micro in range(3)]
        assert torch.equal(torch.cat([part.image for part in parts]), whole.image)
        assert torch.equal(torch.cat([part.label for part in parts]), whole.label)
        drawn = torch.cat([part.noise.normal(2) for part in parts])
        assert torch.equal(drawn, whole.noise.normal(2))
        assert whole.noise.rows == slice(6, 12)


def test_labels_are_those_of_the_images(open_stream: Open, batches: Make) -> None:
    data = open_stream(labels=True)
    assert data.classes == ["0", "1", "2"]
    one = batches(data)
    for step in range(20):
        batch = one.at(step)
        assert batch.label is not None
        assert batch.label.tolist() == [number % 3 for number in numbers(batch)]


def test_parquet_and_shards_named_test(tmp_path: Path, open_stream: Open, batches: Make) -> None:
    (tmp_path / "rows").mkdir()
    for name, first in (("train-0", 0), ("train-1", 20), ("test-0", 40)):
        content = parquet(range(first, first + 20))
        (tmp_path / "rows" / f"{name}.parquet").write_bytes(content)
    data = open_stream(tmp_path / "rows", labels=True)
    assert data.classes == ["zebra", "ape", "bee"]
    assert packed(data, "test") == set(range(40, 60))
    pictures, epochs = seen(batches(data, batch=5), 8)
    assert set(epochs) == {0} and sorted(pictures) == list(range(40))


def test_grey_and_coloured_images_mix(tmp_path: Path, open_stream: Open, batches: Make) -> None:
    (tmp_path / "mixed").mkdir()
    grey = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(grey, "PNG")
    import tarfile

    with tarfile.open(tmp_path / "mixed" / "0.tar", "w") as archive:
        for number in range(6):
            content = grey.getvalue() if number % 2 else encoded(number)
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    data = open_stream(tmp_path / "mixed")
    assert data.shape == (3, 8, 8)
    one = batches(data, batch=2)
    images = torch.cat([one.at(step).image for step in range(6)])
    assert images.shape == (12, 3, 8, 8)


# ---------------------------------------------------------------------------- refused in a word


def test_fewer_shards_than_processes(open_stream: Open, batches: Make) -> None:
    with pytest.raises(ConfigError, match="7 shards cannot be shared by 8 processes: write"):
        batches(open_stream(), batch=8, world=8)
    assert ConfigError.exit_code == 78


def test_empty_shards_are_passed_over(folder: Path, open_stream: Open, batches: Make) -> None:
    for number in range(3, 7):
        (folder / f"{number}.tar").write_bytes(tar([]))
    data = open_stream()
    training, read = packed(data, "train"), set()
    for rank in range(7):  # one shard each: four have none in an epoch
        read |= set(seen(batches(data, batch=7, rank=rank, world=7), 80)[0])
    assert read == training
    for number in range(3):
        (folder / f"{number}.tar").write_bytes(tar([]))
    with pytest.raises(DataError, match=r"the shards of .* hold no images"):
        batches(data, batch=7, rank=0, world=7).at(0)


def test_a_batch_that_cannot_be_shared(open_stream: Open, batches: Make) -> None:
    with pytest.raises(ConfigError, match="test_share"):
        open_stream(test_share=0.0)
    with pytest.raises(ConfigError, match="multiple of 4"):
        batches(open_stream(), batch=6, world=2, micros=2)


@pytest.mark.parametrize("what", ["folder", "digits", "owner/name", "pairs"])
def test_what_cannot_be_streamed(
    what: str, make: Callable[..., Path], folder: Path, setting: Setting
) -> None:
    path: Any = make(3) if what == "folder" else folder if what == "pairs" else what
    options = {"task": "translate"} if what == "pairs" else {}
    for use in (open_data, check):
        with pytest.raises(ConfigError, match=r"data\.stream reads one set of tar or Parquet"):
            use(setting(path, stream=True, **options))


def test_a_shard_that_turns_out_truncated(folder: Path, open_stream: Open, batches: Make) -> None:
    data = open_stream()
    one = batches(data)
    whole = (folder / "3.tar").read_bytes()
    (folder / "3.tar").write_bytes(whole[:4000])
    with pytest.raises(DataError, match=r"3\.tar: it is truncated or damaged"):
        for step in range(30):
            one.at(step)
    assert DataError.exit_code == 65


def test_a_class_that_the_sample_has_not(open_stream: Open, batches: Make) -> None:
    data = open_stream(labels=True)
    assert data.stream is not None
    data = replace(data, stream=replace(data.stream, classes=["0", "1"]))
    with pytest.raises(DataError, match="is of class 2, which no image"):
        batches(data).at(0)


def test_too_many_images_that_cannot_be_read(
    open_stream: Open, batches: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = open_stream()
    assert data.stream is not None
    data = replace(data, stream=replace(data.stream, max_bad=0.001))
    with pytest.raises(DataError, match=r"of the last 1,\d+ images .* cannot be read"):
        seen(batches(data), 200)


def test_shards_without_training_images(open_stream: Open, batches: Make) -> None:
    data = open_stream()
    assert data.stream is not None
    all_held_out = replace(data, stream=replace(data.stream, held_out=2**64))
    with pytest.raises(DataError, match=r"no image of .* can be trained on"):
        batches(all_held_out).at(0)


def test_changed_shards_are_told_apart(folder: Path, open_stream: Open) -> None:
    before = open_stream()
    (folder / "9.tar").write_bytes(tar(range(TOTAL, TOTAL + 3)))
    (folder / "0.tar").write_bytes(tar(range(5)))
    after = open_stream()
    assert before.fingerprint != after.fingerprint == open_stream().fingerprint
    assert str(difference(before.manifest(), after.manifest())) == "shards: 1 added, 1 edited"


def test_the_sample_is_bounded(open_stream: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "SAMPLE", 5)
    data = open_stream(test_share=0.3)
    assert (len(data.train), len(data.test)) == (5, 5)
    assert any("sample of 5 held-out and 5 training images" in note for note in data.notes)
    monkeypatch.setattr(sample, "LOOKED_AT", 2)
    data = open_stream(test_share=0.3)
    assert len(data.train) == 5 and 0 < len(data.test) < 5


@pytest.mark.slow
def test_a_check_looks_at_the_sample_that_a_training_packs(
    folder: Path, open_stream: Open, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "SAMPLE", 5)
    given: dict[str, Any] = {"size": 8, "stream": True, "max_bad": 0.1, "test_share": 0.3}
    report = check(setting(folder, **given), workers=0)
    data = open_stream(**given)
    assert (report.images, report.train, report.test) == (10, len(data.train), len(data.test))
    assert any("this is a sample" in note for note in report.notes)
    packed_once = [*Path(setting(folder).cache or "").rglob("meta.json")]
    assert len(packed_once) == 1, packed_once
    whole = check(setting(folder, **given | {"stream": False}), workers=0)
    assert (whole.images, len(whole.defects)) == (TOTAL - 1, 1)
    assert not any("sample" in note for note in whole.notes)


def test_decoding_processes_change_nothing(open_stream: Open, batches: Make) -> None:
    data = open_stream()
    assert data.stream is not None
    pooled = replace(data, stream=replace(data.stream, workers=2))
    left, right = batches(data), batches(pooled)
    for step in range(30):
        assert same(left.at(step), right.at(step))
