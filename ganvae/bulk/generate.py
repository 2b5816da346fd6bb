"""Very many new images, as Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ganvae.bulk.encode import vectors
from ganvae.bulk.farm import (
    Crew,
    Job,
    Work,
    carry_out,
    cut,
    digest_of,
    place_of,
    ticker,
    unfinished,
)
from ganvae.bulk.parts import Done, need
from ganvae.bulk.units import Piece
from ganvae.errors import ConfigError, RangeError
from ganvae.metrics import judge as judges
from ganvae.models import load
from ganvae.models.images import picture, to_tensor
from ganvae.progress import Progress
from ganvae.tasks.generate import at_once, blocks

PART = 1024
"""Images a part, about."""


def generate(
    model: str | Path,
    n: int,
    out: str | Path,
    *,
    label: str | int | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    prior: str | None = None,
    truncation: float | None = None,
    start: int = 0,
    part: int | None = None,
    batch: int | None = None,
    actors: int | None = None,
    gpus: float | None = None,
    progress: Progress | None = None,
) -> Done:
    """Images ``start`` to ``start + n`` of a seed to a folder of Parquet parts.

    The columns: ``seed``, ``index`` (the image's number), ``label`` (its class, or null) and
    ``image``, the bytes of a PNG file. Image i of a seed is that of ``ganvae generate``. The
    folder can be trained on.

    part: images a part; unset: about 1,000, in whole batches
    batch: images computed at once; unset: as ``ganvae generate`` has it. Float rounding, and so
        now and then a pixel's last bit, depends on where batches begin, and on the device
    The others: see :func:`ganvae.tasks.generate` and :func:`ganvae.bulk.encode`.
    """
    if n < 1:
        raise ConfigError(f"the number of images must be at least 1, got {n}")
    if not 0 <= seed < 2**63:
        raise RangeError(f"the seed must be from 0 to 2**63 - 1, got {seed}")
    place = place_of(model)
    loaded_model = load(place)
    batch = at_once(loaded_model) if batch is None else batch
    part = max(1, PART // max(1, batch)) * batch if part is None else part
    options: dict[str, Any] = {
        "seed": seed, "label": label, "temperature": temperature, "prior": prior,
        "truncation": truncation,
    }  # fmt: skip
    settings = {"n": n, **options, "start": start, "part": part, "batch": batch}
    job = Generate(model=place, digest=digest_of(place), batch=batch, **options)
    loaded_model.generate(0, label, **job.options())  # refuses what the model cannot do
    return make_parts(job, n, Path(out), settings, Crew(actors=actors, gpus=gpus), progress)


def make_parts(
    job: Generate,
    n: int,
    out: Path,
    settings: dict[str, Any],
    crew: Crew,
    progress: Progress | None,
) -> Done:
    """Makes the parts of n images; ``settings``, kept in the manifest, has "start" and "part"."""
    start, part = settings["start"], settings["part"]
    if job.batch < 1 or part < 1:
        raise ConfigError(f"a part and a batch have at least 1 image, got {part} and {job.batch}")
    manifest = {"verb": "generate", "model": job.digest, "data": None, "settings": settings}
    spans = [
        {"part": name, "first": start + at, "n": min(part, n - at)} for name, at in cut(n, part)
    ]
    tell = ticker(progress, "generating", n)
    return carry_out(job, out, manifest, unfinished(spans), crew, tell)


@dataclass(frozen=True, kw_only=True)
class Generate(Job):
    """Numbers to images; see :func:`generate`.

    judge: name and size of the judge whose features of every image are kept, too
    """

    seed: int
    label: str | int | None = None
    temperature: float = 1.0
    prior: str | None = None
    truncation: float | None = None
    batch: int = 64
    judge: tuple[str, int] | None = None

    def options(self) -> dict[str, Any]:
        """Keywords of :meth:`ganvae.models.Model.generate`."""
        return {
            "seed": self.seed, "temperature": self.temperature, "prior": self.prior,
            "truncation": self.truncation,
        }  # fmt: skip

    def read(self, unit: bytes) -> Iterator[Piece]:
        """One part of the numbers."""
        span = json.loads(unit)
        yield Piece(span["part"], span)

    def begin(self) -> Work:
        """Loads the model and the judge."""
        arrow, model = need("pyarrow"), self.loaded()
        judge = judges.load(*self.judge, model.device) if self.judge else None
        names = model.info.classes

        def make(count: int, start: int) -> Tensor:
            return model.generate(
                count, self.label, start=start, batch=self.batch, **self.options()
            )

        def work(piece: Piece) -> tuple[Any, list[tuple[str, str]]]:
            first, n = piece.head["first"], piece.head["n"]
            classes = model.labels(n, self.label, seed=self.seed, start=first)
            files, features = [], []
            for _, pixels in blocks(make, n, start=first, batch=self.batch):
                files += [_png(image) for image in pixels]
                if judge:
                    features.append(judge(to_tensor(pixels)).cpu().numpy())
            labels = [None] * n if classes is None else [names[c] for c in classes.tolist()]
            columns = {
                "seed": arrow.array(np.full(n, self.seed, np.int64)),
                "index": arrow.array(np.arange(first, first + n)),
                "label": arrow.array(labels, arrow.string()),
                "image": arrow.array(files, arrow.binary()),
            } | ({"feature": vectors(np.concatenate(features))} if judge else {})
            return arrow.table(columns), []

        return work


def _png(pixels: np.ndarray) -> bytes:
    file = BytesIO()
    picture(pixels).save(file, format="PNG")
    return file.getvalue()
