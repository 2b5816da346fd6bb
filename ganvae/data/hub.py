"""Sources that other libraries open: Hugging Face datasets (Hub or Parquet) and tar shards."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import Any

from ganvae.data.decode import EXTENSIONS, Bad
from ganvae.data.sources import TEST, TRAIN, Index, Offline, Source, files_digest
from ganvae.data.workers import Item
from ganvae.errors import DataError

_IMAGES = ("image", "img", "images", "pixel_values", "picture")
_LABELS = ("label", "labels", "fine_label", "class", "cls", "target")


def _need(module: str, what: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise DataError(
            f"{what} needs the package {module}, which is not installed;"
            " install it with: pip install 'ganvae[hub]'"
        ) from None


class Dataset(Source):
    """A data set of the Hugging Face Hub, ``owner/name[@revision][:subset]``, or Parquet files.

    It is read once as a stream, the images as the bytes they were stored as.
    """

    kind = "dataset"

    def __init__(self, path: str, files: list[Path] | None = None):
        self.path, self._files = path, files
        head, _, self._subset = path.partition(":")
        self._repository, _, self._revision = head.partition("@")
        self._classes: list[str] | None = None
        if files:
            self.identity = "\0".join(str(file.resolve()) for file in files)
        else:
            self.identity = f"hub:{path}"

    def index(self) -> Index:
        """Sizes and times of Parquet files; the commit of a Hub data set. Raises Offline."""
        if self._files:
            return Index(digest=files_digest(self._files))
        needs = f"{self.path} is no folder or file here, and as the name of a Hub data set it"
        _need("datasets", needs)
        hub = _need("huggingface_hub", needs)
        try:
            found = hub.HfApi().dataset_info(self._repository, revision=self._revision or None)
        except hub.errors.RepositoryNotFoundError:
            raise DataError(
                f"{self.path} is neither a folder or file here nor a data set on the Hub"
            ) from None
        except Exception as error:
            raise Offline(f"{type(error).__name__}") from None
        return Index(digest=blake2b(found.sha.encode(), digest_size=16).hexdigest())

    def items(self, index: Index) -> Iterator[Item]:
        """Every row of every split."""
        datasets = _need("datasets", self.path)
        splits = self._load(datasets)
        kinds = {name: _kind(name) for name in splits}
        own = {"train", "test"} <= set(kinds.values())
        for name in sorted(splits, key=lambda name: (kinds[name] != "train", name)):
            split = kinds[name] if own else None
            yield from self._rows(datasets, splits[name], name, split)

    def classes(self) -> list[str] | None:
        """The names that the data set gives its classes, once it was read."""
        return self._classes

    def _load(self, datasets: Any) -> dict[str, Any]:
        try:
            if not self._files:
                return dict(
                    datasets.load_dataset(
                        self._repository,
                        self._subset or None,
                        revision=self._revision or None,
                        streaming=True,
                    )
                )
            files: dict[str, list[str]] = {}
            for file in self._files:
                word = file.stem.split("-")[0].lower()
                split = word if word in (*TRAIN, *TEST) else "train"
                files.setdefault(split, []).append(str(file))
            return dict(datasets.load_dataset("parquet", data_files=files, streaming=True))
        except Exception as error:
            raise DataError(f"cannot open {self.path}: {_line(error)}") from None

    def _rows(self, datasets: Any, rows: Any, name: str, split: str | None) -> Iterator[Item]:
        first = next(iter(rows.take(1)), None)
        if first is None:
            return
        features = rows.features or {}
        image = _column(first, _IMAGES, features, datasets.Image)
        label = _column(first, _LABELS, features, datasets.ClassLabel)
        if image is None:
            raise DataError(
                f"{self.path} has no column of images among {', '.join(first)}; name it image"
            )
        if features and isinstance(features[image], datasets.Image):
            rows = rows.cast_column(image, datasets.Image(decode=False))
        names = getattr(features.get(label), "names", None) if label else None
        self._classes = names or self._classes
        try:
            for number, row in enumerate(rows):
                value = row[label] if label else None
                yield Item(
                    name=f"{name}/{number}",
                    image=_bytes(row[image]),
                    label=None if value is None else names[value] if names else str(value),
                    split=split,
                )
        except DataError:
            raise
        except Exception as error:
            raise DataError(f"cannot read {self.path}: {_line(error)}") from None


def _kind(split: str) -> str:
    return "train" if split.lower() in TRAIN else "test" if split.lower() in TEST else split


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _column(first: dict[str, Any], names: tuple[str, ...], features: Any, kind: Any) -> str | None:
    """The column of a kind of feature, else the first of the usual names."""
    for column in first:
        if features and isinstance(features.get(column), kind):
            return column
    lower = {column.lower(): column for column in first}
    return next((lower[name] for name in names if name in lower), None)


def _bytes(value: Any) -> bytes | str | Bad:
    """The encoded image in a cell: its bytes, or a path."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, (bytes, str)):
        return value
    return Bad("empty cell" if value is None else f"a cell of {type(value).__name__}, not bytes")


class Shards(Source):
    """Tar files of images as ``webdataset`` reads them; ``KEY.cls`` beside an image is its class.

    path: a tar file, a folder of them, a pattern (``shards-{000..019}.tar``, ``*.tar``) or URL
    """

    kind = "shards"

    def __init__(self, path: str, files: list[Path] | None = None):
        self.path = path
        if path.startswith("pipe:"):
            raise DataError("pipe: sources run shell commands and are not read; give tar files")
        self._remote = "://" in path and not files
        if files is None and not self._remote:
            files = self._expanded(path)
        self._urls = [str(file) for file in files or []]
        self._files = files or []
        self.identity = path if self._remote else "\0".join(str(f.resolve()) for f in self._files)

    def _expanded(self, path: str) -> list[Path]:
        braceexpand = _need("braceexpand", path)
        patterns = braceexpand.braceexpand(path)
        found = [name for each in patterns for name in sorted(glob.glob(each))]
        paths = [Path(name) for name in found]
        if not paths:
            raise DataError(f"{path} does not exist; give a tar file, a folder of them or a URL")
        return paths

    def index(self) -> Index:
        """Sizes and times of the files; of a URL nothing but its name."""
        if not self._remote:
            return Index(digest=files_digest(self._files))
        note = f"{self.path} is read once and taken as unchanged after that"
        digest = blake2b(self.path.encode(), digest_size=16).hexdigest()
        return Index(digest=digest, notes=[note])

    def items(self, index: Index) -> Iterator[Item]:
        """Every sample that has an image."""
        webdataset = _need("webdataset", f"{self.path} (tar shards)")
        samples = webdataset.WebDataset(
            self.path if self._remote else self._urls,
            shardshuffle=False,
            empty_check=False,
            nodesplitter=lambda urls: urls,  # one process reads for all
        )
        try:
            for sample in samples:
                name = f"{Path(sample['__url__']).name}/{sample['__key__']}"
                images = [key for key in sample if f".{key}".lower().endswith(EXTENSIONS)]
                label = sample.get("cls")
                for key in images[:1]:
                    text = label.decode("utf-8", "replace").strip() if label else None
                    yield Item(name=f"{name}.{key}", image=sample[key], label=text)
        except DataError:
            raise
        except Exception as error:
            raise DataError(f"cannot read {self.path}: {_line(error)}") from None
