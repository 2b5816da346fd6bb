"""Training batches: of packed images a pure function of the seed and the step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ganvae.data.rng import bits
from ganvae.data.subset import Images, to_float
from ganvae.errors import ConfigError
from ganvae.types import Batch, Noise

Agree = Callable[..., list[float]]
"""The largest of each number over the processes."""
_ORDER, _FLIP, _SOURCE, _SOURCE_ORDER, _SOURCE_FLIP = 1, 2, 4, 5, 6


class Feed(Protocol):
    """What a training takes its batches from: packed images, or shards that are being read.

    batch: images a step over all processes
    notes: sentences for the user, said when the training begins
    """

    batch: int
    notes: list[str]

    def meet(self, step: int, agree: Agree) -> None:
        """Exchanges what processes must know of each other; all call this before each step."""

    def at(
        self, step: int, *, rank: int = 0, world: int = 1, micro: int = 0, micros: int = 1
    ) -> Batch:
        """This process's part of a step's batch, or one micro-batch of it."""

    def state(self) -> dict[str, Any] | None:
        """The state for :meth:`restore` beside the step, JSON-able."""

    def restore(self, state: Mapping[str, Any] | None, step: int, agree: Agree) -> bool:
        """Goes on before a step; returns whether the order of the images does, on all processes.

        state: None begins a new order where one depends on more than the step
        """

    def close(self) -> None:
        """Ends reading ahead."""


class Batches:
    """Every epoch all images once, in an order of its own; batches run on across epochs.

    Batch, order, flips, sources and noise of a step follow from (seed, step) alone: nothing has to
    be saved to continue, and no number of processes or micro-batches changes what a step sees.
    The sources of unpaired sets run on in an order of their own.

    images: what to train on
    batch: images a step over all processes; lowered to the number of images (see ``notes``)
    seed: of the order, the flips and the noise
    flip: mirror every image with probability ½, anew in every epoch
    multiple: a lowered batch stays divisible by this (processes times micro-batches)
    repeat: do not lower it: a batch of more images than there are has them several times
    """

    def __init__(
        self,
        images: Images,
        *,
        batch: int,
        seed: int,
        flip: bool = False,
        device: torch.device | str = "cpu",
        multiple: int = 1,
        repeat: bool = False,
    ):
        if batch < 1:
            raise ConfigError(f"training.batch must be at least 1, got {batch}")
        self.images, self.seed, self.flip = images, seed, flip
        self.device = torch.device(device)
        self.batch, self.notes = batch, list[str]()
        if len(images) < batch and not repeat:
            self.batch = max(len(images) // multiple, 1) * multiple
            if self.batch > len(images):
                raise ConfigError(
                    f"{len(images)} training images cannot be shared by {multiple} processes and"
                    " micro-batches; use fewer, or more images"
                )
            self.notes.append(
                f"batch lowered from {batch} to {self.batch}: there are {len(images)} training"
                " images"
            )
        self._order = _Order(len(images), seed, flip, (_ORDER, _FLIP))
        self._source_order = None
        if isinstance(images.origin, Images) and not images.paired:
            uses = _SOURCE_ORDER, _SOURCE_FLIP
            self._source_order = _Order(len(images.origin), seed, flip, uses)

    def at(
        self, step: int, *, rank: int = 0, world: int = 1, micro: int = 0, micros: int = 1
    ) -> Batch:
        """This process's part of a step's global batch, or one micro-batch of it.

        Raises ConfigError where the batch cannot be shared evenly.
        """
        parts, part = world * micros, rank * micros + micro
        if self.batch % parts:
            raise ConfigError(
                f"a batch of {self.batch} cannot be shared by {world} processes with {micros}"
                " micro-batches each; choose training.batch as a multiple of"
                f" {parts}"
            )
        size = self.batch // parts
        rows = slice(part * size, (part + 1) * size)
        places = step * self.batch + np.arange(rows.start, rows.stop)
        selection = self._order.at(places)
        image = to_float(_pixels(self.images, selection).to(self.device))
        labels = self.images.labels
        return Batch(
            image=image,
            noise=Noise(self.seed, step, total=self.batch, rows=rows, device=self.device),
            label=None
            if labels is None
            else torch.from_numpy(labels[selection.positions].astype(np.int64)).to(self.device),
            source=self._source(image, places, selection),
        )

    def meet(self, step: int, agree: Agree) -> None:
        """Processes have nothing to tell each other."""

    def state(self) -> None:
        """Nothing: all follows from the step."""

    def restore(self, state: Mapping[str, Any] | None, step: int, agree: Agree) -> bool:
        """The order goes on in any case."""
        return True

    def close(self) -> None:
        """Nothing to end."""

    def _source(self, image: Tensor, places: np.ndarray, selection: Selection) -> Tensor | None:
        """The source images; those of pairs are mirrored as their images are."""
        origin = self.images.origin
        if origin is None:
            return None
        if isinstance(origin, Images):
            selection = selection if self._source_order is None else self._source_order.at(places)
            return to_float(_pixels(origin, selection).to(self.device))
        source = origin(image, selection.numbers(self.seed, _SOURCE))
        return source.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Selection:
    """Positions of images, the epoch of each, and whether it is mirrored: shape (B,) each."""

    positions: np.ndarray
    epochs: np.ndarray
    mirrored: np.ndarray

    def numbers(self, seed: int, use: int) -> np.ndarray:
        """64 random bits for each image, others in each epoch."""
        values = np.empty(len(self.positions), np.uint64)
        for epoch in np.unique(self.epochs).tolist():
            in_epoch = self.epochs == epoch
            values[in_epoch] = bits(self.positions[in_epoch], seed, epoch, use)
        return values


class _Order:
    """An endless sequence of ``count`` images: each epoch all of them once, shuffled anew."""

    def __init__(self, count: int, seed: int, flip: bool, uses: tuple[int, int]):
        self.count, self.seed, self.flip = count, seed, flip
        self._use, self._flip_use = uses
        self._orders: dict[int, np.ndarray] = {}

    def at(self, places: np.ndarray) -> Selection:
        """The images at some places of the endless sequence."""
        epochs, offsets = np.divmod(places, self.count)
        positions = np.empty(len(places), np.int64)
        for epoch in np.unique(epochs).tolist():
            in_epoch = epochs == epoch
            positions[in_epoch] = self._of(epoch)[offsets[in_epoch]]
        selection = Selection(positions, epochs, np.zeros(len(places), np.bool_))
        if self.flip:
            selection.mirrored[:] = (
                selection.numbers(self.seed, self._flip_use) >> np.uint64(63) == 1
            )
        return selection

    def _of(self, epoch: int) -> np.ndarray:
        """The epoch's permutation of the positions."""
        if epoch not in self._orders:
            if len(self._orders) > 1:
                del self._orders[min(self._orders)]
            keys = bits(np.arange(self.count), self.seed, epoch, self._use)
            self._orders[epoch] = np.argsort(keys, kind="stable").astype(np.int32)
        return self._orders[epoch]


def _pixels(images: Images, selection: Selection) -> Tensor:
    """The selected pixels as uint8, mirrored where the selection says so."""
    return torch.from_numpy(mirror(images.take(selection.positions).numpy(), selection))


def mirror(raw: np.ndarray, selection: Selection) -> np.ndarray:
    """Mirrors the selected ones of pixels (B, H, W, C), in place; returns them."""
    which = np.flatnonzero(selection.mirrored)
    if len(which):
        lines = raw.reshape(*raw.shape[:2], -1)
        backwards = np.arange(lines.shape[2]).reshape(raw.shape[2:])[::-1].reshape(-1)
        lines[which] = np.take(lines[which], backwards, axis=2)
    return raw
