"""Folders of image files as a source: the walk through them, and what their names say."""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from ganvae import foreign
from ganvae.data import formats, labels
from ganvae.data.formats import EXTENSIONS
from ganvae.data.labels import Labels
from ganvae.data.sources import TEST, TRAIN, Index, Source, files_digest, own_split
from ganvae.data.workers import Item
from ganvae.errors import DataError
from ganvae.telling import plain, short

UNLABELLED = ("unlabeled", "unlabelled")
"""Names of folders, beside these, of images without a class, to learn from."""
INSIDE = " inside"
"""Follows the kind of a picture in counts of files that are one inside, and not by their name."""
LOOKED_INTO = 1000
"""Files without an ending, or with an unknown one, of which the first bytes are looked at."""


class Folder(Source):
    """Image files in a folder of any depth; classes are the first sub-folders.

    Folders at the top that are called ``train``, ``test`` (or ``val``, …) and ``unlabeled``, and
    nothing else beside them, are no classes: the classes are the folders inside, and with a
    ``test`` they are the source's own split. Files called ``dataset.json``, ``metadata.csv`` or
    ``metadata.jsonl`` say the classes instead of folders, and so does ``table``.

    Links to files are followed, links to folders are listed only: what they lead to inside the
    folder is found anyway, and outside it could be anything.

    table: a file that says the class of each image
    """

    kind = "folder"
    shares = "images"

    def __init__(self, path: str, root: Path, table: Path | None = None):
        self.path, self.root, self._table = path, root.resolve(), table
        self.identity = str(self.root)

    def index(self) -> Index:
        """Walks the folder; opens label files, and a few of the files without a known ending."""
        walk = _Walk(str(self.root))
        walk.run()
        order = sorted(range(len(walk.names)), key=walk.names.__getitem__)
        names = [walk.names[i] for i in order]
        stats = np.frombuffer(walk.stats, np.int64).reshape(-1, 3)[order]
        digest = blake2b(digest_size=16)
        digest.update("\0".join(names).encode("utf-8", "surrogateescape"))
        digest.update(np.ascontiguousarray(stats).data)
        layout = Layout.of(names)
        if layout.is_new:
            tops = [*layout.splits, "", *layout.unlabelled]
            digest.update("\0".join(tops).encode("utf-8", "surrogateescape"))
        tables = [self.root / table for table in sorted(walk.tables)]
        if self._table or tables:
            digest.update(files_digest([self._table] if self._table else tables).encode())
        walk.listed.sort()
        index = Index(
            digest=digest.hexdigest(),
            names=names,
            stats=stats,
            listed=walk.listed,
            ignored=dict(walk.ignored.most_common()),
            unlabelled=layout.unlabelled,
        )
        if layout.mixed:
            index.notes.append(f"{self.path} {layout.mixed}")
        self._read_labels(index, walk.tables)
        return index

    def _read_labels(self, index: Index, tables: list[str]) -> None:
        """Reads label files. Raises DataError for a bad one only where the user named it."""
        if self._table is not None:
            index.labels = labels.of_table(self.root, self._table, index.names)
            return
        try:
            index.labels = labels.beside(self.root, tables, index.names)
        except DataError as error:
            index.labels = Labels([None] * len(index.names), ", ".join(tables))
            index.label_error = str(error)

    def items(self, index: Index) -> Iterator[Item]:
        """Paths of the image files with the class and split their folders or label files say."""
        layout = Layout.of(index.names)
        prefix = str(self.root) + os.sep
        for row, (name, stat) in enumerate(zip(index.names, index.stats, strict=True)):
            size, mtime, ctime = stat.tolist()
            yield Item(
                name=name,
                image=prefix + name.replace("/", os.sep),
                label=index.labels.of[row] if index.labels else layout.label(name),
                split=layout.splits.get(name.partition("/")[0]),
                stat=(size, mtime, ctime),
            )


@dataclass(frozen=True)
class Layout:
    """What the names of the folders at the top say.

    splits: these folders, where all of them are called ``train``, ``test``, ``unlabeled`` or
        alike, so that the classes are the folders inside; each is "train" or "test" where some
        images are held out and others not, else None
    unlabelled: folders of images that have no class
    mixed: what to say where some look like a split, and are none because of others beside them
    """

    splits: dict[str, str | None]
    unlabelled: list[str]
    mixed: str = ""

    @staticmethod
    def of(names: list[str]) -> Layout:
        """The layout, from the paths of all images."""
        tops = list(dict.fromkeys(name.partition("/")[0] if "/" in name else "" for name in names))
        train, test, without, others = _by_purpose(tops)
        if others:
            return Layout({}, without, _mixed_split(train, test, others) if train and test else "")
        splits = own_split({top: top for top in tops})
        return Layout({top: splits.get(top) for top in tops}, without)

    @property
    def is_new(self) -> bool:
        """Whether these folders were classes in older versions, whose stores must not be taken."""
        return bool(self.unlabelled or None in self.splits.values())

    def label(self, name: str) -> str | None:
        """The class of an image by its folders."""
        folders = name.split("/")[:-1]
        if not folders or folders[0] in self.unlabelled:
            return None
        return next(iter(folders[1:] if self.splits else folders), None)


def _by_purpose(tops: list[str]) -> list[list[str]]:
    """Top folders with names of training, held-out and unlabelled images, and all others."""
    groups = [[t for t in tops if t.lower() in words] for words in (TRAIN, TEST, UNLABELLED)]
    return [*groups, [top for top in tops if not any(top in group for group in groups)]]


def _mixed_split(train: list[str], test: list[str], others: list[str]) -> str:
    beside = [f"{short(plain(top), 40)}/" if top else "other images" for top in others[:3]]
    more = ", …" if len(others) > 3 else ""
    return (
        f"holds {train[0]}/ and {test[0]}/ beside {', '.join(beside)}{more}, so they are no split,"
        f" and {test[0]}/ is not held out; to have it held out, move the others away"
    )


class _Walk:
    """Collects the image files under a folder."""

    def __init__(self, root: str):
        self.root = root
        self.names: list[str] = []
        self.stats = array("q")
        self.listed: list[tuple[str, str]] = []
        self.ignored: Counter[str] = Counter()
        self.tables: list[str] = []
        """Files that may say classes."""
        self._opened = 0

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
            note = "leads out of the folder" if outside else "its contents are taken in place"
            self.listed.append((name, f"link to a folder, not followed: {note}"))
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
            self._visit_other(entry, name)
        elif not entry.is_file():
            self.listed.append((name, "not a regular file"))
        else:
            status = entry.stat()
            self.names.append(name)
            self.stats.extend((status.st_size, status.st_mtime_ns, status.st_ctime_ns))

    def _visit_other(self, entry: os.DirEntry[str], name: str) -> None:
        """Takes note of a file that is no image by its name."""
        if entry.name in labels.BESIDE:
            self.tables.append(name)
        elif entry.name.lower() in ("thumbs.db", "desktop.ini"):
            self.ignored["hidden"] += 1
        else:
            suffix = os.path.splitext(entry.name)[1].lower()
            inside = "" if suffix in _OTHER or suffix in formats.MENDS else self._inside(entry)
            self.ignored[inside or suffix or "no extension"] += 1

    def _inside(self, entry: os.DirEntry[str]) -> str:
        """The kind of picture by its first bytes; empty for others, and after many files."""
        if self._opened == LOOKED_INTO or not entry.is_file():
            return ""
        self._opened += 1
        try:
            with foreign.regular(Path(entry.path), entry.name) as file:
                kind = formats.kind(file.read(formats.HEAD))
        except (OSError, DataError):
            return ""
        return f"{kind}{INSIDE}" if kind else ""


_OTHER = (
    *(".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".md", ".rst"),
    *(".html", ".htm", ".css", ".js", ".py", ".ipynb", ".sh", ".log", ".pt", ".pth", ".pkl"),
    *(".mp4", ".mov", ".avi", ".mkv", ".webm", ".mp3", ".wav", ".safetensors"),
)
"""Endings of files that are no pictures, whatever is inside."""
