"""The stream of training batches: a pure function of the seed and the step."""

from __future__ import annotations

import numpy as np
import torch

from ganvae.data.images import Images
from ganvae.data.transforms import to_float
from ganvae.errors import ConfigError
from ganvae.types import Batch, Noise, mix

_ORDER, _FLIP = 1, 2


class Batches:
    """Every epoch all images once, in an order of its own; batches run on across epochs.

    Batch, order, flips and noise of a step follow from (seed, step) alone: nothing has to be saved
    to continue, and no number of processes or micro-batches changes what a step sees.

    images: what to train on
    batch: images a step over all processes; lowered to the number of images (see ``notes``)
    seed: of the order, the flips and the noise
    flip: mirror every image with probability ½, anew in every epoch
    multiple: a lowered batch stays divisible by this (processes times micro-batches)
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
    ):
        if batch < 1:
            raise ConfigError(f"training.batch must be at least 1, got {batch}")
        self.images, self.seed, self.flip = images, seed, flip
        self.device = torch.device(device)
        self.batch, self.notes = batch, list[str]()
        if len(images) < batch:
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
        self._orders: dict[int, np.ndarray] = {}

    def epoch_of(self, step: int) -> float:
        """Epochs passed before a step, as a fraction."""
        return step * self.batch / len(self.images)

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
        place = step * self.batch + np.arange(rows.start, rows.stop)
        epochs, offsets = np.divmod(place, len(self.images))
        positions = np.empty(size, np.int64)
        mirrored = np.zeros(size, np.bool_)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            positions[here] = self._order(epoch)[offsets[here]]
            if self.flip:
                mirrored[here] = _bits(positions[here], self.seed, epoch, _FLIP) >> 63 == 1
        labels = self.images.labels
        return Batch(
            image=to_float(self._pixels(positions, mirrored).to(self.device)),
            noise=Noise(self.seed, step, total=self.batch, rows=rows, device=self.device),
            label=None
            if labels is None
            else torch.from_numpy(labels[positions].astype(np.int64)).to(self.device),
        )

    def _pixels(self, positions: np.ndarray, mirrored: np.ndarray) -> torch.Tensor:
        pixels = self.images.take(positions)
        which = np.flatnonzero(mirrored)
        if len(which):
            raw = pixels.numpy()
            lines = raw.reshape(*raw.shape[:2], -1)
            backwards = np.arange(lines.shape[2]).reshape(raw.shape[2:])[::-1].reshape(-1)
            lines[which] = np.take(lines[which], backwards, axis=2)
        return pixels

    def _order(self, epoch: int) -> np.ndarray:
        """The epoch's permutation of the positions."""
        if epoch not in self._orders:
            if len(self._orders) > 1:
                del self._orders[min(self._orders)]
            keys = _bits(np.arange(len(self.images)), self.seed, epoch, _ORDER)
            self._orders[epoch] = np.argsort(keys, kind="stable").astype(np.int32)
        return self._orders[epoch]


def _bits(numbers: np.ndarray, *seed: int) -> np.ndarray:
    """64 random bits for each number (splitmix64): the same on every machine and version."""
    x = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(mix(*seed))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
