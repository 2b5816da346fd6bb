"""The base class of sources of images, and helpers that sources share."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from ganvae.data.labels import Labels
from ganvae.data.workers import KINDS, Item
from ganvae.errors import DataError

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
    labels: what label files say of every image file in order, where there are any
    label_error: why a label file cannot be used, for who asks for classes
    unlabelled: folders at the top whose images have no class on purpose
    """

    digest: str
    names: list[str] = field(default_factory=list)
    stats: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.int64))
    listed: list[tuple[str, str]] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    labels: Labels | None = None
    label_error: str = ""
    unlabelled: list[str] = field(default_factory=list)


class Offline(Exception):
    """The source is far away and cannot be asked now; the message says why."""


class Source(ABC):
    """Images that can be listed and then read once, in a fixed order."""

    kind: ClassVar[str]
    shares: ClassVar[Literal["images", "files", "rows"] | None] = None
    """What many workers can share out: images that are listed by their paths, :meth:`files`, or
    rows, which each of them goes through; None where one worker reads everything."""
    path: str
    """As the user gave it, without secrets."""
    identity: str
    """A key of the place, for example its absolute path."""

    @abstractmethod
    def index(self) -> Index:
        """Lists the contents; fast. Raises DataError, or Offline."""

    @abstractmethod
    def items(self, index: Index) -> Iterator[Item]:
        """Every image once, in the order of the index. Raises DataError."""

    def files(self) -> list[str]:
        """Paths of the tar or Parquet files that the last :meth:`index` has listed."""
        return []

    def size(self) -> tuple[int, int]:
        """Height and width where the user chose none."""
        return 64, 64

    def classes(self) -> list[str] | None:
        """Names of the classes in the source's own order; None: sorted names."""
        return None

    def unused(self) -> dict[str, int]:
        """How many files or members of each kind :meth:`items` has passed over so far."""
        return {}


def files_digest(paths: list[Path]) -> str:
    """Digest of the names, sizes and times of some files. Raises DataError."""
    digest = blake2b(digest_size=16)
    for path in paths:
        try:
            status = path.stat()
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}") from None
        text = f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}\n"
        digest.update(text.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


SHARD = re.compile(r"\.(tar|tgz|tar\.gz|parquet)$", re.IGNORECASE)
"""The ends of names of files that hold many images."""


def own_split(words: Mapping[str, str]) -> dict[str, str]:
    """The split of each name by its word, "train" or "test"; empty where all are of one."""
    splits = {name: "test" if word.lower() in TEST else "train" for name, word in words.items()}
    return splits if len(set(splits.values())) == 2 else {}


def count(unused: Counter[str], kind: str, number: int = 1) -> None:
    """Counts something by its kind, in at most KINDS kinds and one for the rest."""
    unused[kind if kind in unused or len(unused) < KINDS else "of other kinds"] += number
