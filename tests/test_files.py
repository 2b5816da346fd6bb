"""Files are written whole or not at all."""

from pathlib import Path

import pytest

from ganvae import files


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

    with pytest.raises(OSError, match="full"):
        files.write(path, save)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_what_the_dead_have_left_is_removed_below_a_folder(tmp_path: Path) -> None:
    (tmp_path / "run" / ".tmp-model").mkdir(parents=True)
    for name in ("run/.tmp-model/weights", "run/.tmp-1.png", ".tmp-2.json", "run/kept.tmp-3"):
        (tmp_path / name).write_text("half")
    files.clean(tmp_path)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == [tmp_path / "run" / "kept.tmp-3"]
    assert not (tmp_path / "run" / ".tmp-model").exists()
