"""Arrays of others: whatever is wrong with them is told in a sentence."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from ganvae.data.find import find
from ganvae.errors import DataError


def npy(header: str | bytes, content: bytes = b"") -> bytes:
    """An .npy file with any header."""
    text = header.encode() if isinstance(header, str) else header
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + content


def shaped(shape: str, dtype: str = "'|u1'") -> bytes:
    return npy(f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}}}", bytes(999))


def idx(*sizes: int, kind: int = 8) -> bytes:
    return struct.pack(f">4B{len(sizes)}I", 0, 0, kind, len(sizes), *sizes) + bytes(999)


def npz(**arrays: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in arrays.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def used(path: Path) -> list[np.ndarray]:
    """All images of a source."""
    source = find(str(path))
    source.size()
    images = [item.image for item in source.items(source.index())]
    assert all(isinstance(image, np.ndarray) for image in images)
    return images  # type: ignore[return-value]


SMALL = shaped("(3, 8, 8)")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.npy", shaped("(4611686018427387904, 8, 8)", "'<f8'")),
        ("a.npy", shaped("(1099511627776, 1099511627776, 1099511627776)")),
        ("a.npy", shaped("(3, 4294967296, 4294967296)")),
        ("a.npy", shaped("(-1, 8, 8)")),
        ("a.npy", shaped("(3, -8, -8)")),
        ("a.npy", shaped("(3, 8, 8)", "'|V0'")),
        ("a.npy", shaped("(9999999999999, 1, 1)", "'<U0'")),
        ("a.npy", shaped("(" + "9" * 4000 + ", " + "9" * 4000 + ")")),
        ("a.npy", shaped("(" + "999999999999999, " * 500 + ")")),
        ("a.npy", shaped("(3.0, 8, 8)")),
        ("a.npy", shaped("(3, 8, 8)", "[('x', '|u1')]")),
        ("a.npy", shaped("(3, 8, 8)", "'<M8[D]'")),
        ("a.npy", shaped("(3, 8, 8)", "'" + "9" * 400 + "u1'")),
        ("a.npy", npy("(" * 9000)),
        ("a.npy", npy("{'descr': " + "[" * 5000 + "]" * 5000 + "}")),
        ("a.npy", npy("-" * 9000 + "1")),
        ("a.npy", npy("9" * 9000)),
        ("a.npy", npy(b"\xff\0\n'")),
        ("a.npy", npy("{")),
        ("a.npy.gz", gzip.compress(SMALL, mtime=0)[:60]),
        ("a.npy.gz", b"\x1f\x8b" + bytes(50)),
        ("a-images-idx3-ubyte", idx(2**32 - 1, 2**32 - 1, 2**32 - 1)),
        ("a-images-idx3-ubyte", idx(2**32 - 1, 2**32 - 1, 2**32 - 1, kind=14)),
        ("a-images-idx3-ubyte", idx(*[2**32 - 1] * 255)),
        ("a-images-idx3-ubyte", idx(3, 8)),
        ("a-images-idx3-ubyte", idx(3, 0, 8)),
        ("a-images-idx3-ubyte", b"\0\0\x08\xff"),
        ("a-images-idx3-ubyte.gz", gzip.compress(idx(3, 8, 8), mtime=0)[:15]),
        ("a.npz", npz(images=SMALL, labels=shaped("(3,)", "'|O'"))),
        ("a.npz", npz(images=SMALL, labels=shaped("(3,)", "'<M8[D]'"))),
        ("a.npz", npz(images=SMALL, labels=shaped("(3,)", "'<U0'"))),
        ("a.npz", npz(images=SMALL, labels=shaped("(3,)", "'<U400'"))),
        ("a.npz", npz(images=SMALL, labels=npy("(" * 9000))),
        ("a.npz", npz(images=SMALL)[:-30]),
        ("a.npz", npz(images=SMALL).replace(b"images.npy", b"images.npx", 1)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # bytes differ by the time
)
def test_r8_arrays_that_cannot_be_are_refused_in_a_sentence(
    name: str, content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        used(path)
    assert name in str(refused.value) and len(str(refused.value)) < 500


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.npy.gz", "a-images-idx3-ubyte"])
def test_r8_damage_of_any_kind_is_refused_or_read(name: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    whole = {"z": npz(images=SMALL, labels=shaped("(3,)")), "e": idx(3, 8, 8)}.get(name[-1], SMALL)
    path = tmp_path / name
    for _ in range(150):
        damaged = bytearray(whole[: random.integers(1, len(whole) + 200)])
        for at in random.integers(0, min(300, len(damaged)), random.integers(0, 4)):
            damaged[at] = random.integers(0, 256)
        path.write_bytes(gzip.compress(damaged) if name.endswith("gz") else damaged)
        with suppress(DataError):
            used(path)


def test_labels_are_read_beside_the_images(tmp_path: Path) -> None:
    images = np.arange(1000 * 4, dtype=np.uint16).reshape(1000, 2, 2)
    labels = np.array([f"kind {n % 7}" for n in range(1000)])
    np.savez_compressed(tmp_path / "a.npz", images=images, labels=labels, extra=images)
    source = find(str(tmp_path / "a.npz"))
    items = list(source.items(source.index()))
    assert [item.label for item in items] == labels.tolist()
    np.testing.assert_array_equal(np.stack([item.image for item in items]), images)
    assert source.unused() == {"array extra": 1}


def test_a_pipe_is_no_array(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "a.npy")
    with pytest.raises(DataError, match="not a regular file"):
        used(tmp_path / "a.npy")
