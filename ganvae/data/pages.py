"""The pages of a Parquet file, looked at before they are unpacked.

What a file says of its sizes may be wrong, and a reader believes every page what it unpacks to.
"""

from __future__ import annotations

import os
from typing import Any

from ganvae.errors import DataError
from ganvae.telling import plain, redacted, short


class Checked:
    """A Parquet file to read from, with what :meth:`load` has read of it, which is once enough."""

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
                return data[start - first : end - first]  # all of it is no copy
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
        except IndexError:  # it is cut off or damaged, and nobody reads on behind it
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
