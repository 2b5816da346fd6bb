"""Training batches: of packed images a pure function of the seed and the step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ganvae.data.draws import bits
from ganvae.data.images import Images, to_float
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
        """What processes tell each other; all of them call this before each step."""

    def at(
        self, step: int, *, rank: int = 0, world: int = 1, micro: int = 0, micros: int = 1
    ) -> Batch:
        """This process's part of a step's batch, or one micro-batch of it."""

    def state(self) -> dict[str, Any] | None:
        """What :meth:`restore` needs beside the step, JSON-able."""

    def restore(self, state: Mapping[str, Any] | None, step: int, agree: Agree) -> bool:
        """Goes on before a step; returns whether the order of the images does, on all processes.

        state: None begins a new order where one depends on more than the step
        """

    def close(self) -> None:
        """Ends what reads ahead."""


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
        self._others = None
        if isinstance(images.origin, Images) and not images.paired:
            uses = _SOURCE_ORDER, _SOURCE_FLIP
            self._others = _Order(len(images.origin), seed, flip, uses)

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
        drawn = self._order.at(places)
        image = to_float(_pixels(self.images, drawn).to(self.device))
        labels = self.images.labels
        return Batch(
            image=image,
            noise=Noise(self.seed, step, total=self.batch, rows=rows, device=self.device),
            label=None
            if labels is None
            else torch.from_numpy(labels[drawn.positions].astype(np.int64)).to(self.device),
            source=self._source(image, places, drawn),
        )

    def meet(self, step: int, agree: Agree) -> None:
        """Processes have nothing to tell each other."""

    def state(self) -> None:
        """Nothing: all follows from the step."""

    def restore(self, state: Mapping[str, Any] | None, step: int, agree: Agree) -> bool:
        """The order goes on in any case."""
        return True

    def close(self) -> None:
        """Nothing reads ahead."""

    def _source(self, image: Tensor, places: np.ndarray, drawn: Drawn) -> Tensor | None:
        """What the images are to be made from; of pairs mirrored as they are."""
        origin = self.images.origin
        if origin is None:
            return None
        if isinstance(origin, Images):
            drawn = drawn if self._others is None else self._others.at(places)
            return to_float(_pixels(origin, drawn).to(self.device))
        source = origin(image, drawn.numbers(self.seed, _SOURCE))
        return source.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Drawn:
    """Which images some places hold, in which epoch, and which are mirrored: shape (B,) each."""

    positions: np.ndarray
    epochs: np.ndarray
    mirrored: np.ndarray

    def numbers(self, seed: int, use: int) -> np.ndarray:
        """64 random bits for each image of its epoch."""
        drawn = np.empty(len(self.positions), np.uint64)
        for epoch in np.unique(self.epochs).tolist():
            here = self.epochs == epoch
            drawn[here] = bits(self.positions[here], seed, epoch, use)
        return drawn


class _Order:
    """Every epoch all of ``count`` images once, in an order of its own, without end."""

    def __init__(self, count: int, seed: int, flip: bool, uses: tuple[int, int]):
        self.count, self.seed, self.flip = count, seed, flip
        self._use, self._flip_use = uses
        self._orders: dict[int, np.ndarray] = {}

    def at(self, places: np.ndarray) -> Drawn:
        """What is at some places, counted from the first epoch on."""
        epochs, offsets = np.divmod(places, self.count)
        positions = np.empty(len(places), np.int64)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            positions[here] = self._of(epoch)[offsets[here]]
        drawn = Drawn(positions, epochs, np.zeros(len(places), np.bool_))
        if self.flip:
            drawn.mirrored[:] = drawn.numbers(self.seed, self._flip_use) >> np.uint64(63) == 1
        return drawn

    def _of(self, epoch: int) -> np.ndarray:
        """The epoch's permutation of the positions."""
        if epoch not in self._orders:
            if len(self._orders) > 1:
                del self._orders[min(self._orders)]
            keys = bits(np.arange(self.count), self.seed, epoch, self._use)
            self._orders[epoch] = np.argsort(keys, kind="stable").astype(np.int32)
        return self._orders[epoch]


def _pixels(images: Images, drawn: Drawn) -> Tensor:
    """Pixels as stored, some of them mirrored."""
    return torch.from_numpy(mirrored(images.take(drawn.positions).numpy(), drawn))


def mirrored(raw: np.ndarray, drawn: Drawn) -> np.ndarray:
    """The same pixels (B, H, W, C), in place, those mirrored that are to be."""
    which = np.flatnonzero(drawn.mirrored)
    if len(which):
        lines = raw.reshape(*raw.shape[:2], -1)
        backwards = np.arange(lines.shape[2]).reshape(raw.shape[2:])[::-1].reshape(-1)
        lines[which] = np.take(lines[which], backwards, axis=2)
    return raw
