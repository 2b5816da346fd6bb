"""Data sets of the Hugging Face Hub as a source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

from ganvae.data.parquet import IMAGES, LABELS, PATH_ALONE, cell, class_name, column
from ganvae.data.remote import line, need
from ganvae.data.sources import TRAIN, Index, Offline, Source, count, own_split
from ganvae.data.workers import Item
from ganvae.errors import DataError
from ganvae.foreign import gate
from ganvae.telling import plain


class Dataset(Source):
    """A data set of the Hugging Face Hub, ``owner/name[@revision][:subset]``.

    It is read once, row by row, the images as the bytes they were stored as.
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
            info = hub.HfApi().dataset_info(self._repository, revision=self._revision or None)
        except hub.errors.RepositoryNotFoundError:
            raise DataError(
                f"{self.path} is neither a folder or file here nor a data set on the Hub"
            ) from None
        except Exception as error:
            raise Offline(f"{type(error).__name__}") from None
        return Index(digest=blake2b(f"{info.sha}".encode(), digest_size=16).hexdigest())

    def items(self, index: Index) -> Iterator[Item]:
        """Every row of every split."""
        self._unused.clear()
        datasets = need("datasets", self.path)
        splits = self._load(datasets)
        training = {name for name in splits if name.lower() in TRAIN}
        sides = own_split({name: name for name in splits}) if training else {}
        for name in sorted(splits, key=lambda name: (name not in training, name)):
            yield from self._rows(datasets, splits[name], name, sides.get(name))

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
            images, labels = (
                {name for name in first if isinstance(features.get(name), kind)}
                for kind in (datasets.Image, datasets.ClassLabel)
            )
            image, label = column(first, images, IMAGES), column(first, labels, LABELS)
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
                image_data = cell(row[image])
                yield Item(
                    name=f"{name}/{number}",
                    image=PATH_ALONE if isinstance(image_data, str) else image_data,
                    label=class_name(row[label] if label else None, names),
                    split=split,
                )
