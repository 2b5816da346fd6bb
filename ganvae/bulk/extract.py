"""The judge's features of packed images, as Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganvae import config
from ganvae.bulk.encode import vectors
from ganvae.bulk.farm import Job, Work
from ganvae.bulk.parts import need
from ganvae.bulk.units import Piece
from ganvae.data import Data, Images, open_data
from ganvae.errors import DataError
from ganvae.metrics import judge as judges
from ganvae.metrics.sampling import CHUNK
from ganvae.models.images import to_tensor


@dataclass(frozen=True, kw_only=True)
class Features(Job):
    """Packed images to the judge's features.

    data, side: the images, and "train" or "test"
    fingerprint: of these
    judge: name and size
    """

    data: config.Data
    side: str
    fingerprint: str
    judge: tuple[str, int]

    def read(self, unit: bytes) -> Iterator[Piece]:
        """The pixels of some rows."""
        span = json.loads(unit)
        images: Images = getattr(_open(self.data), self.side)
        if images.fingerprint != self.fingerprint:
            raise DataError(f"the images in {self.data.path} are not the same on all machines")
        pixels = images.take(span["rows"]).numpy()
        yield Piece(span["part"], {**span, "shape": list(pixels.shape)}, pixels.tobytes())

    def begin(self) -> Work:
        """Loads the judge."""
        arrow, judge = need("pyarrow"), judges.load(*self.judge, self.device)

        def work(piece: Piece) -> tuple[Any, list[tuple[str, str]]]:
            pixels = np.frombuffer(piece.pixels, np.uint8).reshape(piece.head["shape"])
            parts = [to_tensor(pixels[i : i + CHUNK].copy()) for i in range(0, len(pixels), CHUNK)]
            features = judge.extract(parts).numpy()
            numbers = arrow.array(piece.head["rows"], arrow.int64())
            return arrow.table({"row": numbers, "feature": vectors(features)}), []

        return work


@lru_cache(maxsize=1)
def _open(data: config.Data) -> Data:
    """The images, opened once in every worker."""
    return open_data(data, workers=0)


def read(parts: Sequence[Path]) -> Tensor:
    """The features in some parts, (N, dim)."""
    parquet, features = need("pyarrow.parquet"), []
    for path in parts:
        column = parquet.read_table(path, columns=["feature"])["feature"].combine_chunks()
        flat = torch.from_numpy(column.flatten().to_numpy().copy())
        features.append(flat.view(len(column), -1))
    return torch.cat(features)
