from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from ganvae import config, objectives
from ganvae.data import Batches, Data, decode, difference, open_data, pairs
from ganvae.data.check import check
from ganvae.data.split import by_content, heads
from ganvae.errors import ConfigError, DataError
from ganvae.training.trainer import Trainer

from .conftest import photo

Opened = Callable[..., Data]


def save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def coloured(number: int) -> Image.Image:
    """A picture with a mark at its left that says which one it is."""
    image = photo(number, 16, 16)
    image.paste((number, 10, 200), (0, 0, 2, 16))
    return image


def grey(number: int) -> Image.Image:
    image = photo(number + 1000, 16, 16, "L")
    image.paste(number, (0, 0, 2, 16))
    return image


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Sixty pairs, grey to coloured, of other suffixes, some in sub-folders."""
    for number in range(60):
        name = f"more/a.b/{number}" if number % 3 == 0 else f"{number}"
        save(tmp_path / "set" / "source" / f"{name}.bmp", grey(number))
        save(tmp_path / "set" / "target" / f"{name}.png", coloured(number))
    return tmp_path / "set"


@pytest.fixture
def unpaired(tmp_path: Path) -> Path:
    """Twenty-five sources and fifty targets without a name in common."""
    for number in range(25):
        save(tmp_path / "sets" / "source" / f"s{number}.png", grey(number))
    for number in range(50):
        save(tmp_path / "sets" / "target" / f"t{number}.png", coloured(number))
    return tmp_path / "sets"


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    def build(path: Path, paired: bool | None = None, **options: object) -> Data:
        given = {"task": "translate", "size": 16, "cache": str(tmp_path / "cache")} | options
        return open_data(config.Data(path=str(path), **given), paired=paired)  # type: ignore[arg-type]

    return build


def numbers(images: Tensor | None) -> list[int]:
    """Which pictures these are, mirrored or not."""
    assert images is not None
    sides = ((images[:, 0, 8][:, [0, 1, -2, -1]] + 1) * 127.5).round().int()
    return [int(s[0] if s[0] == s[1] else s[3]) for s in sides]


def mirrored(images: Tensor | None) -> list[bool]:
    assert images is not None
    return [bool(row[0] != row[1]) for row in images[:, 0, 8]]


# --------------------------------------------------------------------------------------- pairs


def test_pairs_stay_together(root: Path, opened: Opened) -> None:
    data = opened(root)
    assert data.paired is True and data.shape == (3, 16, 16) and data.source_channels == 1
    assert {*numbers(data.train.images(range(len(data.train))))} | {
        *numbers(data.test.images(range(len(data.test))))
    } == set(range(60))
    for part in (data.train, data.test):
        rows = np.arange(len(part))
        assert numbers(part.sources(rows)) == numbers(part.images(rows))
        assert isinstance(part.origin, type(part))
        assert [pairs.key(n) for n in part.origin.names()] == [pairs.key(n) for n in part.names()]


def test_pairs_are_mirrored_alike_in_every_part(root: Path, opened: Opened) -> None:
    data = opened(root)
    batches = Batches(data.train, batch=12, seed=5, flip=True)
    turned = set()
    for step in (0, 4, 5):
        whole = batches.at(step)
        assert numbers(whole.source) == numbers(whole.image)
        assert mirrored(whole.source) == mirrored(whole.image)
        turned |= set(mirrored(whole.image))
        parts = [
            batches.at(step, rank=r, world=2, micro=m, micros=3) for r in (0, 1) for m in range(3)
        ]
        assert whole.source is not None
        sources = [part.source for part in parts if part.source is not None]
        assert torch.equal(torch.cat(sources), whole.source)
    assert turned == {True, False}


def test_the_target_says_what_is_held_out(root: Path, opened: Opened) -> None:
    data = opened(root)
    alone = opened(root / "target", task="generate")
    assert data.test.names() == alone.test.names()
    assert data.test.fingerprint == alone.test.fingerprint
    before = set(data.test.names())
    for number in range(60, 80):
        save(root / "source" / f"{number}.bmp", grey(number))
        save(root / "target" / f"{number}.png", coloured(number))
    assert {n for n in opened(root).test.names() if n in alone.test.names()} == before


def test_pairs_of_one_source_are_held_out_together(root: Path, opened: Opened) -> None:
    for number in range(60):
        name = f"more/a.b/{number}" if number % 3 == 0 else f"{number}"
        shutil.copy(root / "source" / f"{name}.bmp", root / "source" / f"again{number}.bmp")
        save(root / "target" / f"again{number}.png", coloured(number + 100))
    data = opened(root, test_share=0.4)
    train, test = (set(numbers(p.sources(range(len(p))))) for p in (data.train, data.test))
    assert train | test == set(range(60)) and not train & test
    assert 30 < len(data.test) < 66 and len(data.test) % 2 == 0


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=25))
def test_heads_are_one_for_each_connected_group(links: list[tuple[int, int]]) -> None:
    random = np.random.default_rng(0)
    images, partners = random.integers(0, 256, (2, 9, 16)).astype(np.uint8)
    found = heads(images[[a for a, _ in links]], partners[[b for _, b in links]])
    groups = [{k} for k in range(len(links))]
    for one, (a, b) in enumerate(links):
        for other, (c, d) in enumerate(links):
            if (a == c or b == d) and groups[one] is not groups[other]:
                merged = groups[one] | groups[other]
                for member in merged:
                    groups[member] = merged
    content = [links[head][0] for head in found]
    for one in range(len(links)):
        assert int(found[one]) in groups[one]
        assert {content[member] for member in groups[one]} == {content[one]}


def test_large_groups_are_held_out_no_more_often() -> None:
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (40_000, 16)).astype(np.uint8)
    partners = np.repeat(random.integers(0, 256, (4_000, 16)).astype(np.uint8), 10, 0)
    assert abs(by_content(images[heads(images, partners)], 0.1).mean() - 0.1) < 0.02


def test_own_splits_are_kept(tmp_path: Path, opened: Opened) -> None:
    for number in range(12):
        part = "test" if number < 3 else "train"
        save(tmp_path / "own" / "source" / part / f"{number}.png", grey(number))
        save(tmp_path / "own" / "target" / part / f"{number}.png", coloured(number))
    data = opened(tmp_path / "own")
    assert sorted(numbers(data.test.images(range(3)))) == [0, 1, 2]
    assert data.paired and len(data.train) == 9


def test_a_file_without_a_partner_is_named(root: Path, opened: Opened) -> None:
    (root / "source" / "7.bmp").unlink()
    for number in range(100, 105):
        save(root / "source" / f"{number}.bmp", grey(number))
    with pytest.raises(DataError) as caught:
        opened(root)
    said = str(caught.value)
    assert "59 files" in said and "5 in source ('100.bmp', '101.bmp', '102.bmp', …)" in said
    assert "1 in target ('7.png') have none" in said
    with pytest.raises(DataError, match=r"7\.png"):
        pairs.match(str(root))
    report = check(config.Data(path=str(root), size=16, cache=str(root.parent / "cache")))
    assert report.unmatched == [*(f"source/{n}.bmp" for n in range(100, 105)), "target/7.png"]
    assert any("'7.png'" in problem for problem in report.problems)
    assert any("without a partner: 6" in line for line in report.lines())
    assert opened(root, paired=False).paired is False


def test_two_files_of_one_name_are_refused(root: Path, opened: Opened) -> None:
    save(root / "source" / "7.png", grey(7))
    with pytest.raises(DataError, match=r"source/7.bmp and source/7.png would have the same"):
        opened(root)


def test_a_pair_with_an_unreadable_side_is_left_out(root: Path, opened: Opened) -> None:
    (root / "source" / "7.bmp").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1 of 60 images in .*source cannot be read"):
        opened(root)
    data = opened(root, max_bad=0.05)
    seen = [n for p in (data.train, data.test) for n in numbers(p.images(range(len(p))))]
    assert sorted(seen) == [n for n in range(60) if n != 7]
    for part in (data.train, data.test):
        assert numbers(part.sources(range(len(part)))) == numbers(part.images(range(len(part))))
    assert any(note.startswith("sources: 1 images skipped") for note in data.notes)
    assert data.report["sources"]["skipped"]["count"] == 1


def test_too_few_readable_pairs(tmp_path: Path, opened: Opened) -> None:
    for number in range(2):
        save(tmp_path / "two" / "source" / f"{number}.png", grey(number))
        save(tmp_path / "two" / "target" / f"{number}.png", coloured(number))
    assert len(opened(tmp_path / "two").test) == 1
    (tmp_path / "two" / "source" / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match="too few pairs"):
        opened(tmp_path / "two", max_bad=0.9)


def test_without_the_folders(tmp_path: Path, opened: Opened) -> None:
    (tmp_path / "empty" / "source").mkdir(parents=True)
    for path in (tmp_path / "empty", tmp_path / "none", "digits"):
        with pytest.raises(DataError, match=r"there is no folder .*data.origin makes"):
            opened(path)  # type: ignore[arg-type]
    (tmp_path / "empty" / "target").mkdir()
    save(tmp_path / "empty" / "source" / "a.png", grey(1))
    with pytest.raises(DataError, match=r"no images in .*target"):
        opened(tmp_path / "empty")


# ------------------------------------------------------------------------------------ unpaired


def test_unpaired_sets_have_their_own_orders_and_splits(unpaired: Path, opened: Opened) -> None:
    data = opened(unpaired, test_share=0.3, channels=3)
    assert data.paired is False and data.source_channels == 1
    own = opened(unpaired / "source", task="generate", test_share=0.3)
    assert isinstance(data.test.origin, type(data.test))
    assert data.test.origin.names() == own.test.names()
    count = len(own.train)
    batches = Batches(data.train, batch=count, seed=3, flip=True)
    epochs = [batches.at(step) for step in range(4)]
    orders = [numbers(batch.source) for batch in epochs]
    assert all(sorted(order) == sorted(orders[0]) and len(set(order)) == count for order in orders)
    assert orders[0] != orders[1]
    assert {len({*map(tuple, map(mirrored, (b.source, b.image)))}) for b in epochs} == {2}
    whole = epochs[1]
    parts = [batches.at(1, rank=r, world=count) for r in range(count)]
    assert whole.source is not None
    assert torch.equal(torch.cat([p.source for p in parts if p.source is not None]), whole.source)
    assert torch.equal(torch.cat([part.image for part in parts]), whole.image)
    rows = np.arange(len(data.test))
    assert len(rows) > len(own.test)
    held_out = data.test.origin.images(rows % len(own.test))
    assert torch.equal(data.test.sources(rows), held_out)


def test_pairs_can_be_learnt_from_as_if_they_were_none(root: Path, opened: Opened) -> None:
    data, known = opened(root, paired=False), opened(root)
    assert data.paired is False and data.fingerprint != known.fingerprint
    assert data.test.names() == known.test.names()
    batch = Batches(data.train, batch=len(data.train), seed=0).at(0)
    assert numbers(batch.source) != numbers(batch.image)
    assert sorted(numbers(batch.source)) == sorted(numbers(batch.image))  # held out together


def test_pairs_that_are_needed(unpaired: Path, root: Path, opened: Opened) -> None:
    assert opened(root, paired=True).paired is True
    with pytest.raises(DataError, match="but pairs are needed"):
        opened(unpaired, paired=True)


def test_a_folder_of_both_is_told_where_nothing_is_translated(root: Path, opened: Opened) -> None:
    told = [note for note in opened(root, task="generate").notes if "source/ and target/" in note]
    assert len(told) == 1 and "data.task translate alone" in told[0]
    assert not any("source/ and" in note for note in opened(root).notes)


def test_masks_belong_to_completion(root: Path, opened: Opened) -> None:
    with pytest.raises(ConfigError, match=r"data\.masks box is what a completion learns from"):
        opened(root, masks="box")
    assert opened(root / "target", task="complete", masks="box").train.origin is not None


def test_paired_decodes_nothing(
    root: Path, unpaired: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "prepare", None)
    monkeypatch.setattr(Image, "open", None)
    assert pairs.match(str(root)).paired is True and pairs.match(str(unpaired)).paired is False


@pytest.mark.parametrize(
    ("common", "of", "paired"), [(0, 5, False), (1, 200, False), (5, 5, True)]
)
def test_the_rule(common: int, of: int, paired: bool) -> None:
    source = [f"{n}.png" for n in range(of)]
    target = [f"{n}.jpg" if n < common else f"other{n}.jpg" for n in range(of)]
    match = pairs.compare("DIR", source, target)
    assert match.paired is paired and match.problem is None and match.unmatched == []
    between = pairs.compare("DIR", source[:100], [*target[:1], "x.png"])
    assert bool(between.problem) == (common > 0)


# --------------------------------------------------------------------------------- changes


def test_an_edited_source_changes_the_fingerprint_and_is_counted(
    root: Path, opened: Opened
) -> None:
    before = opened(root)
    assert opened(root).fingerprint == before.fingerprint
    save(root / "source" / "1.bmp", grey(77))
    after = opened(root)
    assert after.fingerprint != before.fingerprint
    assert str(difference(before.manifest(), after.manifest())) == "images: 1 edited"
    save(root / "source" / "new.bmp", grey(78))
    save(root / "target" / "new.png", coloured(78))
    told = difference(after.manifest(), opened(root).manifest())
    assert str(told) == "images: 2 added"


def test_a_run_is_not_continued_with_another_source(root: Path, opened: Opened) -> None:
    chosen = config.Config(
        objective="bicycle",
        data=config.Data(path=str(root), task="translate", size=16, cache=str(root.parent / "c")),
        networks=config.Networks(width=4, latent=4, prior="normal"),
        training=config.Training(
            budget="2steps", batch=4, previews=0, evaluations=0, tensorboard=False, threads=1
        ),
    )
    objective = objectives.build("bicycle", {})

    def run(resume: bool) -> str:
        data = open_data(chosen.data, paired=objective.paired)
        return Trainer(chosen, objective, data, root.parent / "run", resume=resume).run().status

    assert run(False) == run(True) == "done"
    save(root / "source" / "1.bmp", grey(77))
    with pytest.raises(ConfigError, match=r"images: 1 edited"):
        run(True)


# ----------------------------------------------------------------------------------- checking


def test_a_check_reports_both_sets(root: Path, opened: Opened) -> None:
    (root / "source" / "7.bmp").write_bytes(b"no picture")
    shutil.copy(root / "source" / "8.bmp", root / "source" / "10.bmp")
    chosen = config.Data(path=str(root), size=16, cache=str(root.parent / "cache"))
    report = check(chosen)
    assert report.paired is True and report.sources is not None and report.unmatched == []
    assert report.images == 60 and report.sources.images == 59 and not report.ok
    assert report.train + report.test == report.sources.train + report.sources.test == 59
    assert report.shape == (3, 16, 16) and report.sources.shape == (1, 16, 16)
    assert report.sources.duplicates == [["10.bmp", "8.bmp"]] and report.sources.leaks == []
    assert report.problems == [
        "sources: 1 unreadable images are more than data.max_bad=0.01 allows"
    ]
    text = "\n".join(report.lines())
    assert "sources and targets are in pairs" in text and "7.bmp: " in text
    assert report.to_dict()["sources"]["images"] == 59
    plain = check(config.Data(**{**vars(chosen), "path": str(root / "target")}))
    assert plain.sources is None and plain.paired is None


def test_a_check_of_unpaired_sets_and_of_other_folders(unpaired: Path, opened: Opened) -> None:
    options = {"size": 16, "cache": str(unpaired.parent / "cache")}
    report = check(config.Data(path=str(unpaired), **options))  # type: ignore[arg-type]
    assert report.ok and report.paired is False and report.sources is not None
    assert report.sources.test > 0 and "are not in pairs" in "\n".join(report.lines())
    save(unpaired / "third" / "x.png", grey(3))
    mixed = check(config.Data(path=str(unpaired), **options))  # type: ignore[arg-type]
    assert mixed.sources is None and mixed.images == 76
    for file in (unpaired / "source").iterdir():
        file.unlink()
    empty = check(config.Data(path=str(unpaired), task="translate", **options))  # type: ignore[arg-type]
    assert any("no images in" in problem for problem in empty.problems)


# -------------------------------------------------------------------------- layouts of other tools


@pytest.mark.parametrize("marks", [("_A", "_B"), ("-input", "-target"), (".lr", ".hr")])
def test_names_with_marks_are_pairs_and_said_to_be(
    marks: tuple[str, str], tmp_path: Path, opened: Opened
) -> None:
    for number in range(20):
        save(tmp_path / "set" / "source" / f"{number:03d}{marks[0]}.png", grey(number))
        save(tmp_path / "set" / "target" / f"{number:03d}{marks[1]}.png", coloured(number))
    assert pairs.match(str(tmp_path / "set")).paired
    data = opened(tmp_path / "set")
    assert data.paired is True and any("are pairs by their names" in note for note in data.notes)
    rows = np.arange(len(data.train))
    assert numbers(data.train.sources(rows)) == numbers(data.train.images(rows))
    report = check(config.Data(path=str(tmp_path / "set"), task="translate", size=16,
                               cache=str(tmp_path / "cache")))  # fmt: skip
    assert report.paired
    (tmp_path / "set" / "source" / f"003{marks[0]}.png").unlink()
    with pytest.raises(DataError, match="have a partner of the same name"):
        opened(tmp_path / "set")


def test_sets_without_pairs_are_said_to_be(unpaired: Path, opened: Opened) -> None:
    notes = opened(unpaired).notes
    assert any("are taken as sets without pairs" in note for note in notes)


def test_layouts_of_other_tools_are_refused_with_the_mend(tmp_path: Path, opened: Opened) -> None:
    for which in ("trainA", "trainB", "testA", "testB"):
        for number in range(3):
            save(tmp_path / "cycle" / which / f"{number}.png", coloured(number + len(which)))
    with pytest.raises(DataError, match="trainA and trainB are such sets: make them source/train"):
        opened(tmp_path / "cycle")
    notes = opened(tmp_path / "cycle", task="generate").notes
    assert any("trainA and trainB, and the images of all its folders" in note for note in notes)
    for number in range(3):
        save(tmp_path / "wide" / f"{number}.png", coloured(number).resize((32, 16)))
        for mark in "AB":
            save(tmp_path / "marked" / f"{number}_{mark}.png", coloured(number))
    with pytest.raises(DataError, match="twice as wide as high, as pairs side by side are: save"):
        opened(tmp_path / "wide")
    with pytest.raises(DataError, match=r"pairs by name, such as '0_A.png' and '0_B.png': move"):
        opened(tmp_path / "marked")
    save(tmp_path / "wide" / "square.png", coloured(9))
    with pytest.raises(DataError, match=r"data\.origin makes$"):
        opened(tmp_path / "wide")


def test_an_address_of_any_length_is_no_folder_of_pairs() -> None:
    assert not pairs.is_cycle(Path("s3://bucket") / ("x" * 5000))
