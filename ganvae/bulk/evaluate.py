"""A model's scores where there is much to look at: features by actors, then the usual figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ganvae import config, metrics
from ganvae.bulk import extract, farm
from ganvae.bulk.generate import Generate, make_parts
from ganvae.bulk.parts import need
from ganvae.bulk.units import absolute
from ganvae.config import Config
from ganvae.data import Data, Images, open_data
from ganvae.data.dataset import judged_by
from ganvae.data.packing import refuse_untold
from ganvae.errors import ConfigError
from ganvae.metrics import cache
from ganvae.metrics import judge as judges
from ganvae.metrics.copies import DETAILED
from ganvae.metrics.evaluate import refuse_none
from ganvae.metrics.judge import Judge
from ganvae.metrics.memorisation import thumbnails
from ganvae.metrics.sampling import CHUNK, levels, rows
from ganvae.models import Model, load
from ganvae.models.images import to_tensor
from ganvae.progress import Progress
from ganvae.tasks.output import write_json
from ganvae.telling import name_of


def evaluate(
    model: str | Path,
    data: str | Path | None,
    out: str | Path,
    *,
    samples: int | None = None,
    settings: Mapping[str, Any] | None = None,
    training: bool | None = None,
    seed: int | None = None,
    part: int = 8 * CHUNK,
    actors: int | None = None,
    gpus: float | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """What :func:`ganvae.metrics.evaluate` says of a model; written to ``evaluation.json``, too.

    Actors make the samples and extract all features, restartable, into the sub-folders ``samples``
    (which keeps the images), ``heldout`` and ``training``. The figures follow from these in this
    process, which also takes reconstructions and likelihoods.

    model: of a task other than to generate: ConfigError
    data: the images, of which all are judged by unless ``data.test_share`` is set or they are the
        run's own; None: those the run was trained on
    samples: images on each side; unset: ``evaluation.samples``
    settings: by dotted name, for example ``{"evaluation.size": 64}``
    training: also look at training images, see :func:`ganvae.metrics.evaluate`; unset: where the
        images are the run's own
    seed: unset: that of the run
    part: images a part
    actors, gpus: see :class:`ganvae.bulk.farm.Crew`
    """
    place, out = farm.place_of(model), Path(out).expanduser().resolve()
    trained_model = load(place)
    if trained_model.info.from_sources:
        raise ConfigError(
            f"this model was trained to {trained_model.info.task} images, and in bulk only models "
            f"that generate are judged; use ganvae evaluate"
        )
    conf = _resolve(place, trained_model, data, dict(settings or {}), samples, seed)
    images = open_data(conf.data)
    _refuse(trained_model, images, conf)
    if training is None:
        training = images.fingerprint == trained_model.info.trained.fingerprint
    task = _Task(place, conf, images, out, part, farm.Crew(actors=actors, gpus=gpus), progress)
    sample_parts = task.samples()
    sample_features = metrics.Samples(extract.read(sample_parts), _thumbnails(sample_parts))
    judge = judges.load(*task.judge)
    for side, name in {"test": "heldout", "train": "training"}.items():
        if training or side == "test":
            task.real(judge, side, name)
    scores = metrics.evaluate(
        trained_model, images, conf.evaluation, training=training, flip=conf.data.flip,
        progress=progress, seed=conf.training.seed, judge=judge, samples=sample_features,
        name=name_of(conf.data.path),
    )  # fmt: skip
    write_json(out / "evaluation.json", scores)
    return scores


def _resolve(
    place: str,
    model: Model,
    data: str | Path | None,
    overrides: dict[str, Any],
    samples: int | None,
    seed: int | None,
) -> Config:
    """The settings of the run, or else the model's preparation, changed by ``overrides``."""
    run_file = Path(place) / "config.yaml"
    if data is None and not run_file.exists():
        raise ConfigError("name the images to judge the model on: only a run knows its own")
    defaults = model.info.data_settings()
    base = config.load(run_file) if run_file.exists() else config.override(Config(), defaults)
    if data is not None:  # these belong to the run's own files
        unset = {"data.labels_file": None, "data.depth": model.info.data_depth}
        base = config.override(base, unset)
    arguments = {
        "data.path": None if data is None else str(data),
        "evaluation.samples": samples,
        "training.seed": seed,
    }
    overrides |= {k: v for k, v in arguments.items() if v is not None}
    refuse_untold(base.data, overrides, place)
    settings = config.override(base, overrides)
    places = {"data.path": absolute(settings.data.path)}
    if settings.data.labels_file is not None:
        places["data.labels_file"] = absolute(settings.data.labels_file)
    settings = config.override(settings, places)
    if data is None or "data.test_share" in overrides:
        return settings
    return replace(settings, data=judged_by(settings.data, model.info.trained.fingerprint))


def _refuse(model: Model, data: Data, settings: Config) -> None:
    if data.shape != model.shape:
        raise ConfigError(
            f"the images have shape {data.shape}, the model's {model.shape}: set data.size and "
            f"data.channels to the model's"
        )
    model.refuse_other_classes(data.classes)
    refuse_none(data, settings.evaluation)


@dataclass(frozen=True)
class _Task:
    """Settings and places that the bulk tasks of an evaluation share."""

    place: str
    config: Config
    data: Data
    out: Path
    part: int
    crew: farm.Crew
    progress: Progress | None

    @property
    def judge(self) -> tuple[str, int]:
        """The judge's name and size."""
        judge = self.config.evaluation.judge or judges.other_than(self.config.networks.eyes)
        return judge, self.config.evaluation.size

    @property
    def n(self) -> int:
        """Images on each side."""
        return min(self.config.evaluation.samples, len(self.data.test))

    def settings(self, **more: int) -> dict[str, Any]:
        """The settings that a folder's manifest keeps."""
        settings = {"n": self.n, "seed": self.config.training.seed, **more}
        return {**settings, "part": self.part, "judge": list(self.judge)}

    def samples(self) -> list[Path]:
        """Parts of the model's samples, with their features."""
        job = Generate(
            model=self.place, digest=farm.digest_of(self.place), seed=self.config.training.seed,
            batch=CHUNK, judge=self.judge,
        )  # fmt: skip
        out, settings = self.out / "samples", self.settings(start=0)
        return make_parts(job, self.n, out, settings, self.crew, self.progress).parts

    def real(self, judge: Judge, side: str, name: str) -> None:
        """Gives the judge the features of some held-out or training images."""
        images: Images = getattr(self.data, side)
        numbers = rows(len(images), self.n, self.config.training.seed)
        job = extract.Features(
            model=self.place, digest=farm.digest_of(self.place), data=self.config.data, side=side,
            fingerprint=images.fingerprint, judge=self.judge,
        )  # fmt: skip
        spans = [
            {"part": part, "rows": numbers[at : at + self.part].tolist()}
            for part, at in farm.cut(len(numbers), self.part)
        ]
        manifest = {
            "verb": "features", "model": None, "data": images.fingerprint,
            "settings": self.settings(),
        }  # fmt: skip
        tell = farm.ticker(self.progress, f"{name} images", len(numbers))
        result = farm.carry_out(
            job, self.out / name, manifest, farm.unfinished(spans), self.crew, tell
        )
        judge.memory[cache.key(images, judge, numbers)] = extract.read(result.parts)


def _thumbnails(parts: Sequence[Path]) -> Tensor:
    """Thumbnails of the first samples in some parts, for :class:`ganvae.metrics.Samples`."""
    parquet = need("pyarrow.parquet")
    small: list[Tensor] = []
    tables = (parquet.read_table(path, columns=["image"])["image"] for path in parts)
    images = (_pixels(file.as_py()) for table in tables for file in table)
    while sum(len(x) for x in small) < DETAILED and (chunk := list(islice(images, CHUNK))):
        small.append(thumbnails(levels(to_tensor(np.stack(chunk)))))
    return torch.cat(small)[:DETAILED]


def _pixels(file: bytes) -> np.ndarray:
    with Image.open(BytesIO(file), formats=("PNG",)) as image:
        pixels = np.asarray(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
