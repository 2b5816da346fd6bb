"""Reads input images, prepared as a model's training images were."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ganvae.data import Images
from ganvae.data.decode import Preparation, colour
from ganvae.data.find import find
from ganvae.data.formats import EXTENSIONS, Bad
from ganvae.data.sources import Offline
from ganvae.data.workers import Item, prepare_all
from ganvae.errors import ConfigError, DataError
from ganvae.models import Model
from ganvae.models.checks import Label
from ganvae.models.images import to_tensor
from ganvae.progress import Progress

Pictures = str | Path | Sequence[str | Path] | Tensor | Images
"""Input images: a file, a folder or anything else that can be trained on; several files; a tensor
(B, C, H, W) in [-1, 1]; or images that are open already."""


@dataclass(frozen=True)
class Batch:
    """A batch of input images.

    images: shape (B, C, H, W), in [-1, 1]
    kinds: the class of each image as its sub-folder, array or set says it: name, number, or None
    labels: their class numbers for the model, shape (B,), or None for a model without classes
    first: the number of the first image
    """

    images: Tensor
    names: list[str]
    kinds: list[str | int | None]
    labels: Tensor | None = None
    first: int = 0


@dataclass
class Reader:
    """Images prepared as the model's training images were, in batches, in a fixed order.

    n: stops after so many
    label: for a class-conditional model: the class of all images, or the number of each, (N,);
        unset: as their array or set says, or the name of the first sub-folder
    channels: of the prepared images; unset: as many as the model's
    source: whether these are source images of a translation
    skipped: name and reason of each unreadable file of a folder so far. A file that the user
        named is not skipped: DataError
    """

    model: Model
    data: Pictures
    n: int | None = None
    batch: int = 64
    label: Label = None
    channels: int | None = None
    source: bool = False
    skipped: list[tuple[str, str]] = field(default_factory=list)
    _numbers: dict[str | int, int] = field(default_factory=dict, init=False, repr=False)

    @property
    def total(self) -> int | None:
        """The number of images, where it is known before they are read."""
        if isinstance(self.data, str | Path):
            return self.n
        return len(self.data) if self.n is None else min(self.n, len(self.data))

    def __iter__(self) -> Iterator[Batch]:
        if self.n is not None and self.n < 1:
            raise ConfigError(f"the number of images must be at least 1, got {self.n}")
        count = 0
        for batch in self._batches():
            rest = len(batch.names) if self.n is None else self.n - count
            names, kinds = batch.names[:rest], batch.kinds[:rest]
            labels = self._labels(names, kinds, count)
            yield Batch(batch.images[:rest], names, kinds, labels, count)
            count += len(names)
            if count == self.n:
                break
        if not count:
            raise DataError(f"there are no images in {_name(self.data)}{self._reasons()}")
        if self.skipped:
            warnings.warn(
                f"{len(self.skipped):,} of {count + len(self.skipped):,} images were skipped"
                f"{self._reasons()}",
                stacklevel=2,
            )

    def batches(self, what: str, progress: Progress | None) -> Iterator[Batch]:
        """The batches; reports after each how many images were processed."""
        for batch in self:
            yield batch
            if progress:
                progress(what, batch.first + len(batch.names), self.total)

    def _labels(
        self, names: list[str], kinds: list[str | int | None], start: int
    ) -> Tensor | None:
        """The model's class numbers of some images. Raises ConfigError for unknown ones."""
        label = self.label
        if isinstance(label, Tensor) and label.ndim:
            label = label[start : start + len(names)]
        if label is not None:
            return self.model.labels(len(names), label)
        if not self.model.info.classes or self.model.info.from_sources:
            return None
        numbers = []
        for name, kind in zip(names, kinds):
            if kind is None:
                raise ConfigError(
                    f"this model needs to know the class of {name}: name it with --class, or, of "
                    f"many images, give a folder with sub-folders named after the classes"
                )
            if kind not in self._numbers:
                try:
                    self._numbers[kind] = int(self.model.labels(1, kind)[0])  # type: ignore[index]
                except ConfigError as error:
                    raise ConfigError(f"{name}: {error}") from None
            numbers.append(self._numbers[kind])
        return torch.tensor(numbers)

    def _reasons(self) -> str:
        if not self.skipped:
            return ""
        name, why = self.skipped[0]
        return f"; the first one, {name}, is {why}"

    def _batches(self) -> Iterator[Batch]:
        if isinstance(self.data, Tensor):
            at = 0
            for part in self.data.split(self.batch) if len(self.data) else ():
                names = [str(at + i) for i in range(len(part))]
                yield Batch(part, names, [None] * len(part))
                at += len(part)
        elif isinstance(self.data, Images):
            all_names, numbers, at = self.data.names(), self.data.labels, 0
            for part in self.data.batches(self.batch):
                rows = slice(at, at + len(part))
                kinds = [None] * len(part) if numbers is None else numbers[rows].tolist()
                yield Batch(part, all_names[rows], kinds)
                at += len(part)
        else:
            yield from self._decoded(self.data)

    def _decoded(self, data: str | Path | Sequence[str | Path]) -> Iterator[Batch]:
        items, strict = _items(data)
        names: list[str] = []
        kinds: list[str | int | None] = []
        pixels: list[np.ndarray] = []
        how = preparation(self.model, self.channels, source=self.source)
        workers = 0 if self.n is not None and self.n <= 512 else None
        for item, result in prepare_all(items, how, workers):
            if isinstance(result, Bad):
                if strict:
                    raise DataError(f"{item.name} cannot be used: {result}")
                self.skipped.append((item.name, str(result)))
                continue
            names.append(item.name)
            kinds.append(item.label)
            pixels.append(result.pixels)
            if len(names) == self.batch:
                yield self._joined(pixels, names, kinds)
                names, pixels, kinds = [], [], []
        if names:
            yield self._joined(pixels, names, kinds)

    def _joined(
        self, pixels: list[np.ndarray], names: list[str], kinds: list[str | int | None]
    ) -> Batch:
        channels = self.channels or self.model.shape[0]
        same = [p if p.shape[2] == channels else p.repeat(channels, 2) for p in pixels]
        return Batch(to_tensor(np.stack(same)), names, kinds)


def preparation(model: Model, channels: int | None = None, *, source: bool = False) -> Preparation:
    """How a model's images are prepared. Raises ConfigError where image files cannot be.

    channels, source: see :class:`Reader`
    """
    own, height, width = model.shape
    channels = channels or own
    if channels not in (1, 3):
        raise ConfigError(
            f"this model's images have {channels} channels, which image files cannot have; give "
            f"tensors"
        )
    return Preparation(
        height=height,
        width=width,
        channels=channels,
        resize=model.info.resize,
        background=colour(model.info.background),
        depth=model.info.source_depth if source else model.info.depth,
    )


def _items(data: str | Path | Sequence[str | Path]) -> tuple[Iterable[Item], bool]:
    """The images, and whether the user named each of them."""
    paths = [data] if isinstance(data, str | Path) else list(data)
    files = [Path(path).expanduser() for path in paths]
    if not isinstance(data, str | Path) or _is_image(files[0]):
        missing = [str(file) for file in files if not file.exists()]
        if missing:
            raise DataError(f"{missing[0]} does not exist; give an image file")
        return [Item(name=str(file), image=str(file)) for file in files], True
    source = find(str(data))
    try:
        return source.items(source.index()), False
    except Offline as offline:
        raise DataError(f"{source.path} cannot be reached: {offline}") from None


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and not path.is_dir()


def _name(data: Pictures) -> str:
    return str(data) if isinstance(data, str | Path) else f"the {type(data).__name__.lower()}"


def gathered(model: Model, data: Pictures, n: int | None, label: Label = None) -> Batch:
    """The first n images as one batch, on the CPU."""
    parts = list(Reader(model, data, n, label=label))
    labels = [part.labels for part in parts if part.labels is not None]
    return Batch(
        torch.cat([part.images.cpu() for part in parts]),
        [name for part in parts for name in part.names],
        [kind for part in parts for kind in part.kinds],
        torch.cat(labels) if labels else None,
    )
