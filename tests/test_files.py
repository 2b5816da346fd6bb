"""Files are written whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from ganvae import files
from ganvae.errors import CheckpointError


def test_a_file_is_replaced_at_once_and_its_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "text.json"
    files.write_text(path, "old ü")

    def save(scratch: Path) -> None:
        scratch.write_text("new")
        assert path.read_text(encoding="utf-8") == "old ü"
        assert scratch.parent == path.parent and scratch.suffix == ".json"

    assert files.write(path, save) == path
    assert path.read_text() == "new" and list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = files.write_text(tmp_path / "a.txt", "old")

    def save(scratch: Path) -> None:
        scratch.write_text("ha")
        raise OSError("the disk is full")

    with pytest.raises(CheckpointError, match=r"a\.txt cannot be written .the disk is full"):
        files.write(path, save)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_only_what_bears_our_mark_is_cleaned_and_only_where_we_write(tmp_path: Path) -> None:
    ours, old = files.scratch(tmp_path / "a.png"), tmp_path / f".tmp-{'0' * 32}.json"
    for path in (ours, old):
        path.write_text("half")
    folder = files.scratch(tmp_path / "model")
    folder.mkdir()
    (folder / "weights").write_text("half")
    kept = tmp_path / "thesis.txt"
    kept.write_text("mine")
    link = files.scratch(tmp_path / "link")
    link.symlink_to(tmp_path / "deep")
    deep = tmp_path / "deep" / files.scratch(tmp_path / "b").name
    deep.parent.mkdir()
    for path in (deep, tmp_path / ".tmp-work", tmp_path / ".ganvae-notes"):
        path.write_text("mine")
    files.clean(tmp_path, tmp_path / "absent")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"thesis.txt", "deep", ".tmp-work", ".ganvae-notes"} and deep.exists()


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    notes, link = tmp_path / "notes.txt", tmp_path / "report.html"
    notes.write_text("mine")
    link.symlink_to(notes)
    with pytest.raises(CheckpointError, match=r"report\.html is a link"):
        files.write_text(link, "ours")
    assert link.is_symlink() and notes.read_text() == "mine"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, r"needs more than 3 bytes and [\d,]+ are free"),
        (errno.EFBIG, r"more than one file may have here: raise the limit"),
        (errno.EROFS, r"cannot be written \(Read-only"),
    ],
)
def test_a_disk_that_refuses_is_explained(tmp_path: Path, number: int, said: str) -> None:
    def save(draft: Path) -> None:
        draft.write_text("abc")
        raise OSError(number, os.strerror(number), str(draft))

    with pytest.raises(CheckpointError, match=said) as caught:
        files.write(tmp_path / "a.png", save)
    assert "a.png" in str(caught.value) and ".ganvae-" not in str(caught.value)
    assert not list(tmp_path.iterdir())
