"""Images in the rows of a table: which columns hold them, and the rows of a Parquet file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Container, Iterator, Sequence
from operator import methodcaller
from pathlib import Path
from typing import Any

from ganvae.data.formats import Bad
from ganvae.data.pages import Checked
from ganvae.data.remote import need, opened
from ganvae.data.sources import count
from ganvae.data.workers import IMAGE_BYTES, LABEL_BYTES, Image
from ganvae.errors import DataError
from ganvae.foreign import gate
from ganvae.telling import plain, short

IMAGES = ("image", "img", "images", "pixel_values", "picture")
LABELS = ("label", "labels", "fine_label", "class", "cls", "target")
"""Names of columns of images and of classes, where nothing else says which they are."""
GROUP_BYTES, INFLATED = IMAGE_BYTES // 2, 4
"""A group of rows of a Parquet file takes so many bytes in memory, or so many times its own."""
PATH_ALONE = Bad("a path, not the bytes of an image")
"""What is said of an image that is only named, where no path is followed."""

Row = tuple[int, Image, str | None]
"""The number of a row, its image and its class."""


def rows(file: Any, path: str, start: int, unused: Counter[str]) -> Iterator[Row]:
    """Every row from a number on; groups of rows before it are not fetched. Raises DataError."""
    checked = Checked(file, path)
    parquet = need("pyarrow.parquet", path).ParquetFile(checked, pre_buffer=False)
    names = parquet.schema_arrow.names
    image, label, classes = _columns(parquet.schema_arrow)
    if image is None:
        raise DataError(f"{path} has no column of images among {', '.join(names)}; name it image")
    wanted = [column for column in (image, label) if column]
    others = [name for name in names if name not in wanted]
    number = 0
    for group in range(parquet.num_row_groups):
        metadata = parquet.metadata.row_group(group)
        for name in others:
            count(unused, f"cells of {plain(name)}", metadata.num_rows)
        if number + metadata.num_rows <= start:
            number += metadata.num_rows
            continue
        most = _rows_at_once(path, metadata.num_rows, *checked.load(metadata, wanted))
        tables = parquet.iter_batches(most, row_groups=[group], columns=wanted)
        for some in map(methodcaller("to_pylist"), tables):
            for row in some:
                if number >= start:
                    its_class = class_name(row[label] if label else None, classes)
                    yield number, _beside(path, cell(row[image])), its_class
                number += 1


def _rows_at_once(path: str, count: int, packed: int, unpacked: int) -> int:
    """How many rows of a group are read at once. Raises DataError for one that is too large."""
    if unpacked > max(GROUP_BYTES, INFLATED * packed) or count > unpacked:
        raise DataError(
            f"{path} holds {count:,} rows of {unpacked:,} bytes in {packed:,}; a group of"
            f" rows may take {GROUP_BYTES:,}, or {INFLATED} times what it has in the file:"
            " write it with smaller groups, or without compression"
        )
    # a cell may be all of it, again and again
    return max(1, min(32, GROUP_BYTES // max(1, unpacked)))


def class_names(path: str) -> list[str] | None:
    """The names that a file gives its classes, by number."""
    with gate(path), opened(path, 2**18) as file:
        return _columns(need("pyarrow.parquet", path).read_schema(file))[2]


def _columns(schema: Any) -> tuple[str | None, str | None, list[str] | None]:
    """The columns of images and of classes, and the names of the classes by number.

    They are told by the types that ``datasets`` writes into the file, else by the usual names.
    """
    try:
        kept = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        kinds = kept.get("info", {}).get("features") or {}
    except ValueError:
        kinds = {}
    kinds = {name: kind for name, kind in kinds.items() if isinstance(kind, dict)}
    images, labels = (
        {name for name, kind in kinds.items() if kind.get("_type") == wanted}
        for wanted in ("Image", "ClassLabel")
    )
    label = column(schema.names, labels, LABELS)
    return column(schema.names, images, IMAGES), label, kinds.get(label or "", {}).get("names")


def column(names: Collection[str], known: Container[str], usual: Sequence[str]) -> str | None:
    """The first column that is known to be of a kind, else the first of the usual names."""
    lower = {name.lower(): name for name in names}
    others = (lower[name] for name in usual if name in lower)
    return next((name for name in names if name in known), next(others, None))


def _beside(path: str, image: Image) -> Image:
    """An image, or the path that a row names, which must be in the folder of the rows' file."""
    if not isinstance(image, str):
        return image
    if "://" in path:
        return PATH_ALONE
    try:
        folder = Path(path).resolve().parent
        named = (folder / image).resolve()
    except (OSError, ValueError, RuntimeError):  # too long, a null character, a loop of links
        return Bad("a path that cannot be")
    return (
        str(named) if named.is_relative_to(folder) else Bad("a path out of the file's own folder")
    )


def cell(value: Any) -> bytes | str | Bad:
    """The encoded image in a cell: its bytes, or a path."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes) and len(value) > IMAGE_BYTES:
        return Bad(f"more than {IMAGE_BYTES:,} bytes")
    if isinstance(value, (bytes, str)):
        return value
    return Bad("empty cell" if value is None else f"a cell of {type(value).__name__}, not bytes")


def class_name(value: Any, names: Sequence[str] | None) -> str | None:
    """The class that a cell tells: one of ``names`` by its number, -1 being none, or itself."""
    if value is None or (names and value < 0):
        return None
    name = str(names[value] if names else value)
    if len(name) > LABEL_BYTES:
        raise DataError(
            f"the class {short(name, 60)} has a name of more than {LABEL_BYTES:,} characters"
        )
    return name
