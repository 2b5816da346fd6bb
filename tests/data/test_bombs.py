"""Small files that unpack to much, and how much memory each of them takes to be read."""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import encoded

MUCH = 112 << 20
"""Bytes that are claimed or unpacked to."""
_ZEROS = zlib.compressobj(1, wbits=31)
_SOME = _ZEROS.compress(bytes(1 << 20)) + _ZEROS.flush()
"""A mebibyte of zeros as a part of a gzip file."""


def zeros(size: int) -> bytes:
    """So many zeros, rounded up to mebibytes, as a part of a gzip file."""
    return _SOME * -(-size // (1 << 20))


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """The header of a tar member."""
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def member(name: str, content: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A tar member."""
    return header(name, len(content), kind) + content + bytes(-len(content) % 512)


def pictures(first: int = 0, count: int = 3) -> bytes:
    """Members that are what they seem."""
    return b"".join(member(f"{n}.png", encoded(n)) for n in range(first, first + count))


END = bytes(1024)


def sparse(size: int) -> bytes:
    """A member of one byte that is said to be so many."""
    head = bytearray(header("s.png", 512, tarfile.GNUTYPE_SPARSE))
    head[386:410] = b"%011o\0%011o\0" % (size - 1, 1)
    head[483:495] = b"%011o\0" % size
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + bytes(512)


def pax_sparse(size: int) -> bytes:
    """The same as POSIX archives have it."""
    told = {"major": "1", "minor": "0", "name": "s.png", "realsize": str(size)}
    info = tarfile.TarInfo("GNUSparseFile.0/s.png")
    info.pax_headers = {f"GNU.sparse.{key}": value for key, value in told.items()}
    info.size = 1024
    listed = f"1\n{size - 1}\n1\n".encode().ljust(512, b"\0")
    return info.tobuf(tarfile.PAX_FORMAT) + listed + bytes(512)


def npy(shape: str, dtype: str = "|u1", version: int = 1, length: int | None = None) -> bytes:
    """The beginning of an .npy file, whatever its shape says."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    size = struct.pack("<H" if version == 1 else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + size + text


def npz(arrays: dict[str, bytes], packed: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An .npz of given .npy files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packed, compresslevel=1) as archive:
        for name, content in arrays.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def parquet(cells: Iterator[bytes | None] | list[bytes | None], **options: object) -> bytes:
    """A Parquet file of images."""
    import pyarrow
    from pyarrow import parquet as files

    sink = io.BytesIO()
    table = pyarrow.table({"image": pyarrow.array(list(cells), pyarrow.binary())})
    files.write_table(table, sink, compression="zstd", **options)
    return sink.getvalue()


def packed(*parts: bytes) -> bytes:
    """A gzip file with a part in the middle that is packed already."""
    return b"".join(gzip.compress(part, 1) if part[:2] != b"\x1f\x8b" else part for part in parts)


def lying(whole: bytes) -> bytes:
    """A Parquet file that says its only column is small, whatever its pages unpack to."""
    from pyarrow import parquet as files

    said = files.ParquetFile(io.BytesIO(whole)).metadata.row_group(0).column(0)
    varint, number = bytearray(), 2 * said.total_uncompressed_size
    while number > 127:
        varint.append(number & 127 | 128)
        number >>= 7
    varint.append(number)
    small = b"\xd0\x8f".ljust(len(varint) - 1, b"\x80") + b"\0"
    assert whole.count(varint) >= 1
    return whole.replace(varint, small)


def tars() -> Iterator[tuple[str, bytes]]:
    """Tar files."""
    before, after = pictures(), pictures(3) + END
    yield "sparse.tar", before + sparse(3 << 30) + after
    yield "pax-sparse.tar", before + pax_sparse(3 << 30) + after
    for name in ("large.png", "large.cls", "clip.mp4"):
        yield (
            f"{name.removesuffix('.mp4')}.tar.gz",
            packed(before + header(name, MUCH), zeros(MUCH), after),
        )
    for name, kind in (("pax", b"x"), ("global", b"g"), ("name", b"L"), ("link", b"K")):
        yield f"{name}.tar.gz", packed(before + header("long", MUCH, kind), zeros(MUCH), after)
    long = gzip.compress(member("long", b"a" * 200_000, b"L"))
    yield "names.tar.gz", packed(before, long * (MUCH // 200_000), after)
    rest = gzip.compress((b"\n" + bytes(192)).rjust(200_192 - 15, b"v"))
    heads = (header("g", 200_000, b"g") + b"200000 k%06d=" % n for n in range(MUCH // 200_000))
    told = (part for head in heads for part in (head, rest, before))
    yield "globals.tar.gz", packed(*told, END)
    first = encoded(1).ljust(1 << 20, b"\0")
    for name in ("full", "x"):
        heads = (header(f"{name}.{letter}.png", 23 << 20) + first for letter in "abcdef")
        whole = (part for head in heads for part in (head, zeros(22 << 20)))
        yield f"{name}.tar.gz", packed(*whole, END)


def others() -> Iterator[tuple[str, bytes]]:
    """Arrays and rows."""
    small = npy("(3, 8, 8)") + bytes(192)
    yield "rows.npz", npz({"images": npy("(8, 20000, 20000, 3)") + bytes(1 << 20)})
    yield "labels.npz", npz({"images": small, "labels": npy("(1000000000,)", "<i8")})
    yield "labels-names.npz", npz({"images": small, "labels": npy("(3,)", "<U100000000")})
    yield "full.npz", npz({"images": npy("(3, 3, 2800, 2800)") + bytes(3 * 3 * 2800**2)})
    yield "deep.npz", npz({"images": npy("(3, 3400, 3400)", "<u2") + bytes(3 * 2 * 3400**2)})
    yield "bz2.npz", npz({"images": npy("(3, 8, 8)") + bytes(1 << 20)}, zipfile.ZIP_BZIP2)
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, MUCH, 0, 0)
    yield "list.npz", bytes(MUCH) + tail
    yield "header.npy.gz", packed(npy("()", version=2, length=MUCH), zeros(MUCH))
    large = struct.pack(">4B3I", 0, 0, 8, 3, 9, 1 << 16, 1 << 16)
    yield "large-images-idx3-ubyte.gz", packed(large, zeros(MUCH))
    cells = parquet([bytes(23 << 20)] * 5, use_dictionary=False)
    yield "cells.parquet", cells
    yield "lying.parquet", lying(cells)
    one = {"use_dictionary": ["image"], "dictionary_pagesize_limit": 1 << 30}
    yield "one.parquet", parquet([bytes(11 << 20)] * 12, **one)
    yield "none.parquet", parquet([None] * 100_000)
    full = encoded(1).ljust(11 << 20, b"\0")
    yield "full.parquet", parquet([full] * 4, use_dictionary=False, row_group_size=1)


READ = """
import gc, json, sys
from pathlib import Path
from ganvae.data.find import find
from ganvae.data.decode import Bad, Preparation
from ganvae.data.workers import prepare_all
from ganvae.errors import DataError

def peak():
    most = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) << 10
    Path("/proc/self/clear_refs").write_text("5")
    return most

def read(path):
    try:
        source = find(str(path))
        items = source.items(source.index())
        made = [made for _, made in prepare_all(items, Preparation(height=8, width=8), 0)]
    except DataError as error:
        return str(error)
    bad = sorted({str(m) for m in made if isinstance(m, Bad)})
    return f"{sum(not isinstance(m, Bad) for m in made)} images, {bad}, {source.unused()}"

read(sys.argv[1])
for path in sys.argv[1:]:
    gc.collect()
    peak()
    before = peak()
    print(json.dumps([Path(path).name, read(path), peak() - before]), flush=True)
"""
"""Prints what each file gives or is refused with, and what it takes; importing is not counted."""


def read(paths: list[Path]) -> dict[str, tuple[str, int]]:
    """What is said of every file, and the bytes that the memory of its process grew by."""
    given = [sys.executable, "-c", READ, *map(str, paths)]
    done = subprocess.run(given, stdout=subprocess.PIPE, text=True, check=True)
    told = map(json.loads, done.stdout.splitlines())
    return {name: (said, grown) for name, said, grown in told}


SAID = {
    "first": "3 images, [], {}",
    "sparse": "6 images, ['stored as a sparse file",
    "pax-sparse": "6 images, ['stored as a sparse file",
    "large.png": "6 images, ['more than 25,165,824 bytes'], {}",
    "clip": "6 images, [], {'.mp4': 1}",
    "large.cls": "6 images, [], {'classes that are too long': 1}",
    "pax": "a header in ",
    "global": "a header in ",
    "name": "a header in ",
    "link": "a header in ",
    "names": "a header in ",
    "globals": "the global header of ",
    "full": " images, [], {}",
    "x": "6 images, [], {}",
    "rows": "each row of ",
    "large": "each row of ",
    "labels": "has shape (1000000000,) for 3 images",
    "labels-names": "each row of ",
    "header": "the header of ",
    "deep": "3 images, [], {}",
    "bz2": "is packed as numpy does not",
    "list": "the list of arrays in ",
    "cells": "write it with smaller groups",
    "lying": "write it with smaller groups",
    "one": "0 images, ['not an image",
    "none": "write it with smaller groups",
}
"""What is said of each file."""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone tells peaks")
@pytest.mark.parametrize("which", [tars, others])
def test_s1_small_files_take_little_memory(which, tmp_path):
    first, clip = tmp_path / "first.tar", tmp_path / "clip.tar"
    first.write_bytes(pictures() + END)
    with clip.open("wb") as file:  # as large as it says, and in nobody's way
        file.write(pictures() + header("clip.mp4", 3 << 30))
        file.seek(3 << 30, 1)
        file.write(pictures(3) + END)
    made = dict(which())
    for name, content in made.items():
        (tmp_path / name).write_bytes(content)
    found = read([first, clip, *(tmp_path / name for name in made)])
    assert len(found) == len(made) + 2
    for name, (said, grown) in found.items():
        assert SAID[re.sub(r"-images.*|(\.tar|\.npy)?\.\w+$", "", name)] in said, name
        assert grown < 100e6, f"{name} takes {grown / 1e6:.0f} MB"
