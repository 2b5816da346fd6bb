"""Classes and splits that files and folders tell."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ganvae import config
from ganvae.data import labels, open_data
from ganvae.data.check import check
from ganvae.errors import ConfigError, DataError

from .conftest import photo

Setting = Callable[..., config.Data]


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of pictures of these names, each with other pixels."""

    def build(*names: str) -> Path:
        root = tmp_path / "set"
        for number, name in enumerate(names):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            photo(number, 16, 16).save(root / name)
        return root

    return build


def told(chosen: config.Data) -> dict[str, str]:
    """The class of every image by its name."""
    data = open_data(chosen, labels=True)
    found = {}
    for part in (data.train, data.test):
        assert part.labels is not None
        found |= {n: data.classes[c] for n, c in zip(part.names(), part.labels, strict=True)}
    return found


NAMES = [f"0000{n % 2}/img{n}.png" for n in range(8)]
CLASSES = {name: "ape" if n < 5 else "bee" for n, name in enumerate(NAMES)}
WRITTEN = {
    "dataset.json": json.dumps({"labels": [*CLASSES.items()]}),
    "metadata.csv": "file_name,text,label\n" + "".join(f"{n},x,{c}\n" for n, c in CLASSES.items()),
    "metadata.jsonl": "".join(
        json.dumps({"file_name": n, "label": c}) + "\n" for n, c in CLASSES.items()
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_files_beside_pictures_say_their_classes(
    name: str, folder: Callable[..., Path], setting: Setting
) -> None:
    root = folder(*NAMES)
    plain = open_data(setting(root))
    assert open_data(setting(root), labels=True).classes == ["00000", "00001"]
    (root / name).write_text(WRITTEN[name])
    assert told(setting(root)) == CLASSES
    first = open_data(setting(root), labels=True)
    assert open_data(setting(root)).fingerprint == plain.fingerprint  # without classes the same
    assert not any("not used" in note for note in first.notes)
    (root / name).write_text(WRITTEN[name].replace("ape", "ant", 1))
    again = open_data(setting(root), labels=True)
    assert again.classes == ["ant", "ape", "bee"] and again.fingerprint != first.fingerprint


def test_numbers_are_sorted_as_numbers_and_null_is_no_class(
    folder: Callable[..., Path], setting: Setting
) -> None:
    root = folder(*NAMES)
    entries = [[name, 9 + number % 2] for number, name in enumerate(NAMES)]
    (root / "dataset.json").write_text(json.dumps({"labels": entries}))
    assert open_data(setting(root), labels=True).classes == ["9", "10"]
    (root / "dataset.json").write_text(json.dumps({"labels": None}))
    assert len(open_data(setting(root)).train) > 0
    with pytest.raises(DataError, match=r"8 of 8 images .* have none; name each .*dataset\.json"):
        open_data(setting(root), labels=True)


def test_each_split_may_have_a_file_of_its_own(
    folder: Callable[..., Path], setting: Setting
) -> None:
    root = folder(*(f"{top}/{n}.png" for top in ("train", "test") for n in range(3)))
    for top in ("train", "test"):
        rows = "".join(f"{n}.png,{'ab'[n % 2]}\n" for n in range(3))
        (root / top / "metadata.csv").write_text(f"file_name,label\n{rows}")
    data = open_data(setting(root), labels=True)
    assert data.classes == ["a", "b"] and data.report["split"] == "the source's own"


def test_a_table_without_classes_leaves_them_to_the_folders(
    folder: Callable[..., Path], setting: Setting
) -> None:
    root = folder(*NAMES)
    (root / "metadata.csv").write_text("file_name,text\n00000/img0.png,a bee\n")
    assert open_data(setting(root), labels=True).classes == ["00000", "00001"]


def test_entries_without_a_picture_are_counted_and_pictures_without_one_refused(
    folder: Callable[..., Path], setting: Setting
) -> None:
    root = folder(*NAMES)
    more = [["gone/1.png", 1], ["../../etc/passwd", 1]]
    (root / "dataset.json").write_text(json.dumps({"labels": [*CLASSES.items(), *more]}))
    notes = open_data(setting(root), labels=True).notes
    assert any(
        note.startswith("2 of 10 entries in dataset.json name no picture") for note in notes
    )
    (root / "dataset.json").write_text(json.dumps({"labels": [*CLASSES.items()][:6]}))
    with pytest.raises(DataError, match="2 of 8 images"):
        open_data(setting(root), labels=True)
    report = check(setting(root, labels=True))
    assert any("2 of 8 images" in problem for problem in report.problems)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("dataset.json", "{", "cannot read .*dataset.json: "),
        ("dataset.json", "[" * 200_000, "nested too deeply"),
        ("dataset.json", '{"labels": [1, 2]}', "holds something else"),
        ("dataset.json", '{"labels": [["00000/img0.png", [0, 1]]]}', "one class, a name"),
        ("metadata.jsonl", '{"file_name": "a", "label": 1}\nnonsense\n', "cannot read line 2 of"),
        ("metadata.jsonl", '{"file_name": "a", "label": 1}\n[1]\n', "line 2 .* is no JSON object"),
        ("metadata.csv", 'file_name,label\n"a\n', "cannot read .*metadata.csv"),
        ("metadata.csv", "file_name,label\n00000/img0.png,a\n00000/img0.png,b\n", "give it one"),
        ("metadata.csv", "file_name,label\n" + "x" * 2000, "more than the 1,000 bytes"),
    ],
)  # fmt: skip
def test_a_broken_file_is_one_sentence_for_who_asks_for_classes(
    name: str, content: str, said: str, folder: Callable[..., Path], setting: Setting,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(labels, "MOST", 1_000 if "bytes" in said else 2**20)
    root = folder(*NAMES)
    (root / name).write_text(content)
    assert len(open_data(setting(root)).train) > 0
    with pytest.raises(DataError, match=said) as refused:
        open_data(setting(root), labels=True)
    assert len(str(refused.value)) < 500 and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.csv", "id,breed\n" + "".join(f"img{n},{'ab'[n % 2]}\n" for n in range(8))),
        ("l.csv", "".join(f"img{n}.png,{'ab'[n % 2]}\n" for n in range(8))),
        ("l.csv", "breed;filename\n" + "".join(f"{'ab'[n % 2]};img{n}.png\n" for n in range(8))),
        ("l.tsv", "x\tlabel\tfile\n" + "".join(f"1\t{'ab'[n % 2]}\timg{n}\n" for n in range(8))),
        ("l.csv", "\ufefffile_name,label\r\n" + "".join(
            f'"{NAMES[n]}",{"ab"[n % 2]}\r\n' for n in range(8))),
        ("l.json", json.dumps({f"img{n}.png": "ab"[n % 2] for n in range(8)})),
        ("l.jsonl", "".join(
            json.dumps({"image": NAMES[n], "class": "ab"[n % 2]}) + "\n" for n in range(8))),
    ],
)  # fmt: skip
def test_a_file_that_is_named_says_the_classes(
    name: str, content: str, folder: Callable[..., Path], setting: Setting, tmp_path: Path
) -> None:
    root, table = folder(*NAMES), tmp_path / name
    table.write_bytes(content.encode())
    chosen = setting(root, labels=True, labels_file=str(table))
    assert told(chosen) == {f"0000{n % 2}/img{n}.png": "ab"[n % 2] for n in range(8)}
    assert open_data(setting(root), labels=True).classes == ["00000", "00001"]
    before = open_data(chosen).fingerprint
    os.utime(table, (1, 1))
    assert open_data(chosen).fingerprint == before
    table.write_bytes(content.replace("img", "gone", 1).encode())
    with pytest.raises(DataError, match=rf"1 of 8 images .* name each with its class in {name}"):
        open_data(chosen)


def test_a_file_that_is_named_and_cannot_be_used(
    folder: Callable[..., Path], setting: Setting, tmp_path: Path
) -> None:
    root, table = folder(*NAMES), tmp_path / "l.csv"
    with pytest.raises(ConfigError, match=r"add --data\.labels"):
        open_data(setting(root, labels_file=str(table)))
    with pytest.raises(DataError, match=r"l\.csv: No such"):
        open_data(setting(root, labels=True, labels_file=str(table)))
    table.write_text("a,b,c\n1,2,3\n")
    with pytest.raises(DataError, match=r"columns a, b, c, .* call them file_name and label"):
        open_data(setting(root, labels=True, labels_file=str(table)))
    with pytest.raises(ConfigError, match="files in a folder, and digits is none"):
        open_data(setting("digits", labels=True, labels_file=str(table)))


# ------------------------------------------------------------------------- folders that are splits


def test_train_test_and_unlabelled_folders_are_no_classes(
    folder: Callable[..., Path], setting: Setting
) -> None:
    names = [
        f"{top}/{c}/{n}.png" for top in ("train", "val", "test") for c in "ab" for n in (0, 1)
    ]
    root = folder(*names, "unlabeled/0.png", "unlabeled/deep/1.png")
    data = open_data(setting(root))
    assert sorted(data.train.names()) == [
        *(f"train/{c}/{n}.png" for c in "ab" for n in (0, 1)),
        "unlabeled/0.png", "unlabeled/deep/1.png",
    ]  # fmt: skip
    assert {name.split("/")[0] for name in data.test.names()} == {"test", "val"}
    known = open_data(setting(root), labels=True)
    assert known.classes == ["a", "b"] and len(known.train) == 4 and len(known.test) == 8
    assert any("2 images without a class are left out" in note for note in known.notes)
    assert known.train.labels is not None and min(known.train.labels) == 0


def test_a_single_split_is_no_class(folder: Callable[..., Path], setting: Setting) -> None:
    root = folder(*(f"train/{c}/{n}.png" for c in "ab" for n in range(6)))
    data = open_data(setting(root), labels=True)
    assert data.classes == ["a", "b"] and "by content" in data.report["split"]


def test_unlabelled_images_beside_classes_have_none(
    folder: Callable[..., Path], setting: Setting
) -> None:
    root = folder(*(f"{top}/{n}.png" for top in ("a", "b", "unlabeled") for n in range(6)))
    assert len(open_data(setting(root)).train) > 12
    data = open_data(setting(root), labels=True)
    assert data.classes == ["a", "b"] and len(data.train) + len(data.test) == 12


def test_a_split_with_something_beside_it_is_said_and_refused_as_classes(
    folder: Callable[..., Path], setting: Setting
) -> None:
    root = folder(*(f"{top}/{n}.png" for top in ("train", "test") for n in range(4)), "cover.png")
    notes = open_data(setting(root)).notes
    assert any("train/ and test/ beside other images, so they are no split" in n for n in notes)
    with pytest.raises(DataError, match="would be test, train, which are names of a split"):
        open_data(setting(root), labels=True)


# ----------------------------------------------------------------------------------------- classes


def test_classes_of_few_images_and_what_the_split_does_to_them_are_said(
    folder: Callable[..., Path], setting: Setting
) -> None:
    root = folder(
        *(f"{top}/many/{n}.png" for top in ("train", "test") for n in range(4)),
        "train/one/0.png", *(f"train/unseen/{n}.png" for n in range(3)),
        "test/never/0.png", "test/never/1.png",
    )  # fmt: skip
    data = open_data(setting(root), labels=True)
    assert data.classes == ["many", "never", "one", "unseen"]
    said = [note for note in data.notes if "class" in note]
    assert said == [
        "2 held-out images of classes without a training image are left out",
        "class never has no training image: it is not learnt, and cannot be generated",
        "class one has a single image, which is learnt by heart",
        "class unseen has no held-out image, so that no score tells how well it is learnt",
    ]
    assert len(data.test) == 4 and data.test.labels is not None
    assert {*data.test.labels.tolist()} == {0}
    report = check(setting(root, labels=True))
    assert {*said[1:]} <= {*report.notes}
    judged = open_data(setting(root, test_share=1), labels=True)
    assert len(judged.test) == 14 and not any("learnt" in note for note in judged.notes)


def test_a_check_says_the_same_of_classes_and_of_files(
    folder: Callable[..., Path], setting: Setting
) -> None:
    root = folder(
        "train/ant/1.png", *(f"{s}/cat/{s}{n}.png" for n in range(4) for s in ("train", "test"))
    )
    (root / "a.psd").touch()
    text = "\n".join(check(setting(root, labels=True)).lines())
    assert "class ant has a single image" in text
    assert "1 picture is not read: 1 .psd (export them as PNG)" in text
