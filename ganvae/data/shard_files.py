"""One file of many images, tar or Parquet, here or far away: reading the pictures in it."""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice, starmap
from typing import Any

from ganvae.data import parquet
from ganvae.data.formats import EXTENSIONS, Bad
from ganvae.data.remote import explained, is_passing, opened
from ganvae.data.sources import count
from ganvae.data.workers import IMAGE_BYTES, LABEL_BYTES, Image, Item
from ganvae.errors import DataError
from ganvae.foreign import Limited, too_large

HEADER_BYTES = 2**18
"""The most bytes that the headers before a member of a tar file may take."""
NAME_LENGTH = 4096
"""The most characters that the name of a member may have, as of a path."""
ASIDE = 8
"""Pictures of a tar sample buffered at most: a later one may prove to be its main picture."""
ABOUT = "beside a sample's own picture (KEY.WORD.png)"
PATIENCE = 6
"""How often a connection that was lost is tried again, with pauses of 1, 2, 4, … seconds."""


@dataclass(frozen=True)
class Shard:
    """One file.

    path: where it is; as an :class:`~ganvae.telling.Address`, where that is far away
    digest: hex; another one where the contents may have changed
    tells: whether it would change if the contents did and the size did not
    """

    path: str
    digest: str
    tells: bool = True
    split: str | None = None

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.partition("?")[0].rpartition("/")[2]

    @property
    def is_parquet(self) -> bool:
        """Whether it is a Parquet file; a tar file otherwise."""
        return self.name.lower().endswith(".parquet")


def read(shard: Shard, start: int = 0, unused: Counter[str] | None = None) -> Iterator[Item]:
    """The images of a shard from a number on, encoded as they are stored.

    A connection that is lost is made again, and the reading goes on behind the last image.
    Raises DataError in one sentence for anything else.

    unused: what is in the shard and is not taken is counted here by its kind
    """
    lost, counted = 0, Counter[str]()
    while True:
        met = Counter[str]()  # a new count, because a second try reads the shard from its start
        try:
            for item in _open(shard, start, met):
                _add_new(unused, met, counted)
                yield item
                del item  # or it would stay while the next one is read
                start, lost = start + 1, 0
            _add_new(unused, met, counted)
            return
        except DataError:
            raise
        except Exception as error:
            if not is_passing(error) or lost == PATIENCE:
                raise explained(error, shard.path) from None
            time.sleep(2**lost)
            lost += 1


def _add_new(unused: Counter[str] | None, met: Counter[str], counted: Counter[str]) -> None:
    """Adds the counts in ``met`` that are not in ``counted`` yet, to both counters."""
    if unused is not None and met != counted:
        unused.update(met - counted)
        counted |= met


def _open(shard: Shard, start: int, unused: Counter[str]) -> Iterator[Item]:
    with opened(shard.path) as file:
        if shard.is_parquet:
            rows = parquet.rows(file, shard.path, start, unused)
            yield from starmap(partial(_item, shard), rows)
        elif shard.name.lower().endswith("gz"):
            with gzip.open(file) as inner:
                yield from islice(_tar(inner, shard, unused), start, None)
        else:
            buffered = io.BufferedReader(file, 2**18)
            yield from islice(_tar(buffered, shard, unused), start, None)


def _item(shard: Shard, row: int, image: Image, label: str | None) -> Item:
    return Item(name=f"{shard.name}/{row}", image=image, label=label, split=shard.split)


# ----------------------------------------------------------------------------------------- tar


def _tar(file: Any, shard: Shard, unused: Counter[str]) -> Iterator[Item]:
    """The pictures of a tar file, each with its class; what is not one is skipped and counted."""
    archive = _Forward(file, shard)
    sample = _Sample(shard, "", unused)
    for member in _members(archive, shard):
        if member.isdir():
            continue
        folder, slash, base = member.name.rpartition("/")
        stem, dot, ending = base.rpartition(".")
        key = f"{folder}{slash}{stem}"
        if why := _passed_over(member, ending.lower() if dot else ""):
            count(unused, why)
            continue
        if (root := f"{folder}{slash}{_root(stem)}") != sample.root:
            yield from sample.finish()
            sample = _Sample(shard, root, unused)
        if ending.lower() == "cls":
            sample.label(key, archive.content(member).decode("utf-8", "replace").strip())
        elif sample.wants(key):
            yield from sample.room(member.size)
            sample.add(key, member.name, _picture(archive, member))
    yield from sample.finish()


def _passed_over(member: tarfile.TarInfo, ending: str) -> str:
    """The kind of a member that is neither a picture nor a class; "" for these."""
    parts = member.name.split("/")
    if any(part == "__MACOSX" or (part.startswith(".") and part.strip(".")) for part in parts):
        return "hidden"
    if len(member.name) > NAME_LENGTH:
        return "names that are too long"
    if member.islnk() or member.issym():
        return "links"
    if not member.isreg():
        return "no regular files"
    if f".{ending}" in EXTENSIONS:
        return ""
    if ending == "cls":
        return "classes that are too long" if member.size > LABEL_BYTES else ""
    return f".{ending}" if re.fullmatch(r"\w{1,12}", ending) else "no extension"


def _picture(archive: _Forward, member: tarfile.TarInfo) -> bytes | Bad:
    if member.issparse():
        return Bad("stored as a sparse file; pack it without --sparse")
    if member.size > IMAGE_BYTES:
        return Bad(f"more than {IMAGE_BYTES:,} bytes")
    return archive.content(member)


class _Sample:
    """Files that follow each other under names that differ in words and endings only.

    ``KEY.jpg`` is a sample's picture, and others such as ``KEY.seg.png`` are about it. Where no
    picture has the plain name each of them is one.
    """

    def __init__(self, shard: Shard, root: str, unused: Counter[str]):
        self.root, self._shard, self._unused = root, shard, unused
        self._images: dict[str, tuple[str, bytes | Bad]] = {}
        self._labels: dict[str, str] = {}
        self._has_own = self._has_yielded = False

    def label(self, key: str, name: str) -> None:
        """Takes the class of a picture, or of all of them."""
        self._labels[key] = name
        if len(self._labels) > ASIDE:
            self._labels.pop(next(iter(self._labels)))

    def wants(self, key: str) -> bool:
        """Whether a picture is taken; the sample's own picture makes others those about it."""
        if key in self._images:
            count(self._unused, "of a name that was there before")
        elif self._has_own:
            count(self._unused, ABOUT)
        else:
            if key == self.root and self._images:
                count(self._unused, ABOUT, len(self._images))
                self._images.clear()
            self._has_own = key == self.root
            return True
        return False

    def room(self, size: int) -> Iterator[Item]:
        """Yields the oldest pictures until there is room for one of so many bytes."""
        while self._images and (
            len(self._images) >= ASIDE
            or size + sum(stored_bytes(image) for _, image in self._images.values()) > IMAGE_BYTES
        ):
            yield self._take(next(iter(self._images)))

    def add(self, key: str, name: str, image: bytes | Bad) -> None:
        """Takes a picture that is wanted."""
        self._images[key] = name, image

    def finish(self) -> Iterator[Item]:
        """The pictures that are left."""
        if self._labels and not self._images and not self._has_yielded:
            count(self._unused, "classes without a picture", len(self._labels))
        while self._images:
            yield self._take(next(iter(self._images)))

    def _take(self, key: str) -> Item:
        self._has_yielded = True
        name, image = self._images.pop(key)
        label = self._labels.get(key, self._labels.get(self.root))
        name = f"{self._shard.name}/{name}"
        return Item(name=name, image=image, label=label or None, split=self._shard.split)


def _root(stem: str) -> str:
    """The key of a sample in the name of one of its files: without words such as ``.seg``."""
    parts = stem.split(".")
    while len(parts) > 1 and re.fullmatch(r"[^\W\d]\w*", parts[-1]):
        parts.pop()
    return ".".join(parts)


def stored_bytes(image: Any) -> int:
    """Bytes of an encoded image; 0 for what is none."""
    return len(image) if isinstance(image, bytes) else 0


class _Forward(Limited):
    """An archive that is read forwards: what is skipped is not kept, and no header is large.

    ``tarfile`` reads whatever a header says, so it is given this to read from.
    """

    def __init__(self, file: Any, shard: Shard):
        super().__init__(file, HEADER_BYTES, f"a header in {shard.path}")
        self._at = 0

    def read(self, size: int | None = -1) -> bytes:
        """So many bytes, fewer at the end."""
        if size is None or size < 0:
            raise tarfile.ReadError("a negative size")
        data = super().read(size)
        self._at += len(data)
        return data

    def tell(self) -> int:
        """Bytes read or skipped."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """Skips what lies between."""
        if offset < self._at:
            raise tarfile.ReadError("a header leads back")
        try:
            self._file.seek(offset)
        except ValueError:  # some servers send a file from its beginning to its end only
            rest = offset - self._at
            while rest and (part := self._file.read(min(rest, 2**18))):
                rest -= len(part)
        self._at = offset
        return offset

    def content(self, member: tarfile.TarInfo) -> bytes:
        """All of a member, which is known not to be too large."""
        self.renew(member.size)
        self.seek(member.offset_data)
        data = self.read(member.size)
        if len(data) < member.size:
            raise tarfile.ReadError("unexpected end of data")
        return data


def _members(archive: _Forward, shard: Shard) -> Iterator[tarfile.TarInfo]:
    """The members of an archive, headers and nothing else read, up to its very end."""
    reader = tarfile.TarFile(fileobj=archive)
    while (member := reader.next()) is not None:
        reader.members = []  # type: ignore[attr-defined] # or it would keep all of them
        headers = reader.pax_headers.items()  # of all members, and they may be added to
        if sum(len(key) + len(value) for key, value in headers) > HEADER_BYTES:
            raise DataError(too_large(f"the global header of {shard.path}", HEADER_BYTES))
        yield member
        archive.renew(HEADER_BYTES)
    _refuse_cut(archive)


def _refuse_cut(archive: _Forward) -> None:
    """Raises ReadError unless nothing but zeros, two blocks or more, follows the last member."""
    zeros = 0
    archive.renew(2**18)
    while part := archive.read(2**18):
        archive.renew(2**18)
        if part.strip(b"\0"):
            raise tarfile.ReadError("a header in the middle is damaged")
        zeros += len(part)
    if zeros < tarfile.BLOCKSIZE:  # the reader has taken the first of the two blocks
        raise tarfile.ReadError("unexpected end of data")
