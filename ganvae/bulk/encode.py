"""The latents of very many images, as Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganvae.bulk import units
from ganvae.bulk.farm import Crew, Job, Work, carry_out, digest_of, place_of, ticker
from ganvae.bulk.parts import Done, need
from ganvae.bulk.units import Piece, Unit
from ganvae.data.decode import Preparation
from ganvae.data.workers import cores
from ganvae.errors import ConfigError
from ganvae.models import load
from ganvae.models.images import to_tensor
from ganvae.progress import Progress
from ganvae.tasks.reader import Reader, preparation


def encode(
    model: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    spread: bool = False,
    label: str | int | None = None,
    part: int = 1024,
    batch: int = 64,
    actors: int | None = None,
    gpus: float | None = None,
    progress: Progress | None = None,
) -> Done:
    """Posteriors q(z|x) of all images of a set to a folder of Parquet parts.

    The columns: ``name`` (of the image within the set), ``label`` (the class that the set gives
    it, or null) and ``mean``, a list of ``latent`` float32.

    model: a model's or a run's directory, or a Hub id
    data: anything that can be trained on: a folder, tar shards, Parquet, arrays
    spread: also a column ``logvar``, the logarithm of the variance
    label: for a class-conditional model: the class of all images; unset: the set's own
    part: images a part. What is made again after an interruption is at most a part an actor
    batch: images computed at once
    actors, gpus: see :class:`ganvae.bulk.farm.Crew`

    The same call goes on where it was stopped. Raises ConfigError for a folder that was begun with
    other settings or another model, DataError for images that cannot be read.
    """
    if batch < 1:
        raise ConfigError(f"a batch must have at least 1 image, got {batch}")
    place = place_of(model)
    how = _preparation_for(place, label)
    source, index = units.listed(data)
    job = Encode(
        model=place, digest=digest_of(place), how=how, spread=spread, label=label,
        part=part, batch=batch,
    )  # fmt: skip
    settings = {"spread": spread, "label": label, "part": part, "batch": batch}
    manifest = {
        "verb": "encode", "model": job.digest, "data": index.digest, "settings": settings,
    }  # fmt: skip
    streams = 1 if actors == 0 else actors or cores()
    return carry_out(
        job,
        Path(out),
        manifest,
        lambda done: [u.pack() for u in units.cut(source, index, part, done, streams)],
        Crew(actors=actors, gpus=gpus),
        ticker(progress, "encoding", len(index.names) or None),
    )


def _preparation_for(place: str, label: str | int | None) -> Preparation:
    """How images are prepared for a model. Raises ConfigError where it cannot encode them, or
    does not know the class."""
    model = load(place)
    classes = torch.zeros(0).long() if label is None and model.info.classes else label
    model.encode(torch.zeros(0, *model.shape), classes)
    return preparation(model)


@dataclass(frozen=True, kw_only=True)
class Encode(Job):
    """Images to latents; see :func:`encode`."""

    how: Preparation
    spread: bool
    label: str | int | None
    part: int
    batch: int

    def read(self, unit: bytes) -> Iterator[Piece]:
        """Decoded images."""
        yield from units.read(Unit.unpack(unit), self.how, self.part)

    def begin(self) -> Work:
        """Loads the model."""
        arrow, model = need("pyarrow"), self.loaded()
        reader = Reader(model, (), label=self.label)

        def work(piece: Piece) -> tuple[Any, list[tuple[str, str]]]:
            names, kinds = piece.head["names"], piece.head["kinds"]
            shape = (len(names), self.how.height, self.how.width, model.shape[0])
            pixels = np.frombuffer(piece.pixels, np.uint8).reshape(shape)
            parts = [torch.zeros(2, 0, model.latent)]
            for at in range(0, len(names), self.batch):
                rows = slice(at, at + self.batch)
                labels = reader._labels(names[rows], kinds[rows], at)
                q = model.encode(to_tensor(pixels[rows].copy()), labels, batch=self.batch)
                parts.append(torch.stack([q.mean, q.logvar]).cpu())
            mean, logvar = (vectors(x.numpy()) for x in torch.cat(parts, 1))
            columns = {
                "name": arrow.array([_text(name) for name in names], arrow.string()),
                "label": arrow.array([k and _text(k) for k in kinds], arrow.string()),
                "mean": mean,
            } | ({"logvar": logvar} if self.spread else {})
            return arrow.table(columns), [(n, w) for n, w in piece.head["skipped"]]

        return work


def vectors(x: np.ndarray) -> Any:
    """Rows of float32, (N, d), as an Arrow array of lists of d numbers."""
    arrow = need("pyarrow")
    flat = arrow.array(np.ascontiguousarray(x, np.float32).reshape(-1))
    return arrow.FixedSizeListArray.from_arrays(flat, x.shape[1])


def _text(name: str) -> str:
    """A name as UTF-8 can hold it: bytes of a file name that are no text are written \\x.."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
