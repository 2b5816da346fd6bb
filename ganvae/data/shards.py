"""Files of many images, tar shards and Parquet, wherever ``fsspec`` reaches: here or far away."""

from __future__ import annotations

import errno
import gzip
import io
import json
import re
import tarfile
import threading
import time
import zlib
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from importlib import import_module
from itertools import islice
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np

from ganvae.data.draws import bits
from ganvae.data.formats import EXTENSIONS, Bad
from ganvae.data.pages import Checked
from ganvae.data.sources import SHARD, Offline, own_split
from ganvae.data.workers import IMAGE_BYTES, KINDS, LABEL_BYTES, Item
from ganvae.errors import DataError
from ganvae.foreign import Limited, gate, too_large
from ganvae.telling import Address, plain, redacted, short, whole

IMAGES = ("image", "img", "images", "pixel_values", "picture")
LABELS = ("label", "labels", "fine_label", "class", "cls", "target")
"""Names of columns of images and of classes, where nothing else says which they are."""
BLOCK = 2**23
"""Bytes asked for at once; a request to an object store takes as long as some of them."""
HEADER_BYTES = 2**18
"""What stands before a member of a tar file takes at most: its name, and what else is told."""
NAME_LENGTH = 4096
"""Characters of the name of a member, as of a path."""
GROUP_BYTES, INFLATED = IMAGE_BYTES // 2, 4
"""A group of rows of a Parquet file takes so many bytes in memory, or so many times its own."""
NAMES = 100_000
"""Shards that the braces of an address may stand for."""
ASIDE = 8
"""Pictures that wait for the one that they may be about."""
ABOUT = "beside a sample's own picture (KEY.WORD.png)"
AHEAD, AHEAD_BYTES = 32, 2**23
"""Images that are read ahead of a shard, unless they take more bytes."""
_ORDER = 11
PATIENCE = 6
"""How often a connection that was lost is tried again, with pauses of 1, 2, 4, … seconds."""


def need(module: str, what: str, *, package: str = "'ganvae[hub]'") -> Any:
    """A module of an extra. Raises DataError where it is not installed."""
    try:
        return import_module(module)
    except ImportError:
        raise DataError(
            f"{what} needs the package {module}, which is not installed;"
            f" install it with: pip install {package}"
        ) from None


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


# ------------------------------------------------------------------------------------- listing


def listed(pattern: str) -> list[Shard]:
    """The shards of an address: one, a pattern (``{000..009}``, ``*``), or what a folder holds.

    Raises DataError where there are none, Offline where nobody answers.
    """
    names = expanded(whole(pattern))
    try:
        fs = filesystem(pattern)
        fs.invalidate_cache()  # or listings would stay as they were first
        with ThreadPoolExecutor(16) as threads:
            parts = threads.map(lambda name: _named(fs, name), names)
            found = [shard for part in parts for shard in part]
    except DataError:
        raise
    except Exception as error:
        if is_passing(error):
            raise Offline(line(error)) from None
        raise told(error, pattern) from None
    if not found:
        raise DataError(
            f"{Address(pattern)} does not exist or holds no .tar or .parquet file; check"
            " the bucket and the name"
        )
    return with_splits(found)


def expanded(pattern: str) -> list[str]:
    """What braces stand for, as in a shell. Raises DataError where that is too much."""
    if "{" not in pattern:
        return [pattern]
    most, groups = 1, list[int]()
    for part in re.finditer(r"[{},]|(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?(?=\})", pattern):
        if part[1] and groups:
            first, last, step = (int(n[:19]) for n in (part[1], part[2], part[3] or "1"))
            groups[-1] = abs(last - first) // (abs(step) or 1) + 1
        elif part[0] == "{":
            groups.append(1)
        elif groups and part[0] == ",":
            groups[-1] += 1
        elif groups and part[0] == "}":
            most *= groups.pop()
    if most > NAMES:
        raise DataError(
            f"{short(plain(redacted(pattern)), 300)} stands for more than {NAMES:,} names; give a"
            " folder, or a pattern with *"
        )
    with gate(pattern, mend="check its braces"):
        return list(need("braceexpand", pattern).braceexpand(pattern))


def with_splits(shards: Sequence[Shard]) -> list[Shard]:
    """The same shards with the split that their names give them, those to train on first."""
    splits = own_split([shard.name for shard in shards])
    made = [Shard(s.path, s.digest, s.tells, splits.get(s.name)) for s in shards]
    return sorted(made, key=lambda shard: shard.split == "test")


def shuffled(count: int, *seed: int) -> list[int]:
    """The places of so many shards in an order that follows from a seed."""
    order: list[int] = np.argsort(bits(np.arange(count), *seed, _ORDER), kind="stable").tolist()
    return order


def filesystem(path: str) -> Any:
    """What ``fsspec`` opens an address with. Raises DataError where a package is missing."""
    fsspec = need("fsspec", path)
    try:
        return fsspec.core.url_to_fs(whole(path))[0]
    except ImportError as error:
        scheme = path.partition("://")[0]
        package = {"s3": "'ganvae[hub]'", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs"}
        raise DataError(
            f"{scheme}:// needs a package that is not installed ({line(error)});"
            f" install it with: pip install {package.get(scheme, 'the one that is named')}"
        ) from None


def _named(fs: Any, name: str) -> list[Shard]:
    """The shards of one name without braces."""
    web = name.startswith(("http://", "https://"))
    if re.search(r"\*" if web else r"[*?\[]", name.partition("?")[0] if web else name):
        found = fs.glob(name, detail=True)
    else:
        info = fs.info(name)
        if info["type"] != "directory":
            return [_shard(fs, name, info)]
        found = {each["name"]: each for each in fs.ls(name, detail=True)}
    return [
        _shard(fs, path if web else fs.unstrip_protocol(path), info)
        for path, info in sorted(found.items())
        if info["type"] != "directory" and SHARD.search(path.partition("?")[0])
    ]


_MARKS = ("ETag", "etag", "md5Hash", "content_md5", "blob_id", "generation", "Content-MD5")
_TIMES = ("LastModified", "Last-Modified", "last_modified", "updated", "mtime", "modified")


def _shard(fs: Any, path: str, info: dict[str, Any]) -> Shard:
    """A shard by what the store says of it: its size, and a mark of its contents or a time."""
    marks = [str(info[key]) for key in _MARKS if info.get(key)]
    marks = marks or [str(info[key]) for key in _TIMES if info.get(key)]
    path = Address(path)
    facts = json.dumps([path.identity, info.get("size"), *marks])
    return Shard(path, blake2b(facts.encode(), digest_size=16).hexdigest(), bool(marks))


# ------------------------------------------------------------------------------------- reading


def read(shard: Shard, start: int = 0, unused: Counter[str] | None = None) -> Iterator[Item]:
    """The images of a shard from a number on, encoded as they are stored.

    A connection that is lost is made again, and the reading goes on behind the last image.
    Raises DataError in one sentence for anything else.

    unused: what is in the shard and is not taken is counted here by its kind
    """
    lost, known = 0, Counter[str]()
    while True:
        met = Counter[str]()  # again from the beginning where the shard is read again
        try:
            for item in _open(shard, start, met):
                _report(unused, met, known)
                yield item
                del item  # or it would stay while the next one is read
                start, lost = start + 1, 0
            _report(unused, met, known)
            return
        except DataError:
            raise
        except Exception as error:
            if not is_passing(error) or lost == PATIENCE:
                raise told(error, shard.path) from None
            time.sleep(2**lost)
            lost += 1


def _report(unused: Counter[str] | None, met: Counter[str], known: Counter[str]) -> None:
    if unused is not None and met != known:
        unused.update(met - known)
        known |= met


def opened(path: str, block: int = BLOCK) -> Any:
    """A file, here or far away, to read from."""
    if "://" not in path:
        return Path(path).open("rb")
    return filesystem(path).open(whole(path), "rb", block_size=block, cache_type="readahead")


def _open(shard: Shard, start: int, unused: Counter[str]) -> Iterator[Item]:
    with opened(shard.path) as file:
        if shard.is_parquet:
            yield from _parquet(file, shard, start, unused)
        elif shard.name.lower().endswith("gz"):
            with gzip.open(file) as inner:
                yield from islice(_tar(inner, shard, unused), start, None)
        else:
            buffered = io.BufferedReader(file, 2**18)
            yield from islice(_tar(buffered, shard, unused), start, None)


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
            left = offset - self._at
            while left and (part := self._file.read(min(left, 2**18))):
                left -= len(part)
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


def _members(stream: _Forward, shard: Shard) -> Iterator[tarfile.TarInfo]:
    """The members of an archive, headers and nothing else read, up to its very end."""
    archive = tarfile.TarFile(fileobj=stream)
    while (member := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined] # or it would keep all of them
        told = archive.pax_headers.items()  # of all members, and they may be added to
        if sum(len(key) + len(value) for key, value in told) > HEADER_BYTES:
            raise DataError(too_large(f"the global header of {shard.path}", HEADER_BYTES))
        yield member
        stream.renew(HEADER_BYTES)
    _refuse_cut(stream)


def _refuse_cut(stream: _Forward) -> None:
    """Behind its last file a whole archive has zeros and nothing else."""
    zeros = 0
    stream.renew(2**18)
    while part := stream.read(2**18):
        stream.renew(2**18)
        if part.strip(b"\0"):
            raise tarfile.ReadError("a header in the middle is damaged")
        zeros += len(part)
    if zeros < tarfile.BLOCKSIZE:  # the reader has taken the first of the two blocks
        raise tarfile.ReadError("unexpected end of data")


def _tar(file: Any, shard: Shard, unused: Counter[str]) -> Iterator[Item]:
    """The pictures of a tar file, each with its class; what is not one is skipped and counted."""
    stream = _Forward(file, shard)
    sample = _Sample(shard, "", unused)
    for member in _members(stream, shard):
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
            sample.label(key, stream.content(member).decode("utf-8", "replace").strip())
        elif sample.wants(key):
            yield from sample.room(member.size)
            sample.add(key, member.name, _picture(stream, member))
    yield from sample.finish()


def _root(stem: str) -> str:
    """The key of a sample in the name of one of its files: without words such as ``.seg``."""
    parts = stem.split(".")
    while len(parts) > 1 and re.fullmatch(r"[^\W\d]\w*", parts[-1]):
        parts.pop()
    return ".".join(parts)


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


def _picture(stream: _Forward, member: tarfile.TarInfo) -> bytes | Bad:
    if member.issparse():
        return Bad("stored as a sparse file; pack it without --sparse")
    if member.size > IMAGE_BYTES:
        return Bad(f"more than {IMAGE_BYTES:,} bytes")
    return stream.content(member)


def count(unused: Counter[str], kind: str, number: int = 1) -> None:
    """Counts something by its kind; of these there are never very many."""
    unused[kind if kind in unused or len(unused) < KINDS else "of other kinds"] += number


class _Sample:
    """Files that follow each other under names that differ in words and endings only.

    ``KEY.jpg`` is a sample's picture, and others such as ``KEY.seg.png`` are about it. Where no
    picture has the plain name each of them is one.
    """

    def __init__(self, shard: Shard, root: str, unused: Counter[str]):
        self.root, self._shard, self._unused = root, shard, unused
        self._images: dict[str, tuple[str, bytes | Bad]] = {}
        self._labels: dict[str, str] = {}
        self._whole = self._told = False

    def label(self, key: str, name: str) -> None:
        """Takes the class of a picture, or of all of them."""
        self._labels[key] = name
        if len(self._labels) > ASIDE:
            self._labels.pop(next(iter(self._labels)))

    def wants(self, key: str) -> bool:
        """Whether a picture is taken; the sample's own picture makes others those about it."""
        if key in self._images:
            count(self._unused, "of a name that was there before")
        elif self._whole:
            count(self._unused, ABOUT)
        else:
            if key == self.root and self._images:
                count(self._unused, ABOUT, len(self._images))
                self._images.clear()
            self._whole = key == self.root
            return True
        return False

    def room(self, size: int) -> Iterator[Item]:
        """Gives pictures away, so that those that wait are few and not too large."""
        while self._images and (
            len(self._images) >= ASIDE
            or size + sum(_size(image) for _, image in self._images.values()) > IMAGE_BYTES
        ):
            yield self._take(next(iter(self._images)))

    def add(self, key: str, name: str, image: bytes | Bad) -> None:
        """Takes a picture that is wanted."""
        self._images[key] = name, image

    def finish(self) -> Iterator[Item]:
        """The pictures that are left."""
        if self._labels and not self._images and not self._told:
            count(self._unused, "classes without a picture", len(self._labels))
        while self._images:
            yield self._take(next(iter(self._images)))

    def _take(self, key: str) -> Item:
        self._told = True
        name, image = self._images.pop(key)
        label = self._labels.get(key, self._labels.get(self.root))
        name = f"{self._shard.name}/{name}"
        return Item(name=name, image=image, label=label or None, split=self._shard.split)


def _size(image: Any) -> int:
    return len(image) if isinstance(image, bytes) else 0


def _parquet(file: Any, shard: Shard, start: int, unused: Counter[str]) -> Iterator[Item]:
    """Every row; groups of rows before ``start`` are not fetched."""
    checked = Checked(file, shard.path)
    parquet = need("pyarrow.parquet", shard.path).ParquetFile(checked, pre_buffer=False)
    columns = Columns.of(parquet.schema_arrow)
    if columns.image is None:
        raise DataError(
            f"{shard.path} has no column of images among"
            f" {', '.join(parquet.schema_arrow.names)}; name it image"
        )
    wanted = [column for column in (columns.image, columns.label) if column]
    others = [name for name in parquet.schema_arrow.names if name not in wanted]
    number = 0
    for group in range(parquet.num_row_groups):
        rows = parquet.metadata.row_group(group).num_rows
        for name in others:
            count(unused, f"cells of {plain(name)}", rows)
        if number + rows <= start:
            number += rows
            continue
        packed, unpacked = checked.load(parquet.metadata.row_group(group), wanted)
        if unpacked > max(GROUP_BYTES, INFLATED * packed) or rows > unpacked:
            raise DataError(
                f"{shard.path} holds {rows:,} rows of {unpacked:,} bytes in {packed:,}; a group of"
                f" rows may take {GROUP_BYTES:,}, or {INFLATED} times what it has in the file:"
                " write it with smaller groups, or without compression"
            )
        # a cell may be all of it, again and again
        most = max(1, min(32, GROUP_BYTES // max(1, unpacked)))
        tables = parquet.iter_batches(most, row_groups=[group], columns=wanted)
        for some in map(methodcaller("to_pylist"), tables):
            for row in some:
                if number >= start:
                    yield columns.item(row, number, shard)
                number += 1


@dataclass(frozen=True)
class Columns:
    """Which columns hold images and classes, and the names of the classes by number."""

    image: str | None
    label: str | None
    names: list[str] | None

    @staticmethod
    def of(schema: Any) -> Columns:
        """By the types that ``datasets`` writes into the file, else by the usual names."""
        try:
            told = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
            kinds = told.get("info", {}).get("features") or {}
        except ValueError:
            kinds = {}
        kinds = {name: kind for name, kind in kinds.items() if isinstance(kind, dict)}

        def find(kind: str, names: tuple[str, ...]) -> str | None:
            for name in schema.names:
                if kinds.get(name, {}).get("_type") == kind:
                    return str(name)
            lower = {name.lower(): name for name in schema.names}
            return next((lower[name] for name in names if name in lower), None)

        label = find("ClassLabel", LABELS)
        return Columns(find("Image", IMAGES), label, kinds.get(label or "", {}).get("names"))

    def item(self, row: dict[str, Any], number: int, shard: Shard) -> Item:
        """The image of a row."""
        assert self.image is not None
        label = class_name(row[self.label] if self.label else None, self.names)
        image = cell(row[self.image])
        if isinstance(image, str):
            image = _beside(shard, image)
        return Item(name=f"{shard.name}/{number}", image=image, label=label, split=shard.split)


def _beside(shard: Shard, name: str) -> str | Bad:
    """The path of a file that a row names, which must be in the folder of the rows' own file."""
    if "://" in shard.path:
        return PATH_ALONE
    try:
        folder = Path(shard.path).resolve().parent
        path = (folder / name).resolve()
    except (OSError, ValueError, RuntimeError):  # too long, a null character, a loop of links
        return Bad("a path that cannot be")
    return str(path) if path.is_relative_to(folder) else Bad("a path out of the file's own folder")


PATH_ALONE = Bad("a path, not the bytes of an image")
"""What is said of an image that is only named, where no path is followed."""


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


def cell(value: Any) -> bytes | str | Bad:
    """The encoded image in a cell: its bytes, or a path."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes) and len(value) > IMAGE_BYTES:
        return Bad(f"more than {IMAGE_BYTES:,} bytes")
    if isinstance(value, (bytes, str)):
        return value
    return Bad("empty cell" if value is None else f"a cell of {type(value).__name__}, not bytes")


def class_names(shards: Sequence[Shard]) -> list[str] | None:
    """The names that a first Parquet file gives its classes, by number."""
    for shard in shards[:1]:
        if shard.is_parquet:
            with gate(shard.path), opened(shard.path, 2**18) as file:
                schema = need("pyarrow.parquet", shard.path).read_schema(file)
                return Columns.of(schema).names
    return None


# ---------------------------------------------------------------------- several shards at once


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

    def _put(self, what: Item | Exception | None, unused: Counter[str]) -> bool:
        """Waits until there is room for another one; whether one is wanted."""
        with self._changed:
            self._ready.append((what, Counter(unused)))
            self._bytes += _weight(what)
            self._changed.notify_all()
            last = not isinstance(what, Item)
            del what
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
            found, passed_over = self._ready.popleft()
            self._bytes -= _weight(found)
            self._changed.notify_all()
        for kind, number in passed_over.items():
            count(unused, kind, number)
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        """Ends the thread at its next image."""
        with self._changed:
            self._stop = True
            self._ready.clear()
            self._changed.notify_all()


def _weight(what: Item | Exception | None) -> int:
    return _size(what.image) if isinstance(what, Item) else 0


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


# -------------------------------------------------------------------------------------- errors


def line(error: BaseException) -> str:
    """An error on one line."""
    return " ".join(f"{type(error).__name__}: {redacted(str(error))}".split())[:300]


_REMOTE = getattr(errno, "EREMOTEIO", 121)  # Linux alone has it; s3fs says so elsewhere, too


def is_passing(error: BaseException) -> bool:
    """Whether an error is one of connections, which may come back."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    number = getattr(error, "errno", None)
    if number == errno.EBUSY:  # "slow down", unless it was replaced
        return "FileExpired" not in kinds
    if number == _REMOTE or (number == errno.EIO and _status(error.__cause__) >= 500):
        return True  # an error of the store's own; s3fs knows some of their numbers
    if type(error).__module__.partition(".")[0] == "aiohttp":
        return "ClientResponseError" not in kinds or getattr(error, "status", 0) >= 500
    return bool(kinds & {"ConnectionError", "TimeoutError", "HTTPClientError", "FSTimeoutError"})


def _status(error: BaseException | None) -> int:
    """The HTTP status in an error of botocore's; 0 where there is none."""
    answer = getattr(error, "response", None)
    found = answer.get("ResponseMetadata", {}) if isinstance(answer, dict) else {}
    return int(found.get("HTTPStatusCode", 0))


def told(error: BaseException, path: str) -> DataError:
    """What a user is told of an error at an address, without the secrets that it may have."""
    kind, path = type(error).__name__, Address(path)
    unsigned = path.startswith("http") and path.whole == path
    hint = "; a signature that it needs is kept nowhere: give it each time" if unsigned else ""
    if "Credential" in kind or "ProfileNotFound" in kind:
        return DataError(
            f"there are no credentials to read {path}: set AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or FSSPEC_S3_ANON=true for a public bucket"
        )
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path} does not exist; check the bucket and the name{hint}")
    if isinstance(error, PermissionError):
        return DataError(f"{path} may not be read with these credentials: {line(error)}{hint}")
    if isinstance(error, (tarfile.TarError, EOFError, zlib.error)) or kind == "ArrowInvalid":
        return DataError(
            f"cannot read {path}: it is truncated or damaged ({line(error)}); write it again"
        )
    if is_passing(error):
        return DataError(f"{path} cannot be reached any more ({line(error)}); resume later")
    return DataError(f"cannot read {path}: {line(error)}")
