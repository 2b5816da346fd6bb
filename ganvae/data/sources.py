"""Where images come from: what a source is, folders of images, and finding the right source."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar

import numpy as np

from ganvae.data.decode import EXTENSIONS
from ganvae.data.workers import Item
from ganvae.errors import DataError
from ganvae.foreign import gate
from ganvae.telling import HIDDEN, Address, whole

DIGITS = "digits"
"""The data that are the embedded digits, whatever lies in the folder of that name."""
TRAIN = ("train", "training")
TEST = ("test", "testing", "val", "valid", "validation", "t10k")
"""Names that sources give to the images to learn from, and to the held-out ones."""


@dataclass(kw_only=True)
class Index:
    """What a source holds, as seen without decoding any image.

    digest: changes whenever the contents may have changed
    names, stats: of every image file in order; (N, 3) sizes, mtimes and ctimes
    listed: what was found and not taken, with the reason
    ignored: number of other files by kind
    notes: what a user should be told
    """

    digest: str
    names: list[str] = field(default_factory=list)
    stats: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.int64))
    listed: list[tuple[str, str]] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Offline(Exception):
    """The source is far away and cannot be asked now; the message says why."""


class Source(ABC):
    """Images that can be listed and then read once, in a fixed order."""

    kind: ClassVar[str]
    path: str
    """As the user gave it, without secrets."""
    identity: str
    """What is the same for the same place only, for example the absolute path."""

    @abstractmethod
    def index(self) -> Index:
        """Lists the contents; fast. Raises DataError, or Offline."""

    @abstractmethod
    def items(self, index: Index) -> Iterator[Item]:
        """Every image once, in the order of the index. Raises DataError."""

    def size(self) -> tuple[int, int]:
        """Height and width where the user chose none."""
        return 64, 64

    def classes(self) -> list[str] | None:
        """Names of the classes in the source's own order; None: sorted names."""
        return None

    def unused(self) -> dict[str, int]:
        """What :meth:`items` has met so far and not taken: how many of each kind."""
        return {}


class Folder(Source):
    """Image files in a folder of any depth; classes are the first sub-folders.

    ``train/`` beside ``test/`` (or ``val/``, …) is the source's own split, and the classes are
    then the folders inside. Links to files are followed, links to folders are listed only: what
    they lead to inside the folder is found anyway, and outside it could be anything.
    """

    kind = "folder"

    def __init__(self, path: str, root: Path):
        self.path, self.root = path, root.resolve()
        self.identity = str(self.root)

    def index(self) -> Index:
        """Walks the folder without opening any file."""
        walk = _Walk(str(self.root))
        walk.run()
        order = sorted(range(len(walk.names)), key=walk.names.__getitem__)
        names = [walk.names[i] for i in order]
        stats = np.frombuffer(walk.stats, np.int64).reshape(-1, 3)[order]
        digest = blake2b(digest_size=16)
        digest.update("\0".join(names).encode("utf-8", "surrogateescape"))
        digest.update(np.ascontiguousarray(stats).data)
        walk.listed.sort()
        return Index(
            digest=digest.hexdigest(),
            names=names,
            stats=stats,
            listed=walk.listed,
            ignored=dict(walk.ignored.most_common()),
        )

    def items(self, index: Index) -> Iterator[Item]:
        """Paths of the image files with the class and split their folders give them."""
        splits = _own_split(index.names)
        prefix = str(self.root) + os.sep
        for name, stat in zip(index.names, index.stats, strict=True):
            folders = name.split("/")[:-1]
            split = splits[folders.pop(0)] if splits else None
            size, mtime, ctime = stat.tolist()
            yield Item(
                name=name,
                image=prefix + name.replace("/", os.sep),
                label=folders[0] if folders else None,
                split=split,
                stat=(size, mtime, ctime),
            )


def _own_split(names: list[str]) -> dict[str, str]:
    """Split by top-level folder, where these are ``train`` and ``test`` and nothing else."""
    tops = {name.partition("/")[0] if "/" in name else "" for name in names}
    splits = {top: "train" for top in tops if top.lower() in TRAIN}
    splits |= {top: "test" for top in tops if top.lower() in TEST}
    return splits if set(splits) == tops and len(set(splits.values())) == 2 else {}


class _Walk:
    """Collects the image files under a folder."""

    def __init__(self, root: str):
        self.root = root
        self.names: list[str] = []
        self.stats = array("q")
        self.listed: list[tuple[str, str]] = []
        self.ignored: Counter[str] = Counter()

    def run(self) -> None:
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(f"{self.root}{os.sep}{folder}") as entries:
                    for entry in entries:
                        name = f"{folder}/{entry.name}" if folder else entry.name
                        if self._visit(entry, name):
                            folders.append(name)
            except OSError as error:
                if not folder:
                    raise DataError(
                        f"cannot list {self.root}: {error.strerror}; check its permissions"
                    ) from None
                self.listed.append((folder, f"folder cannot be listed: {error.strerror}"))

    def _visit(self, entry: os.DirEntry[str], name: str) -> bool:
        """Takes note of one entry; true for a folder to descend into."""
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            self.ignored["hidden"] += 1
            return False
        try:
            if entry.is_symlink():
                return self._visit_link(entry, name)
            if entry.is_dir(follow_symlinks=False):
                return True
            self._visit_file(entry, name)
        except OSError as error:
            self.listed.append((name, f"cannot be looked at: {error.strerror}"))
        return False

    def _visit_link(self, entry: os.DirEntry[str], name: str) -> bool:
        target = os.path.realpath(entry.path)
        outside = os.path.commonpath([self.root, target]) != self.root
        if entry.is_dir():
            where = "leads out of the folder" if outside else "its contents are taken in place"
            self.listed.append((name, f"link to a folder, not followed: {where}"))
        elif not Path(target).exists():
            self.listed.append((name, "link that leads nowhere"))
        else:
            if outside and self._is_image(name):
                self.listed.append((name, "link to a file outside the folder, followed"))
            self._visit_file(entry, name)
        return False

    @staticmethod
    def _is_image(name: str) -> bool:
        return name[-5:].lower().endswith(EXTENSIONS)

    def _visit_file(self, entry: os.DirEntry[str], name: str) -> None:
        if not self._is_image(name):
            self.ignored[Path(name).suffix.lower() or "no extension"] += 1
        elif not entry.is_file():
            self.listed.append((name, "not a regular file"))
        else:
            seen = entry.stat()
            self.names.append(name)
            self.stats.extend((seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns))


def files_digest(paths: list[Path]) -> str:
    """Digest of the names, sizes and times of some files. Raises DataError."""
    digest = blake2b(digest_size=16)
    for path in paths:
        try:
            seen = path.stat()
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}") from None
        text = f"{path.name}\0{seen.st_size}\0{seen.st_mtime_ns}\0{seen.st_ctime_ns}\n"
        digest.update(text.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?(:[\w.-]+)?")
SHARD = re.compile(r"\.(tar|tgz|tar\.gz|parquet)$", re.IGNORECASE)
"""The ends of names of files that hold many images."""


def own_split(names: list[str]) -> dict[str, str]:
    """Split of every file by the first word of its name; empty unless some are to be held out."""
    words = {name: re.split(r"[-_.]", name)[0].lower() for name in names}
    splits = {name: "test" if word in TEST else "train" for name, word in words.items()}
    return splits if len(set(splits.values())) == 2 else {}


def find(path: str) -> Source:
    """The source that a path or name stands for. Raises DataError where there is none."""
    from ganvae.data import arrays, hub

    path = Address(path)
    if path == DIGITS:
        return arrays.digits()
    if "\0" in path or not path:
        raise DataError("the data path is empty or has a null character; give a folder of images")
    with gate(path, mend="give a folder of images"):
        local = Path(os.path.expanduser(whole(path)))
        if os.path.isdir(local):  # where Path's raises for a name that is too long
            return _folder(path, local)
        if os.path.exists(local):
            return _file(path, local)
    if path.lacks:
        raise DataError(
            f"{path} is kept without what may be a secret in it, and {HIDDEN} stands there: give"
            " the whole address again"
        )
    if "://" in path or path.startswith("pipe:") or SHARD.search(path):
        return hub.Shards(path)
    if _HUB.fullmatch(path) and not path.lower().endswith(EXTENSIONS):
        return hub.Dataset(path)
    raise DataError(
        f"{path} does not exist; give a folder of images, an .npz, .npy, idx, .parquet or .tar"
        ' file, a Hub name (owner/name) or "digits"'
    )


def is_remote(path: str) -> bool:
    """Whether others are asked for what a path or name stands for: an address, or the Hub."""
    if path == DIGITS or os.path.exists(os.path.expanduser(whole(path))):
        return False
    named = _HUB.fullmatch(path) and not SHARD.search(path)
    return "://" in path or (named is not None and not path.lower().endswith(EXTENSIONS))


def _folder(path: str, local: Path) -> Source:
    from ganvae.data import arrays, hub

    if idx := arrays.idx_folder(path, local):
        return idx
    try:
        entries = sorted(e for e in local.iterdir() if not e.name.startswith("."))
    except OSError as error:
        raise DataError(f"cannot list {path}: {error.strerror}; check its permissions") from None
    plain = not any(e.suffix.lower() in EXTENSIONS or e.is_dir() for e in entries)
    for kind in (r"\.parquet$", SHARD.pattern):
        found = [entry for entry in entries if re.search(kind, entry.name, re.IGNORECASE)]
        if plain and found:
            return hub.Shards(path, found)
    return Folder(path, local)


def _file(path: str, local: Path) -> Source:
    from ganvae.data import arrays, hub

    name = local.name.lower()
    if name.endswith(EXTENSIONS):
        raise DataError(f"{path} is a single file; give the folder of images it is in")
    if SHARD.search(name):
        return hub.Shards(path, [local])
    if source := arrays.file(path, local):
        return source
    raise DataError(
        f"{path} is of no kind that can be read; give a folder of images, or an .npz, .npy, idx,"
        " .parquet or .tar file (unpack archives first)"
    )
