"""Files that say which class each picture of a folder is of."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from ganvae import foreign
from ganvae.errors import DataError
from ganvae.telling import plain, short

BESIDE = ("dataset.json", "metadata.csv", "metadata.jsonl")
"""Names under which such files lie beside pictures: StyleGAN's, and those of imagefolder."""
MOST = 2**27
"""Bytes that one of them has at most."""
FILES = ("file_name", "filename", "file", "image", "image_name", "image_id", "path", "name", "id")
CLASSES = ("label", "labels", "class", "class_name", "category", "target", "fine_label", "cls")
"""Names of the columns of files and of classes, the first that is there."""

Entry = tuple[str, Any]
"""The name of a file, and its class as the table has it."""


@dataclass(frozen=True)
class Labels:
    """What label files say of a folder's pictures.

    of: the class of each picture, None for those of which no file says it
    origin: which files these are, for sentences
    notes: what a user who asked for classes should be told
    """

    of: list[str | None]
    origin: str
    notes: list[str] = field(default_factory=list)


def beside(root: Path, tables: Sequence[str], names: Sequence[str]) -> Labels | None:
    """The labels in files called as in :data:`BESIDE`; None where none of them has classes.

    tables, names: paths of these files and of the pictures below ``root``

    Raises DataError for a file that cannot be understood.
    """
    by_table = {}
    for table in sorted(tables):
        entries = _entries(root / table, names=None)
        if entries is not None:
            by_table[table] = entries
    return _match(by_table, names) if by_table else None


def of_table(root: Path, table: Path, names: Sequence[str]) -> Labels:
    """The labels in a file that the user named: CSV, JSON or JSON lines. Raises DataError."""
    entries = _entries(table, names=names)
    assert entries is not None
    try:
        name = table.resolve().relative_to(root).as_posix()
    except ValueError:  # it lies somewhere else
        name = table.name
    return _match({name: entries}, names)


def _match(by_table: dict[str, Iterator[Entry]], names: Sequence[str]) -> Labels:
    """The class of each picture, found by its path below the file's folder or below the root."""
    places = _places(names)
    of: list[str | None] = [None] * len(names)
    notes = []
    for table, entries in by_table.items():
        folder = table.rpartition("/")[0]
        total, missing, example = 0, 0, ""
        with foreign.gate(table):
            for name, value in entries:
                total += 1
                row = _row(places, folder, name)
                if row is None:
                    missing, example = missing + 1, example or name
                    continue
                label = _class(value, table)
                if label is not None and of[row] not in (None, label):
                    raise DataError(
                        f"{plain(names[row])} is of class {short(plain(str(of[row])), 60)} and of"
                        f" class {short(plain(label), 60)} in {plain(', '.join(by_table))}; give"
                        " it one class"
                    )
                of[row] = of[row] if label is None else label
        if missing:
            notes.append(
                f"{missing:,} of {total:,} entries in {plain(table)} name no picture that is here,"
                f" for example {short(plain(example), 80)}"
            )
    return Labels(of, plain(", ".join(by_table)), notes)


def _places(names: Sequence[str]) -> dict[str, int]:
    """The row of each picture by its path, and by every shorter name that fits no other picture.

    Shorter names leave out the suffix, the folders, or both.
    """
    shorter: dict[str, int] = {}
    for row, name in enumerate(names):
        base = name.rpartition("/")[2]
        ways = {os.path.splitext(name)[0], base, os.path.splitext(base)[0]} - {name}
        for way in ways:
            shorter[way] = row if way not in shorter else -1
    paths = {name: row for row, name in enumerate(names)}
    return {way: row for way, row in shorter.items() if row >= 0} | paths


def _row(places: dict[str, int], folder: str, name: str) -> int | None:
    name = name.replace("\\", "/").removeprefix("./")
    return places.get(f"{folder}/{name}" if folder else name, places.get(name))


def _class(value: Any, table: str) -> str | None:
    """The name of a class: text, or a whole number in digits."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, (str, int)):
        return str(value).strip()
    raise DataError(
        f"{plain(table)} has labels such as {short(plain(str(value)), 60)}; give each picture one"
        " class, a name or a whole number"
    )


def _entries(path: Path, names: Sequence[str] | None) -> Iterator[Entry] | None:
    """The entries of a file; None where it has no classes.

    names: the pictures, where the user named the file: then it must have classes
    """
    required = names is not None
    content = foreign.read(path, MOST)
    suffix = path.suffix.lower()
    with foreign.gate(str(path)):
        if suffix == ".json":
            return _of_json(json.loads(content), path, required)
        text = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", "surrogateescape", newline="")
        if suffix == ".jsonl":
            return _of_lines(text, path, required)
        return _of_table(text, path, names)


def _of_json(document: Any, path: Path, required: bool) -> Iterator[Entry] | None:
    """StyleGAN's ``{"labels": [[name, class], …]}``, or ``{name: class}`` where it must be one."""
    if isinstance(document, dict) and "labels" in document:
        document = document["labels"]
        if document is None:
            return iter(())
    elif not required:
        return None
    if isinstance(document, dict):
        document = list(document.items())
    pairs = isinstance(document, list) and all(
        isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[0], str)
        for entry in document
    )
    if not pairs:
        raise DataError(
            f'{plain(str(path))} is to hold {{"labels": [["file.png", 6], …]}} and holds something'
            " else"
        )
    return iter([(entry[0], entry[1]) for entry in document])


def _of_lines(text: io.TextIOWrapper, path: Path, required: bool) -> Iterator[Entry] | None:
    rows = _objects(text, path)
    first = next(rows, {})
    file, label = _column(list(first), FILES), _column(list(first), CLASSES)
    if file is None or label is None:
        if required:
            raise DataError(_unclear(path, list(first)))
        return None
    return ((str(row.get(file, "")), row.get(label)) for row in chain([first], rows))


def _objects(text: io.TextIOWrapper, path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(text, 1):
        if not line.strip():
            continue
        with foreign.gate(f"line {number:,} of {path}"):
            row = json.loads(line)
        if not isinstance(row, dict):
            raise DataError(f"line {number:,} of {plain(str(path))} is no JSON object")
        yield row


def _of_table(
    text: io.TextIOWrapper, path: Path, names: Sequence[str] | None
) -> Iterator[Entry] | None:
    line = text.readline()
    text.seek(0)
    separator = max((",", ";", "\t"), key=line.count)
    rows = csv.reader(text, delimiter=separator, strict=True)
    head = [cell.strip() for cell in next(rows, [])]
    file, label = _column(head, FILES), _column(head, CLASSES)
    if names is None:
        if file is None or label is None:
            return None
    elif len(head) == 2 and (file is None or label is None):  # unknown names of columns
        file, label = (head[1], head[0]) if file == head[1] or label == head[0] else head
        if (
            _row(_places(names), "", head[0]) is not None
        ):  # the first line is no header, but an entry
            return ((row[0], row[1]) for row in chain([head], rows) if len(row) == 2)
    if file is None or label is None:
        raise DataError(_unclear(path, head))
    at = head.index(file), head.index(label)
    return ((row[at[0]].strip(), row[at[1]]) for row in rows if len(row) > max(at))


def _column(head: Sequence[str], usual: Sequence[str]) -> str | None:
    lower = {name.lower(): name for name in reversed(head)}
    return next((lower[name] for name in usual if name in lower), None)


def _unclear(path: Path, head: Sequence[str]) -> str:
    return (
        f"{plain(str(path))} has the columns {short(plain(', '.join(head)), 120) or '(none)'}, and"
        " which are the files and the classes is unclear; call them file_name and label"
    )
