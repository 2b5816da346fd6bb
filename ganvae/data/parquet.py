"""Images in the rows of a table: which columns hold them, and the rows of a Parquet file."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Container, Iterator, Sequence
from operator import methodcaller
from pathlib import Path
from typing import Any

from ganvae.data.formats import Bad
from ganvae.data.remote import need, opened
from ganvae.data.sources import count
from ganvae.data.workers import IMAGE_BYTES, LABEL_BYTES, Image
from ganvae.errors import DataError
from ganvae.foreign import gate
from ganvae.telling import plain, redacted, short

IMAGES = ("image", "img", "images", "pixel_values", "picture")
LABELS = ("label", "labels", "fine_label", "class", "cls", "target")
"""Names of columns of images and of classes, where nothing else says which they are."""
GROUP_BYTES, INFLATED = IMAGE_BYTES // 2, 4
"""A group of rows of a Parquet file takes so many bytes in memory, or so many times its own."""
PATH_ALONE = Bad("a path, not the bytes of an image")
"""The error for a cell with a path, where no path is followed."""

Row = tuple[int, Image, str | None]
"""The number of a row, its image and its class."""


def rows(file: Any, path: str, start: int, unused: Counter[str]) -> Iterator[Row]:
    """Every row from a number on; groups of rows before it are not fetched. Raises DataError."""
    reader = Checked(file, path)
    parquet = need("pyarrow.parquet", path).ParquetFile(reader, pre_buffer=False)
    names = parquet.schema_arrow.names
    image, label, classes = _columns(parquet.schema_arrow)
    if image is None:
        raise DataError(f"{path} has no column of images among {', '.join(names)}; name it image")
    columns = [column for column in (image, label) if column]
    unused_columns = [name for name in names if name not in columns]
    number = 0
    for group in range(parquet.num_row_groups):
        metadata = parquet.metadata.row_group(group)
        for name in unused_columns:
            count(unused, f"cells of {plain(name)}", metadata.num_rows)
        if number + metadata.num_rows <= start:
            number += metadata.num_rows
            continue
        at_once = _rows_at_once(path, metadata.num_rows, *reader.load(metadata, columns))
        tables = parquet.iter_batches(at_once, row_groups=[group], columns=columns)
        for batch in map(methodcaller("to_pylist"), tables):
            for row in batch:
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
    # each cell may unpack to all of the bytes
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
        metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        kinds = metadata.get("info", {}).get("features") or {}
    except ValueError:
        kinds = {}
    kinds = {name: kind for name, kind in kinds.items() if isinstance(kind, dict)}
    images, labels = (
        {name for name, kind in kinds.items() if kind.get("_type") == type_name}
        for type_name in ("Image", "ClassLabel")
    )
    label = column(schema.names, labels, LABELS)
    return column(schema.names, images, IMAGES), label, kinds.get(label or "", {}).get("names")


def column(names: Collection[str], of_kind: Container[str], usual: Sequence[str]) -> str | None:
    """The first column that is known to be of a kind, else the first of the usual names."""
    lower = {name.lower(): name for name in names}
    by_name = (lower[name] for name in usual if name in lower)
    return next((name for name in names if name in of_kind), next(by_name, None))


def _beside(path: str, image: Image) -> Image:
    """An image, or the path that a row names, which must be in the folder of the rows' file."""
    if not isinstance(image, str):
        return image
    if "://" in path:
        return PATH_ALONE
    try:
        folder = Path(path).resolve().parent
        target = (folder / image).resolve()
    except (OSError, ValueError, RuntimeError):  # too long, a null character, a loop of links
        return Bad("a path that cannot be")
    inside = target.is_relative_to(folder)
    return str(target) if inside else Bad("a path out of the file's own folder")


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


class Checked:
    """A Parquet file whose columns are read and checked by :meth:`load` before pyarrow gets them.

    The sizes in a file's metadata may lie, and pyarrow allocates what each page header claims: so
    the page headers are added up before any page is unpacked.
    """

    closed = False

    def __init__(self, file: Any, name: str):
        self._file, self._at = file, 0
        self._name = short(plain(redacted(name)), 300)
        self._size: int = file.seek(0, os.SEEK_END)
        self._loaded: dict[int, bytes] = {}

    def seekable(self) -> bool:
        """Yes."""
        return True

    readable = seekable

    def tell(self) -> int:
        """The place that is read next."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Goes to another place."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def close(self) -> None:
        """The file is somebody else's."""

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        end = self._size if size < 0 else min(self._size, self._at + size)
        start, self._at = self._at, max(self._at, end)
        for first, data in self._loaded.items():
            if first <= start and end <= first + len(data):
                return data[start - first : end - first]  # a slice of all of it copies nothing
        self._file.seek(start)
        return bytes(self._file.read(max(0, end - start)))

    def load(self, group: Any, names: list[str]) -> tuple[int, int]:
        """Reads columns of a group of rows, and says how many bytes that are, packed and not."""
        self._loaded, unpacked = {}, 0
        for number in range(group.num_columns):
            column = group.column(number)
            if column.path_in_schema.split(".")[0] not in names:
                continue
            start = column.data_page_offset
            if column.dictionary_page_offset:
                start = min(start, column.dictionary_page_offset)
            size = column.total_compressed_size
            if not 0 <= start <= start + size <= self._size:
                raise DataError(f"cannot read {self._name}: a column lies beyond its end")
            self._file.seek(start)
            self._loaded[start] = bytes(self._file.read(size))
            unpacked += max(column.total_uncompressed_size, unpacked_size(self._loaded[start]))
        return sum(map(len, self._loaded.values())), unpacked


def unpacked_size(pages: bytes) -> int:
    """Bytes that the pages of a column say they unpack to."""
    at = total = 0
    while at < len(pages):
        header = _Header(pages, at)
        try:
            unpacked, packed = header.sizes()
        except IndexError:  # cut off or damaged: pyarrow stops here, too
            break
        if unpacked < 0 or packed < 0:
            break
        total += unpacked
        at = header.at + packed
    return total


class _Header:
    """A page's header, in the compact protocol of Thrift.

    | https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
    | https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
    """

    def __init__(self, data: bytes, at: int):
        self._data, self.at = data, at

    def sizes(self) -> tuple[int, int]:
        """uncompressed_page_size and compressed_page_size, fields 2 and 3."""
        sizes, field = {2: 0, 3: 0}, 0
        while kind := self._byte():
            field = field + (kind >> 4) if kind >> 4 else self._number()
            if field in sizes and kind & 15 == 5:
                sizes[field] = self._number()
            else:
                self._skip(kind & 15)
        return sizes[2], sizes[3]

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 128:
            value |= (byte & 127) << shift
            shift += 7
        return value | byte << shift

    def _number(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)

    def _skip(self, kind: int, *, inside: bool = False) -> None:
        """Passes over a value; truth values have a byte of their own inside a list or map."""
        if kind == 3 or (kind in (1, 2) and inside):
            self.at += 1
        elif kind in (4, 5, 6):
            self._varint()
        elif kind == 7:
            self.at += 8
        elif kind == 8:
            self.at += self._varint()
        elif kind in (9, 10):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            self._skip_all(count, head & 15)
        elif kind == 11:
            if count := self._varint():
                kinds = self._byte()
                self._skip_all(count, kinds >> 4, kinds & 15)
        elif kind == 12:
            while head := self._byte():
                if not head >> 4:
                    self._number()
                self._skip(head & 15)
        elif kind not in (1, 2):
            raise IndexError  # there is no such kind, and no way on

    def _skip_all(self, count: int, *kinds: int) -> None:
        for _ in range(count):
            for kind in kinds:
                self._skip(kind, inside=True)
            if self.at > len(self._data):
                raise IndexError
