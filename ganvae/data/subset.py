"""Rows of a packed store, as tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from ganvae.data.origins import Origin
from ganvae.data.rng import bits
from ganvae.data.store import Store

_HELD_OUT = 3


def to_float(pixels: Tensor) -> Tensor:
    """uint8 (B, H, W, C) to float32 (B, C, H, W) in [-1, 1], channels last in memory."""
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1)


class Images:
    """Rows of a packed store; positions run from 0 to ``len(self) - 1``.

    store: where the pixels are
    rows: which of its rows, in this order
    labels: class number of each position, or None
    origin: what the sources of a completion or translation are: made from the images, or images
        themselves, in pairs those at the same positions
    paired: whether a source belongs to its image; without an origin None
    """

    def __init__(
        self,
        store: Store,
        rows: np.ndarray,
        labels: np.ndarray | None = None,
        *,
        origin: Origin | Images | None = None,
        paired: bool = True,
    ):
        self._store, self.origin = store, origin
        self.paired = None if origin is None else paired
        if isinstance(origin, Images) and paired and len(origin) != len(rows):
            raise ValueError(f"{len(rows)} images cannot be paired with {len(origin)} sources")
        self._rows = rows.astype(np.int32 if len(store) < 2**31 else np.int64)
        self.labels = labels
        digest = blake2b(repr(store.shape).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(store.hashes()[rows]).data)
        if labels is not None:
            digest.update(np.ascontiguousarray(labels, np.int32).data)
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        height, width, channels = self._store.shape
        return channels, height, width

    def take(self, rows: np.ndarray | Sequence[int]) -> Tensor:
        """The images at some positions as stored: uint8 (B, H, W, C).

        Raises IndexError for a position outside 0 … len - 1.
        """
        positions = np.asarray(rows, np.int64)
        if positions.size and not 0 <= positions.min() <= positions.max() < len(self):
            raise IndexError(f"positions must be between 0 and {len(self) - 1}")
        return torch.from_numpy(self._store.read(self._rows[positions]))

    def images(self, rows: np.ndarray | Sequence[int]) -> Tensor:
        """The images at some positions: float32 (B, C, H, W) in [-1, 1], channels last."""
        return to_float(self.take(rows))

    @property
    def source_channels(self) -> int:
        """Channels of the sources, 0 where there are none."""
        if self.origin is None:
            return 0
        origin, channels = self.origin, self.shape[0]
        return origin.shape[0] if isinstance(origin, Images) else origin.channels(channels)

    def sources(self, rows: np.ndarray | Sequence[int], seed: int = 0) -> Tensor:
        """The sources at some positions, each always the same: float32 (B, S, H, W) in [-1, 1].

        Of unpaired sets those at the same positions of the other set, over and over where it is
        smaller.

        Raises ValueError where there are none, IndexError as :meth:`take` does.
        """
        positions = np.asarray(rows, np.int64)
        if self.origin is None:
            raise ValueError("these images have no sources; open them with data.task")
        if isinstance(self.origin, Images):
            return self.origin.images(positions % len(self.origin))
        return self.origin(self.images(positions), bits(positions, seed, _HELD_OUT))

    def batches(self, size: int) -> Iterator[Tensor]:
        """All images once, in order, ``size`` at a time (the last batch may be smaller)."""
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        for start in range(0, len(self), size):
            yield self.images(np.arange(start, min(start + size, len(self))))

    def hashes(self) -> np.ndarray:
        """Content hash of every image: uint8 (N, 16)."""
        return self._store.hashes()[self._rows]

    def names(self) -> list[str]:
        """Name of every image within its source; read from disk at each call."""
        names = self._store.names()
        return [names[row] for row in self._rows.tolist()]
