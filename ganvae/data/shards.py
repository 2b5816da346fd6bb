"""Files of many images, tar shards and Parquet, wherever ``fsspec`` reaches: here or far away."""

from __future__ import annotations

import errno
import gzip
import json
import re
import tarfile
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from importlib import import_module
from itertools import islice
from pathlib import Path
from queue import Empty, Full, Queue
from typing import IO, Any

from ganvae.data.decode import EXTENSIONS, Bad
from ganvae.data.sources import SHARD, Offline, own_split
from ganvae.data.workers import Item
from ganvae.errors import DataError

IMAGES = ("image", "img", "images", "pixel_values", "picture")
LABELS = ("label", "labels", "fine_label", "class", "cls", "target")
"""Names of columns of images and of classes, where nothing else says which they are."""
BLOCK = 2**23
"""Bytes asked for at once; a request to an object store takes as long as some of them."""
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

    path: as ``fsspec`` opens it
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
    fs = filesystem(pattern)
    names = need("braceexpand", pattern).braceexpand(pattern) if "{" in pattern else [pattern]
    try:
        fs.invalidate_cache()  # or listings would stay as they were first
        with ThreadPoolExecutor(16) as threads:
            parts = threads.map(lambda name: _named(fs, name), names)
            found = [shard for part in parts for shard in part]
    except Exception as error:
        if is_passing(error):
            raise Offline(line(error)) from None
        raise told(error, pattern) from None
    if not found:
        raise DataError(
            f"{pattern.partition('?')[0]} does not exist or holds no .tar or .parquet file; check"
            " the bucket and the name"
        )
    return with_splits(found)


def with_splits(shards: Sequence[Shard]) -> list[Shard]:
    """The same shards with the split that their names give them, those to train on first."""
    splits = own_split([shard.name for shard in shards])
    made = [Shard(s.path, s.digest, s.tells, splits.get(s.name)) for s in shards]
    return sorted(made, key=lambda shard: shard.split == "test")


def filesystem(path: str) -> Any:
    """What ``fsspec`` opens an address with. Raises DataError."""
    fsspec = need("fsspec", path)
    try:
        return fsspec.core.url_to_fs(path)[0]
    except ImportError as error:
        scheme = path.partition("://")[0]
        package = {"s3": "'ganvae[hub]'", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs"}
        raise DataError(
            f"{scheme}:// needs a package that is not installed ({line(error)});"
            f" install it with: pip install {package.get(scheme, 'the one that is named')}"
        ) from None
    except ValueError as error:
        raise DataError(f"{path} cannot be read: {line(error)}") from None


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
    facts = json.dumps([path.partition("?")[0], info.get("size"), *marks])
    return Shard(path, blake2b(facts.encode(), digest_size=16).hexdigest(), bool(marks))


# ------------------------------------------------------------------------------------- reading


def read(shard: Shard, start: int = 0) -> Iterator[Item]:
    """The images of a shard from a number on, encoded as they are stored.

    A connection that is lost is made again, and the reading goes on behind the last image.
    Raises DataError in one sentence for anything else.
    """
    lost = 0
    while True:
        try:
            for item in _open(shard, start):
                yield item
                start, lost = start + 1, 0
            return
        except DataError:
            raise
        except Exception as error:
            if not is_passing(error) or lost == PATIENCE:
                raise told(error, shard.path) from None
            time.sleep(2**lost)
            lost += 1


def opened(path: str, block: int = BLOCK) -> Any:
    """A file, here or far away, to read from."""
    if "://" not in path:
        return Path(path).open("rb")
    return filesystem(path).open(path, "rb", block_size=block, cache_type="readahead")


def _open(shard: Shard, start: int) -> Iterator[Item]:
    with opened(shard.path) as file:
        if shard.is_parquet:
            yield from _parquet(file, shard, start)
        elif shard.name.lower().endswith("gz"):
            with gzip.open(file) as inner:
                yield from islice(_tar(inner, shard), start, None)
        else:
            yield from islice(_tar(file, shard), start, None)


def _tar(file: Any, shard: Shard) -> Iterator[Item]:
    """Every sample of a tar file that has an image: files of one key, one after the other."""
    key, sample = "", dict[str, bytes]()
    with tarfile.open(fileobj=file, mode="r|", bufsize=2**18) as archive:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined] # or it would keep all of them
            found = re.fullmatch(r"((?:.*/)?[^./][^./]*)\.([^/]*)", member.name)
            if not member.isreg() or found is None or member.name.startswith("__"):
                continue
            if found[1] != key:
                yield from _sample(shard, key, sample)
                key, sample = found[1], {}
            content = archive.extractfile(member)
            assert content is not None
            sample[found[2].lower()] = content.read()
        yield from _sample(shard, key, sample)
        _refuse_cut(archive.fileobj)


def _sample(shard: Shard, key: str, sample: dict[str, bytes]) -> Iterator[Item]:
    """The image of a sample; ``KEY.cls`` beside it is its class."""
    label = sample["cls"].decode("utf-8", "replace").strip() if sample.get("cls") else None
    for kind in [kind for kind in sample if f".{kind}".endswith(EXTENSIONS)][:1]:
        name = f"{shard.name}/{key}.{kind}"
        yield Item(name=name, image=sample[kind], label=label, split=shard.split)


def _refuse_cut(stream: Any) -> None:
    """Behind its last file a whole archive has zeros and nothing else."""
    zeros = 0
    while part := stream.read(2**18):
        if part.strip(b"\0"):
            raise tarfile.ReadError("a header in the middle is damaged")
        zeros += len(part)
    if zeros < tarfile.BLOCKSIZE:  # the reader has taken the first of the two blocks
        raise tarfile.ReadError("unexpected end of data")


def _parquet(file: IO[bytes], shard: Shard, start: int) -> Iterator[Item]:
    """Every row; groups of rows before ``start`` are not fetched."""
    parquet = need("pyarrow.parquet", shard.path).ParquetFile(file)
    columns = Columns.of(parquet.schema_arrow)
    if columns.image is None:
        raise DataError(
            f"{shard.path} has no column of images among"
            f" {', '.join(parquet.schema_arrow.names)}; name it image"
        )
    wanted = [column for column in (columns.image, columns.label) if column]
    number = 0
    for group in range(parquet.num_row_groups):
        count = parquet.metadata.row_group(group).num_rows
        if number + count <= start:
            number += count
            continue
        for table in parquet.iter_batches(32, row_groups=[group], columns=wanted):
            for row in table.to_pylist():
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
        if isinstance(image, str) and "://" in shard.path:
            image = Bad("a path, not the bytes of an image")
        return Item(name=f"{shard.name}/{number}", image=image, label=label, split=shard.split)


def class_name(value: Any, names: Sequence[str] | None) -> str | None:
    """The class that a cell tells: one of ``names`` by its number, -1 being none, or itself."""
    if value is None or (names and value < 0):
        return None
    return names[value] if names else str(value)


def cell(value: Any) -> bytes | str | Bad:
    """The encoded image in a cell: its bytes, or a path."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, (bytes, str)):
        return value
    return Bad("empty cell" if value is None else f"a cell of {type(value).__name__}, not bytes")


def class_names(shards: Sequence[Shard]) -> list[str] | None:
    """The names that a first Parquet file gives its classes, by number."""
    for shard in shards[:1]:
        if shard.is_parquet:
            with opened(shard.path, 2**18) as file:
                schema = need("pyarrow.parquet", shard.path).read_schema(file)
            return Columns.of(schema).names
    return None


# ---------------------------------------------------------------------- several shards at once


class _Reader:
    """Reads a shard ahead in a thread of its own: while one waits, others are decoded."""

    def __init__(self, shard: Shard, ahead: int = 32):
        self._queue: Queue[Item | Exception | None] = Queue(ahead)
        self._stop = threading.Event()
        threading.Thread(target=self._run, args=(shard,), daemon=True).start()

    def _run(self, shard: Shard) -> None:
        images = read(shard)
        try:
            for item in images:
                if not self._put(item):
                    return
            self._put(None)
        except Exception as error:
            self._put(error)
        finally:
            images.close()  # type: ignore[attr-defined]

    def _put(self, what: Item | Exception | None) -> bool:
        while not self._stop.is_set():
            with suppress(Full):
                self._queue.put(what, timeout=0.2)
                return True
        return False

    def take(self, stop: threading.Event) -> Item | None:
        """The next image; None behind the last one, or to stop. Raises what reading raised."""
        while not stop.is_set():
            with suppress(Empty):
                found = self._queue.get(timeout=0.2)
                if isinstance(found, Exception):
                    raise found
                return found
        return None

    def close(self) -> None:
        """Ends the thread at its next image."""
        self._stop.set()
        with suppress(Empty):
            while True:
                self._queue.get_nowait()


def together(
    shards: Sequence[Shard], stop: threading.Event | None = None
) -> Iterator[tuple[int, int, Item]]:
    """The images of some shards that are all read at once, one of each in turn.

    Yields the place among the shards, the number within the shard, and the image.

    stop: ends it early, even while it waits
    """
    stop = stop or threading.Event()
    readers = [_Reader(shard) for shard in shards]
    numbers = [0] * len(readers)
    alive = list(range(len(readers)))
    try:
        while alive:
            for place in list(alive):
                item = readers[place].take(stop)
                if item is None:
                    alive.remove(place)
                    continue
                yield place, numbers[place], item
                numbers[place] += 1
    finally:
        for reader in readers:
            reader.close()


# -------------------------------------------------------------------------------------- errors


def line(error: BaseException) -> str:
    """An error on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


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
    """What a user is told of an error at an address, without the key that may be in its query."""
    kind, path = type(error).__name__, path.partition("?")[0]
    if "Credential" in kind or "ProfileNotFound" in kind:
        return DataError(
            f"there are no credentials to read {path}: set AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or FSSPEC_S3_ANON=true for a public bucket"
        )
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path} does not exist; check the bucket and the name")
    if isinstance(error, PermissionError):
        return DataError(f"{path} may not be read with these credentials: {line(error)}")
    if isinstance(error, (tarfile.TarError, EOFError, zlib.error)) or kind == "ArrowInvalid":
        return DataError(
            f"cannot read {path}: it is truncated or damaged ({line(error)}); write it again"
        )
    if is_passing(error):
        return DataError(f"{path} cannot be reached any more ({line(error)}); resume later")
    return DataError(f"cannot read {path}: {line(error)}")
