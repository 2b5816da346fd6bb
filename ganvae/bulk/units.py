"""A set of images cut into units of work, and each unit read in pieces: one piece, one part."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from ganvae.bulk.parts import Part
from ganvae.data import shard_files, sources
from ganvae.data.decode import Bad, Preparation
from ganvae.data.find import find
from ganvae.data.workers import Item, prepare_all
from ganvae.errors import ConfigError, DataError
from ganvae.telling import Address, whole


@dataclass(frozen=True)
class Piece:
    """The input of one part: decoded images, or a range of numbers.

    part: its name
    head: names, labels and the like, JSON-able
    pixels: of its images, uint8 of shape (n, H, W, C), as bytes
    last: whether it is the last one of a stream
    """

    part: str
    head: dict[str, Any]
    pixels: bytes = b""
    last: bool = False

    def pack(self) -> dict[str, list[bytes]]:
        """As a batch of one row, which any Arrow table can hold."""
        message = {"part": self.part, "head": self.head, "last": self.last}
        return {"told": [json.dumps(message).encode("ascii")], "pixels": [self.pixels]}

    @staticmethod
    def unpack(batch: Mapping[str, Any]) -> Iterator[Piece]:
        """The pieces of a batch."""
        for message, pixels in zip(batch["told"], batch["pixels"], strict=True):
            yield Piece(**json.loads(message), pixels=pixels)


@dataclass(frozen=True)
class Unit:
    """Images that one worker reads.

    items: name, path and class of every image, where they are listed
    path: else of the file or stream that they are read off
    number: of the part, or of the file
    file: whether it is one of the files of a source, and its parts are named after it
    step, first: of a stream only every so many-th part is read, from this one on
    done: numbers of the parts of a stream that are finished
    """

    number: int
    items: list[tuple[str, str, str | None]] = field(default_factory=list)
    path: str = ""
    file: bool = False
    step: int = 1
    first: int = 0
    done: list[int] = field(default_factory=list)

    def pack(self) -> bytes:
        """As JSON in ASCII, which keeps any file name."""
        return json.dumps(asdict(self)).encode("ascii")

    @staticmethod
    def unpack(data: bytes) -> Unit:
        """The reverse of :meth:`pack`."""
        return Unit(**json.loads(data))


def listed(data: str | Path) -> tuple[sources.Source, sources.Index]:
    """A source and its listing. Raises DataError."""
    source = find(str(data))
    try:
        return source, source.index()
    except sources.Offline as offline:
        raise DataError(f"{source.path} cannot be reached: {offline}") from None


def cut(
    source: sources.Source,
    index: sources.Index,
    size: int,
    done: Mapping[str, Part],
    streams: int = 1,
) -> list[Unit]:
    """The units of a source that are not finished.

    size: images a part
    done: the finished parts
    streams: how many workers read an array at once, each its share of the parts
    """
    if size < 1:
        raise ConfigError(f"a part must have at least 1 image, got {size}")
    if source.shares == "images":
        return list(_image_units(source, index, size, done))
    if source.shares == "files":
        files = map(absolute, source.files())
        return [unit for i, path in enumerate(files) if (unit := _file_unit(i, path, done))]
    numbers = [int(name.removeprefix("part-")) for name in done]
    step = streams if source.shares == "rows" else 1
    return [
        Unit(0, path=absolute(source.path), step=step, first=i, done=numbers) for i in range(step)
    ]


def _image_units(
    source: sources.Source, index: sources.Index, size: int, done: Mapping[str, Part]
) -> Iterator[Unit]:
    """Parts of the files of a folder."""
    for number, items in enumerate(_chunks(source.items(index), size)):
        if f"part-{number:06d}" not in done:
            yield Unit(number, [(item.name, str(item.image), item.label) for item in items])


def absolute(path: str) -> str:
    """A path for workers that run elsewhere; addresses and names stay as they are."""
    path = whole(path)
    local = Path(path).expanduser()
    return str(local.resolve()) if path != sources.DIGITS and local.exists() else path


def _file_unit(number: int, path: str, done: Mapping[str, Part]) -> Unit | None:
    """A file of shards or rows; None where all its parts are finished."""
    prefix = f"part-{number:06d}-"
    parts = {
        int(name.removeprefix(prefix)): done[name] for name in done if name.startswith(prefix)
    }
    if any(part.last and len(parts) == at + 1 for at, part in parts.items()):
        return None
    return Unit(number, path=path, file=True, done=sorted(parts))


def read(unit: Unit, how: Preparation, size: int) -> Iterator[Piece]:
    """The pieces of a unit that are not finished, decoded in this process; see :func:`cut`."""
    if unit.items:
        items = [Item(name=name, image=path, label=label) for name, path, label in unit.items]
        yield _piece(f"part-{unit.number:06d}", items, how)
        return
    number = 0
    while unit.file and number in unit.done:
        number += 1
    stream = _stream(unit, number * size)
    waiting = list(islice(stream, 1))  # one ahead only: encoded images may be large
    while waiting:
        some = chain(_drain(waiting), islice(stream, size - 1))
        piece = None
        if number % unit.step == unit.first and number not in unit.done:
            name = f"part-{unit.number:06d}-{number:06d}" if unit.file else f"part-{number:06d}"
            piece = _piece(name, some, how)
        deque(some, 0)  # skips the images of a part that is not due
        waiting = list(islice(stream, 1))
        if piece:
            yield replace(piece, last=not waiting)
        number += 1


def _drain(items: list[Item]) -> Iterator[Item]:
    while items:
        yield items.pop()


def _stream(unit: Unit, start: int) -> Iterator[Item]:
    """The items of a file from a number on, or all of another stream."""
    if unit.file:
        return shard_files.read(shard_files.Shard(Address(unit.path), ""), start)
    source, index = listed(unit.path)
    return source.items(index)


def _piece(part: str, items: Iterable[Item], how: Preparation) -> Piece:
    names: list[str] = []
    kinds: list[str | None] = []
    skipped: list[tuple[str, str]] = []
    pixels: list[np.ndarray] = []
    for item, outcome in prepare_all(items, how, 0):
        if isinstance(outcome, Bad):
            skipped.append((item.name, str(outcome)))
            continue
        names.append(item.name)
        kinds.append(item.label)
        same = outcome.pixels.shape[2] == how.channels
        pixels.append(outcome.pixels if same else outcome.pixels.repeat(how.channels or 1, 2))
    head = {"names": names, "kinds": kinds, "skipped": skipped}
    return Piece(part, head, np.stack(pixels).tobytes() if pixels else b"")


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
