"""Sets of tar or Parquet files as a source: how they are listed, and read several at once."""

from __future__ import annotations

import glob
import json
import os
import re
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import blake2b
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from ganvae.data import parquet
from ganvae.data.remote import explained, filesystem, is_passing, line, need
from ganvae.data.rng import bits
from ganvae.data.shard_files import Shard, read, stored_bytes
from ganvae.data.sources import SHARD, Index, Offline, Source, count, files_digest, own_split
from ganvae.data.workers import Item
from ganvae.errors import DataError
from ganvae.foreign import gate
from ganvae.telling import Address, plain, redacted, short, whole

NAMES = 100_000
"""Shards that the braces of an address may stand for."""
AHEAD, AHEAD_BYTES = 32, 2**23
"""Images that are read ahead of a shard, unless they take more bytes."""
_ORDER = 11


class Shards(Source):
    """Tar or Parquet files of images; in a tar file ``KEY.cls`` beside an image is its class.

    path: a file, a folder of them, a pattern (``shards-{000..019}.tar``, ``*.parquet``), or the
        address of one of these (``s3://…``, ``https://…``, ``hf://…``)
    files: where they are, if they are here and known already
    """

    kind = "shards"
    shares = "files"

    def __init__(self, path: str, files: list[Path] | None = None):
        self.path = Address(path)
        if path.startswith("pipe:"):
            raise DataError("pipe: sources run shell commands and are not read; give tar files")
        self._remote = "://" in path and not files
        self._files = files or ([] if self._remote else _local_files(path))
        names = "\0".join(str(file.resolve()) for file in self._files)
        self.identity = self.path.identity if self._remote else names
        self._unused = Counter[str]()
        self.shards: list[Shard] = []
        """From the last listing, those to train on first."""

    def index(self) -> Index:
        """Lists the shards with sizes and times, or a remote store's ETags. Raises Offline."""
        self._unused.clear()
        local = [Shard(str(file), files_digest([file])) for file in self._files]
        self.shards = listed(self.path) if self._remote else with_splits(local)
        digest = blake2b(digest_size=16)
        for shard in self.shards:
            digest.update(f"{shard.name}\0{shard.digest}\n".encode("utf-8", "surrogateescape"))
        index = Index(digest=digest.hexdigest())
        if mute := [shard.path for shard in self.shards if not shard.tells]:
            index.notes.append(f"{mute[0]} is taken as unchanged while its size is the same")
        return index

    def files(self) -> list[str]:
        """Where the shards are."""
        return [shard.path for shard in self.shards]

    def items(self, index: Index) -> Iterator[Item]:
        """Every picture of the shards that :meth:`index` has listed."""
        yield from self.read(self.shards, 1)

    def read(self, shards: Sequence[Shard], at_once: int) -> Iterator[Item]:
        """The pictures of some of the shards, so many of which are read at once."""
        for first in range(0, len(shards), at_once):
            group = shards[first : first + at_once]
            # map, because a loop's variable would keep an image while the next one is read
            yield from map(itemgetter(2), together(group, unused=self._unused))

    def unused(self) -> dict[str, int]:
        """Members of tar files that are no pictures, cells of other columns."""
        return dict(self._unused)

    def classes(self) -> list[str] | None:
        """The names that the first file gives its classes, if it is Parquet."""
        shard = next(iter(self.shards), None)
        return parquet.class_names(shard.path) if shard and shard.is_parquet else None


def shuffled(count: int, *seed: int) -> list[int]:
    """The places of so many shards in an order that follows from a seed."""
    order: list[int] = np.argsort(bits(np.arange(count), *seed, _ORDER), kind="stable").tolist()
    return order


def _local_files(pattern: str) -> list[Path]:
    names = map(os.path.expanduser, expanded(pattern))
    paths = [Path(path) for name in names for path in sorted(glob.glob(name))]
    if not paths:
        raise DataError(f"{pattern} does not exist; give a tar file, a folder of them or a URL")
    return paths


def listed(pattern: str) -> list[Shard]:
    """The shards of an address: one, a pattern (``{000..009}``, ``*``), or what a folder holds.

    Raises DataError where there are none, Offline where nobody answers.
    """
    names = expanded(whole(pattern))
    try:
        fs = filesystem(pattern)
        fs.invalidate_cache()  # or an old listing would be returned
        with ThreadPoolExecutor(16) as threads:
            parts = threads.map(lambda name: _matching(fs, name), names)
            shards = [shard for part in parts for shard in part]
    except DataError:
        raise
    except Exception as error:
        if is_passing(error):
            raise Offline(line(error)) from None
        raise explained(error, pattern) from None
    if not shards:
        raise DataError(
            f"{Address(pattern)} does not exist or holds no .tar or .parquet file; check"
            " the bucket and the name"
        )
    return with_splits(shards)


def expanded(pattern: str) -> list[str]:
    """Expands braces as a shell does. Raises DataError for too many names."""
    if "{" not in pattern:
        return [pattern]
    total, groups = 1, list[int]()
    for part in re.finditer(r"[{},]|(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?(?=\})", pattern):
        if part[1] and groups:
            first, last, step = (int(n[:19]) for n in (part[1], part[2], part[3] or "1"))
            groups[-1] = abs(last - first) // (abs(step) or 1) + 1
        elif part[0] == "{":
            groups.append(1)
        elif groups and part[0] == ",":
            groups[-1] += 1
        elif groups and part[0] == "}":
            total *= groups.pop()
    if total > NAMES:
        raise DataError(
            f"{short(plain(redacted(pattern)), 300)} stands for more than {NAMES:,} names; give a"
            " folder, or a pattern with *"
        )
    with gate(pattern, mend="check its braces"):
        return list(need("braceexpand", pattern).braceexpand(pattern))


def with_splits(shards: Sequence[Shard]) -> list[Shard]:
    """The shards, each with the split by the first word of its name, those to train on first."""
    splits = own_split({s.name: re.split(r"[-_.]", s.name)[0] for s in shards})
    with_split = [replace(shard, split=splits.get(shard.name)) for shard in shards]
    return sorted(with_split, key=lambda shard: shard.split == "test")


def _matching(fs: Any, name: str) -> list[Shard]:
    """The shards of one name without braces."""
    web = name.startswith(("http://", "https://"))
    if re.search(r"\*" if web else r"[*?\[]", name.partition("?")[0] if web else name):
        entries = fs.glob(name, detail=True)
    else:
        info = fs.info(name)
        if info["type"] != "directory":
            return [_shard(fs, name, info)]
        entries = {each["name"]: each for each in fs.ls(name, detail=True)}
    return [
        _shard(fs, path if web else fs.unstrip_protocol(path), info)
        for path, info in sorted(entries.items())
        if info["type"] != "directory" and SHARD.search(path.partition("?")[0])
    ]


_MARKS = ("ETag", "etag", "md5Hash", "content_md5", "blob_id", "generation", "Content-MD5")
_TIMES = ("LastModified", "Last-Modified", "last_modified", "updated", "mtime", "modified")


def _shard(fs: Any, path: str, info: dict[str, Any]) -> Shard:
    """A shard with a digest of its size and its ETag, checksum or modification time."""
    marks = [str(info[key]) for key in _MARKS if info.get(key)]
    marks = marks or [str(info[key]) for key in _TIMES if info.get(key)]
    path = Address(path)
    facts = json.dumps([path.identity, info.get("size"), *marks])
    return Shard(path, blake2b(facts.encode(), digest_size=16).hexdigest(), bool(marks))


def together(
    shards: Sequence[Shard],
    stop: threading.Event | None = None,
    unused: Counter[str] | None = None,
) -> Iterator[tuple[int, int, Item]]:
    """The images of some shards that are all read at once, one of each in turn.

    Yields the place among the shards, the number within the shard, and the image.

    stop: ends it early, even while it waits
    unused: what is passed over on the way is counted here by its kind
    """
    stop = stop or threading.Event()
    unused = Counter() if unused is None else unused
    readers = [_Reader(shard) for shard in shards]
    numbers = [0] * len(readers)
    alive = list(range(len(readers)))
    try:
        while alive:
            for place in list(alive):
                item = readers[place].take(stop, unused)
                if item is None:
                    alive.remove(place)
                    continue
                yield place, numbers[place], item
                del item  # or it would stay while the next one is waited for
                numbers[place] += 1
    finally:
        for reader in readers:
            reader.close()


class _Reader:
    """Reads a shard ahead in a thread of its own: while one waits, others are decoded."""

    def __init__(self, shard: Shard):
        self._ready: deque[tuple[Item | Exception | None, Counter[str]]] = deque()
        self._bytes, self._stop = 0, False
        self._changed = threading.Condition()
        threading.Thread(target=self._run, args=(shard,), daemon=True).start()

    def _run(self, shard: Shard) -> None:
        unused = Counter[str]()
        images = read(shard, unused=unused)
        try:
            # a loop's variable would keep an image while the next one is read
            while self._put(next(images, None), unused):
                pass
        except Exception as error:
            self._put(error, unused)
        finally:
            images.close()  # type: ignore[attr-defined]

    def _put(self, item: Item | Exception | None, unused: Counter[str]) -> bool:
        """Adds an image and waits for room for the next one; returns whether one is wanted."""
        with self._changed:
            self._ready.append((item, Counter(unused)))
            self._bytes += _weight(item)
            self._changed.notify_all()
            last = not isinstance(item, Item)
            del item
            unused.clear()
            self._changed.wait_for(lambda: last or self._stop or self._has_room())
            return not (last or self._stop)

    def _has_room(self) -> bool:
        return len(self._ready) < AHEAD and self._bytes <= AHEAD_BYTES

    def take(self, stop: threading.Event, unused: Counter[str]) -> Item | None:
        """The next image; None behind the last one, or to stop. Raises what reading raised.

        unused: what was passed over up to this image is added
        """
        with self._changed:
            while not (self._ready or stop.is_set()):
                self._changed.wait(0.2)
            if stop.is_set():
                return None
            item, passed_over = self._ready.popleft()
            self._bytes -= _weight(item)
            self._changed.notify_all()
        for kind, number in passed_over.items():
            count(unused, kind, number)
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        """Ends the thread at its next image."""
        with self._changed:
            self._stop = True
            self._ready.clear()
            self._changed.notify_all()


def _weight(item: Item | Exception | None) -> int:
    return stored_bytes(item.image) if isinstance(item, Item) else 0
