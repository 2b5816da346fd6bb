"""Data sets of the Hugging Face Hub, and shards: tar or Parquet files, here or far away."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from operator import itemgetter
from pathlib import Path
from typing import Any

from ganvae.data import shards
from ganvae.data.shards import (
    IMAGES,
    LABELS,
    PATH_ALONE,
    Shard,
    cell,
    class_name,
    count,
    line,
    need,
)
from ganvae.data.sources import TEST, TRAIN, Index, Offline, Source, files_digest
from ganvae.data.workers import Item
from ganvae.errors import DataError
from ganvae.foreign import gate
from ganvae.telling import Address, plain


class Dataset(Source):
    """A data set of the Hugging Face Hub, ``owner/name[@revision][:subset]``.

    It is read once as a stream, the images as the bytes they were stored as.
    """

    kind = "dataset"

    def __init__(self, path: str):
        self.path = path
        head, _, self._subset = path.partition(":")
        self._repository, _, self._revision = head.partition("@")
        self._classes: list[str] | None = None
        self._unused = Counter[str]()
        self.identity = f"hub:{path}"

    def index(self) -> Index:
        """The commit. Raises Offline."""
        needs = f"{self.path} is no folder or file here, and as the name of a Hub data set it"
        need("datasets", needs)
        hub = need("huggingface_hub", needs)
        try:
            found = hub.HfApi().dataset_info(self._repository, revision=self._revision or None)
        except hub.errors.RepositoryNotFoundError:
            raise DataError(
                f"{self.path} is neither a folder or file here nor a data set on the Hub"
            ) from None
        except Exception as error:
            raise Offline(f"{type(error).__name__}") from None
        return Index(digest=blake2b(f"{found.sha}".encode(), digest_size=16).hexdigest())

    def items(self, index: Index) -> Iterator[Item]:
        """Every row of every split."""
        self._unused.clear()
        datasets = need("datasets", self.path)
        splits = self._load(datasets)
        kinds = {name: _kind(name) for name in splits}
        own = {"train", "test"} <= set(kinds.values())
        for name in sorted(splits, key=lambda name: (kinds[name] != "train", name)):
            split = ("test" if kinds[name] == "test" else "train") if own else None
            yield from self._rows(datasets, splits[name], name, split)

    def classes(self) -> list[str] | None:
        """The names that the data set gives its classes, once it was read."""
        return self._classes

    def unused(self) -> dict[str, int]:
        """Cells of other columns."""
        return dict(self._unused)

    def _load(self, datasets: Any) -> dict[str, Any]:
        try:
            return dict(
                datasets.load_dataset(
                    self._repository,
                    self._subset or None,
                    revision=self._revision or None,
                    streaming=True,
                )
            )
        except Exception as error:
            raise DataError(f"cannot open {self.path}: {line(error)}") from None

    def _rows(self, datasets: Any, rows: Any, name: str, split: str | None) -> Iterator[Item]:
        with gate(self.path):
            first = next(iter(rows.take(1)), None)
            if first is None:
                return
            features = rows.features or {}
            image = _column(first, IMAGES, features, datasets.Image)
            label = _column(first, LABELS, features, datasets.ClassLabel)
            if image is None:
                raise DataError(
                    f"{self.path} has no column of images among {', '.join(first)}; name it image"
                )
            if features and isinstance(features[image], datasets.Image):
                rows = rows.cast_column(image, datasets.Image(decode=False))
            names = getattr(features.get(label), "names", None) if label else None
            self._classes = names or self._classes
            others = [f"cells of {plain(name)}" for name in first if name not in (image, label)]
            for number, row in enumerate(rows):
                for kind in others:
                    count(self._unused, kind)
                made = cell(row[image])
                yield Item(
                    name=f"{name}/{number}",
                    image=PATH_ALONE if isinstance(made, str) else made,
                    label=class_name(row[label] if label else None, names),
                    split=split,
                )


def _kind(split: str) -> str:
    return "train" if split.lower() in TRAIN else "test" if split.lower() in TEST else split


def _column(first: dict[str, Any], names: tuple[str, ...], features: Any, kind: Any) -> str | None:
    """The column of a kind of feature, else the first of the usual names."""
    for column in first:
        if features and isinstance(features.get(column), kind):
            return column
    lower = {column.lower(): column for column in first}
    return next((lower[name] for name in names if name in lower), None)


class Shards(Source):
    """Tar or Parquet files of images; in a tar file ``KEY.cls`` beside an image is its class.

    path: a file, a folder of them, a pattern (``shards-{000..019}.tar``, ``*.parquet``), or the
        address of one of these (``s3://…``, ``https://…``, ``hf://…``)
    files: where they are, if they are here and known already
    """

    kind = "shards"

    def __init__(self, path: str, files: list[Path] | None = None):
        self.path = Address(path)
        if path.startswith("pipe:"):
            raise DataError("pipe: sources run shell commands and are not read; give tar files")
        self._remote = "://" in path and not files
        if files is None and not self._remote:
            files = self._expanded(path)
        self._files = files or []
        self.identity = (
            self.path.identity
            if self._remote
            else "\0".join(str(f.resolve()) for f in self._files)
        )
        self._unused = Counter[str]()
        self.shards: list[Shard] = []
        """As they were when they were listed last, those to train on first."""

    def _expanded(self, path: str) -> list[Path]:
        patterns = map(os.path.expanduser, shards.expanded(path))
        paths = [Path(name) for each in patterns for name in sorted(glob.glob(each))]
        if not paths:
            raise DataError(f"{path} does not exist; give a tar file, a folder of them or a URL")
        return paths

    def index(self) -> Index:
        """Sizes and times, or what a store far away says in their place. Raises Offline."""
        self._unused.clear()
        if self._remote:
            self.shards = shards.listed(self.path)
        else:
            here = [Shard(str(file), files_digest([file])) for file in self._files]
            self.shards = shards.with_splits(here)
        digest = blake2b(digest_size=16)
        for shard in self.shards:
            digest.update(f"{shard.name}\0{shard.digest}\n".encode("utf-8", "surrogateescape"))
        index = Index(digest=digest.hexdigest())
        if mute := [shard.path for shard in self.shards if not shard.tells]:
            index.notes.append(f"{mute[0]} is taken as unchanged while its size is the same")
        return index

    def items(self, index: Index) -> Iterator[Item]:
        """Every picture of the shards that :meth:`index` has listed."""
        yield from self.read(self.shards, 1)

    def read(self, some: Sequence[Shard], at_once: int) -> Iterator[Item]:
        """The pictures of some of the shards, so many of which are read at once."""
        for first in range(0, len(some), at_once):
            group = some[first : first + at_once]
            # map, because a loop's variable would keep an image while the next one is read
            yield from map(itemgetter(2), shards.together(group, unused=self._unused))

    def unused(self) -> dict[str, int]:
        """Members of tar files that are no pictures, cells of other columns."""
        return dict(self._unused)

    def classes(self) -> list[str] | None:
        """The names that Parquet files give their classes."""
        return shards.class_names(self.shards)
