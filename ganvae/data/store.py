"""The packed store: prepared pixels as one flat file of uint8 rows in a cache folder.

A store is a folder of its own, built beside its final place and renamed when complete, so it is
either whole or not there. Its name is the digest of the source's index: a changed source finds no
store of its name, and the new one takes over the rows of every file that did not change. Rows are
read with ``preadv``, not mapped: resident memory does not grow with what was read.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import struct
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock

from ganvae.data.decode import MEANING, Bad, Policy, Preparation, Prepared, is_grey
from ganvae.data.sources import Index, Offline, Source
from ganvae.data.workers import Item, prepare_all
from ganvae.errors import DataError
from ganvae.files import clean, free, scratch, sync
from ganvae.progress import Progress

try:
    import fcntl
except ImportError:  # not POSIX, where open files cannot be deleted anyway
    fcntl = None  # type: ignore[assignment]

FORMAT = 3
HASH = 16
VERIFIED = 2**31
"""Bytes of pixels that are compared with their hashes when a store is opened: all of most
stores, of a larger one so many spread evenly over it."""
SPLITS = {None: -1, "train": 0, "test": 1}


class Damaged(Exception):
    """A store that is not what was written; the message says how."""


class Store:
    """A packed store, opened for reading. Raises :class:`Damaged`.

    shape: (H, W, C) of every row
    labels: class number of every row, -1 for none
    splits: the source's own split of every row, 0 train, 1 test, -1 none
    """

    def __init__(self, folder: Path):
        self.folder = folder
        try:
            self.meta: dict[str, Any] = _checked_meta((folder / "meta.json").read_text("ascii"))
            if self.meta["format"] != FORMAT:
                raise Damaged(f"format {self.meta['format']}, not {FORMAT}")
            self.shape: tuple[int, int, int] = tuple(self.meta["shape"])
            self.classes: list[str] = self.meta["classes"]
            self._verify_files()
            self.labels = np.load(folder / "labels.npy", allow_pickle=False)
            self.splits = np.load(folder / "splits.npy", allow_pickle=False)
            self._file = (folder / "pixels.u8").open("rb", buffering=0)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Damaged(f"{type(error).__name__}: {error}") from None
        weakref.finalize(self, self._file.close)
        _hold(self._file)
        self._lock = threading.Lock()
        self.row = int(np.prod(self.shape))
        self._verify_pixels()

    def __len__(self) -> int:
        return int(self.meta["count"])

    @property
    def depth(self) -> int | None:
        """How many bits of 16-bit pictures are used; None: all 16."""
        return self.meta["preparation"].get("depth")

    def _verify_files(self) -> None:
        for name, (size, digest) in self.meta["files"].items():
            path = self.folder / name
            if path.stat().st_size != size:
                raise Damaged(f"{name} has {path.stat().st_size} bytes, not {size}")
            if digest and _digest(path) != digest:
                raise Damaged(f"{name} has another digest")

    def _verify_pixels(self) -> None:
        """Compares rows with their hashes, up to :data:`VERIFIED` bytes of them."""
        count = min(len(self), max(32, VERIFIED // max(1, self.row)))
        rows = np.linspace(0, len(self) - 1, count).astype(np.int64)
        step = max(1, 2**24 // max(1, self.row))
        for start in range(0, len(rows), step):
            if wrong := self.mismatched(rows[start : start + step]):
                raise Damaged(f"the pixels of row {wrong[0]} do not match their hash")

    def mismatched(self, rows: np.ndarray) -> list[int]:
        """Which of these rows do not match their hashes."""
        hashes = self.hashes()[rows]
        return [
            row
            for row, pixels, expected in zip(rows.tolist(), self.read(rows), hashes, strict=True)
            if content_hash(pixels) != expected.tobytes()
        ]

    def hashes(self) -> np.ndarray:
        """Content hash of every row: uint8 (N, 16). Equal pixels have equal hashes."""
        return np.load(self.folder / "hashes.npy", allow_pickle=False)

    def stats(self) -> np.ndarray:
        """Size, mtime and ctime of every row's file: int64 (N, 3)."""
        return np.load(self.folder / "stats.npy", allow_pickle=False)

    def policies(self) -> np.ndarray:
        """:class:`Policy` of every row, uint32."""
        return np.load(self.folder / "policies.npy", allow_pickle=False)

    def peaks(self) -> np.ndarray:
        """The highest value of every row's 16-bit file, 0 for others: (N,)."""
        path = self.folder / "peaks.npy"
        return (
            np.load(path, allow_pickle=False)
            if self.meta["peak"]
            else np.zeros(len(self), np.uint16)
        )

    def names(self) -> list[str]:
        """Name of every row within the source."""
        return [json.loads(line) for line in (self.folder / "names.jsonl").open(encoding="ascii")]

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Pixels of rows, in this order: uint8 (n, H, W, C)."""
        out = np.empty((len(rows), *self.shape), np.uint8)
        if not out.size:
            return out
        flat = memoryview(out.reshape(-1).data)
        starts = np.flatnonzero(np.diff(rows, prepend=rows[:1] - 2) != 1)  # of runs
        offsets = (rows[starts].astype(np.int64) * self.row).tolist()
        edges = (np.append(starts, len(rows)) * self.row).tolist()
        for offset, start, stop in zip(offsets, edges[:-1], edges[1:], strict=True):
            part = flat[start:stop]
            count = self._read_some(part, offset)
            while count < len(part):
                part, offset = part[count:], offset + count
                count = self._read_some(part, offset)
                if not count:
                    raise DataError(
                        f"{self.folder} was cut off while in use; start again to rebuild it"
                    )
        return out

    def _read_some(self, into: memoryview, offset: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), (into,), offset)
        with self._lock:
            self._file.seek(offset)
            return self._file.readinto(into) or 0


def _checked_meta(text: str) -> dict[str, Any]:
    """The contents of meta.json. Raises Damaged where its digest is wrong."""
    meta: dict[str, Any] = json.loads(text)
    del meta["digest"]
    if text != _with_digest(meta):
        raise Damaged("meta.json has another digest")
    return meta


def _with_digest(meta: dict[str, Any]) -> str:
    """The text of meta.json, with its own digest, so that a flipped bit in it shows as well."""
    digest = blake2b(json.dumps(meta).encode("ascii"), digest_size=HASH).hexdigest()
    return json.dumps(meta | {"digest": digest})


def _hold(file: IO[bytes], *, alone: bool = False) -> None:
    """Marks an open store as in use; ``alone`` raises BlockingIOError where another one does."""
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)


def _in_use(folder: Path) -> bool:
    """Whether some process has this store open: it goes on reading what it opened."""
    try:
        with (folder / "pixels.u8").open(
            "r+b"
        ) as file:  # NFS needs it writable for an exclusive lock
            _hold(file, alone=True)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # in use, or locks do not work here
        return True
    return False


def content_hash(pixels: np.ndarray) -> bytes:
    """Hash of prepared pixels (H, W, C); grey ones count the same in one channel and in three."""
    if pixels.shape[2] == 3 and is_grey(pixels):
        pixels = pixels[:, :, 0]
    return blake2b(np.ascontiguousarray(pixels).data, digest_size=HASH).digest()


def _digest(path: Path) -> str:
    digest = blake2b(digest_size=HASH)
    with path.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


# ------------------------------------------------------------------------------------- writing


_POLICIES, _SPLIT, _STAT = struct.Struct("=I"), struct.Struct("=b"), struct.Struct("=3q")
_PEAK = struct.Struct("=H")


class Writer:
    """Builds a store in ``folder``; nothing counts before :meth:`finish` returns."""

    def __init__(self, folder: Path, how: Preparation):
        self.folder, self.how = folder, how
        self.channels = how.channels or 1
        self.count = 0
        self.bad: list[tuple[str, str]] = []
        self._hashes, self._policies, self._peaks = bytearray(), bytearray(), bytearray()
        self._labels: list[int] = []
        self._splits, self._stats = bytearray(), bytearray()
        self._classes: dict[str, int] = {}
        self._pixels = (folder / "pixels.u8").open("wb")
        self._names = (folder / "names.jsonl").open("w", encoding="ascii")

    def close(self) -> None:
        """Closes the files; harmless when they are closed."""
        for file in (self._pixels, self._names):
            file.close()

    def add(self, item: Item, outcome: Prepared | Bad) -> None:
        """The next image, or why there is none."""
        if isinstance(outcome, Bad):
            self.bad.append((item.name, str(outcome)))
            return
        pixels = outcome.pixels
        self._hashes += content_hash(pixels)
        self._policies += _POLICIES.pack(outcome.policies)
        self._peaks += _PEAK.pack(outcome.peak)
        self._labels.append(
            -1 if item.label is None else self._classes.setdefault(item.label, len(self._classes))
        )
        self._splits += _SPLIT.pack(SPLITS[item.split])
        self._stats += _STAT.pack(*item.stat)
        self._names.write(json.dumps(item.name) + "\n")
        if pixels.shape[2] == 3 > self.channels:
            self._widen()
        if pixels.shape[2] < self.channels:
            pixels = np.repeat(pixels, 3, axis=2)
        self._pixels.write(np.ascontiguousarray(pixels).data)
        self.count += 1

    def _widen(self) -> None:
        """The first coloured image makes three channels of all the grey ones before it."""
        assert self.how.channels is None
        self.channels = 3
        self._pixels.close()
        grey, wide = self.folder / "pixels.u8", self.folder / "wide.u8"
        with grey.open("rb") as source, wide.open("wb") as sink:
            while part := source.read(2**20):
                sink.write(np.repeat(np.frombuffer(part, np.uint8), 3).data)
        wide.replace(grey)
        self._pixels = grey.open("ab")

    def finish(self, classes: list[str] | None, extra: dict[str, Any]) -> None:
        """Writes the rest, the digests last, and makes all of it durable."""
        for file in (self._pixels, self._names):
            file.flush()
            os.fsync(file.fileno())
        self.close()
        ordered = classes or []
        classes = [*ordered, *sorted(self._classes.keys() - set(ordered), key=_numbers_first)]
        place = {name: number for number, name in enumerate(classes)}
        to = np.array([place[name] for name in self._classes] + [-1], np.int32)
        tables: dict[str, np.ndarray] = {
            "hashes": np.frombuffer(self._hashes, np.uint8).reshape(-1, HASH),
            "policies": np.frombuffer(self._policies, np.uint32),
            "labels": to[np.array(self._labels, np.int64)],
            "splits": np.frombuffer(self._splits, np.int8),
            "stats": np.frombuffer(self._stats, np.int64).reshape(-1, 3),
        }
        peaks = np.frombuffer(self._peaks, np.uint16)
        if peaks.any():
            tables["peaks"] = peaks
        for name, table in tables.items():
            with (self.folder / f"{name}.npy").open("wb") as sink:
                np.save(sink, table, allow_pickle=False)
                sink.flush()
                os.fsync(sink.fileno())
        files = {
            path.name: [path.stat().st_size, _digest(path) if path.suffix != ".u8" else None]
            for path in sorted(self.folder.iterdir())
        }
        meta = {
            "format": FORMAT,
            "count": self.count,
            "shape": [self.how.height, self.how.width, self.channels],
            "preparation": self.how.to_dict(),
            "distinct": len(np.unique(tables["hashes"], axis=0)),
            "classes": classes,
            "files": files,
            "bad": self.bad,
            "peak": int(peaks.max(initial=0)),
            "policies": _count_policies(tables["policies"]),
            **extra,
        }
        with (self.folder / "meta.json").open("w", encoding="ascii") as file:
            file.write(_with_digest(meta))
            file.flush()
            os.fsync(file.fileno())
        sync(self.folder)


def _numbers_first(name: str) -> tuple[int, int, str]:
    return (0, int(name), name) if name.isascii() and name.isdigit() else (1, 0, name)


def _count_policies(policies: np.ndarray) -> dict[str, int]:
    counts = {meaning: int((policies & int(bit) != 0).sum()) for bit, meaning in MEANING.items()}
    return {meaning: count for meaning, count in counts.items() if count}


# ------------------------------------------------------------------------------------ ingesting


def cache_folder(folder: str | None) -> Path:
    """Where packed images are kept: the choice, $XDG_CACHE_HOME/ganvae or ~/.cache/ganvae."""
    if folder:
        return Path(folder).expanduser()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "ganvae"
    try:
        return Path.home() / ".cache" / "ganvae"
    except RuntimeError:  # neither $HOME nor an entry for the user
        return Path(tempfile.gettempdir()) / f"ganvae-{os.getuid()}"


def ingest(
    source: Source,
    how: Preparation,
    cache: Path,
    *,
    progress: Progress | None = None,
    workers: int | None = None,
) -> tuple[Store, Index]:
    """The source's store: found, or built when there is none for its present contents.

    Only one process builds a store; others wait for it and find it. Raises DataError.
    """
    key = blake2b(
        json.dumps([FORMAT, source.kind, source.identity, how.to_dict()]).encode(), digest_size=12
    )
    home = cache / "packed" / key.hexdigest()
    try:
        index = source.index()
    except Offline as offline:
        return _offline(source, home, str(offline))
    if store := _find(home / index.digest, index):
        return store, index
    with _writable(home), FileLock(home.parent / f"{home.name}.lock"):
        if store := _find(home / index.digest, index):
            return store, index
        clean(home)
        store = _build(source, index, how, home, progress, workers)
        for old in home.iterdir():
            if old.name != index.digest and _is_store(old) and not _in_use(old):
                shutil.rmtree(old, ignore_errors=True)
    return store, index


def _is_store(folder: Path) -> bool:
    """Whether a folder is named as stores are, and has their description."""
    match = re.fullmatch(r"[0-9a-f]{32}", folder.name)
    return bool(match) and not folder.is_symlink() and (folder / "meta.json").is_file()


def _find(folder: Path, index: Index) -> Store | None:
    if not folder.exists():
        return None
    try:
        return Store(folder)
    except Damaged as damaged:
        index.notes.append(f"the packed images in {folder} were damaged ({damaged}): packed anew")
        return None


def _offline(source: Source, home: Path, why: str) -> tuple[Store, Index]:
    folders = [f for f in home.glob("*") if not f.name.startswith(".")]
    for folder in sorted(folders, key=lambda f: f.stat().st_mtime, reverse=True):
        index = Index(digest=folder.name)
        if store := _find(folder, index):
            index.notes.append(f"{source.path} cannot be reached ({why}): taken as packed before")
            return store, index
    place = "" if "://" in source.path else " as a data set of the Hub"
    raise DataError(
        f"{source.path} is no folder or file here, and{place} it cannot be reached ({why});"
        " check the name and the network"
    )


@contextmanager
def _writable(home: Path) -> Iterator[None]:
    """Turns errors of writing the cache into one sentence. Raises DataError."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        room = free(home)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DataError(
                f"no room for packed images in {home}: {room:,} bytes are free; make room, or"
                " choose another place with data.cache"
            ) from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise DataError(
                f"cannot write packed images to {home}: {error.strerror}; choose another place"
                " with data.cache"
            ) from None
        raise


def _room(home: Path, index: Index, how: Preparation) -> None:
    """Raises DataError before any work where the pixels of all listed images cannot fit."""
    required = len(index.names) * how.height * how.width * (how.channels or 1)
    room = free(home)
    if required > room:
        raise DataError(
            f"no room for packed images in {home}: {required:,} bytes are needed and {room:,} are"
            " free; make room, or choose another place with data.cache"
        )


def _build(
    source: Source,
    index: Index,
    how: Preparation,
    home: Path,
    progress: Progress | None,
    workers: int | None,
) -> Store:
    _room(home, index, how)
    draft = scratch(home / "store")
    draft.mkdir()
    writer = Writer(draft, how)
    total = len(index.names) or None
    try:
        items = _with_old_pixels(source.items(index), _previous(home))
        for number, (item, outcome) in enumerate(prepare_all(items, how, workers), 1):
            writer.add(item, outcome)
            if progress and (number % 256 == 0 or number == total):
                progress("images packed", number, total)
        facts = {"source": {"kind": source.kind, "path": source.path}, "unused": source.unused()}
        writer.finish(source.classes(), facts)
        final = home / index.digest
        if final.exists():  # a damaged one
            shutil.rmtree(final)
        draft.rename(final)
        sync(home)
    finally:
        writer.close()
        shutil.rmtree(draft, ignore_errors=True)
    return Store(final)


def _previous(home: Path) -> Store | None:
    """The newest good store of this source and preparation, of earlier contents."""
    folders = [folder for folder in home.iterdir() if not folder.name.startswith(".")]
    for folder in sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True):
        try:
            return Store(folder)
        except Damaged:
            continue
    return None


def _with_old_pixels(items: Iterator[Item], old: Store | None) -> Iterator[Item]:
    """Items; those whose file is unchanged come with their pixels from the old store."""
    if old is None or not old.stats().any():
        yield from items
        return
    rows = {name: row for row, name in enumerate(old.names())}
    stats, policies, peaks = old.stats(), old.policies(), old.peaks()
    for item in items:
        row = rows.get(item.name)
        if row is None or tuple(stats[row].tolist()) != item.stat:
            yield item
            continue
        pixels = old.read(np.array([row]))[0]
        if pixels.shape[2] == 3 and is_grey(pixels):
            pixels = pixels[:, :, :1]
        prepared = Prepared(pixels, Policy(int(policies[row])), int(peaks[row]))
        yield Item(
            name=item.name, image=prepared, label=item.label, split=item.split, stat=item.stat
        )
