"""A model's scores where there is much to look at: features by actors, then the usual figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ganvae import config, metrics
from ganvae.bulk.encode import vectors
from ganvae.bulk.farm import Crew, Job, Work, carry_out, digest_of, place_of, ticker
from ganvae.bulk.generate import Generate, drawn
from ganvae.bulk.parts import Done, need
from ganvae.bulk.units import Piece, absolute
from ganvae.config import Config
from ganvae.data import Data, Images, open_data
from ganvae.data.dataset import judged_by, refuse_untold
from ganvae.errors import ConfigError, DataError
from ganvae.metrics import cache
from ganvae.metrics import judge as judges
from ganvae.metrics.judge import Judge
from ganvae.metrics.sampling import CHUNK, rows
from ganvae.models import Model, load
from ganvae.models.images import to_tensor
from ganvae.progress import Progress
from ganvae.tasks.pictures import write_json
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
    place, out = place_of(model), Path(out).expanduser().resolve()
    loaded = load(place)
    if loaded.info.task != "generate":
        raise ConfigError(
            f"this model was trained to {loaded.info.task} images, and in bulk only models that "
            f"generate are judged; use ganvae evaluate"
        )
    given = dict(settings or {})
    chosen = _settled(place, loaded, data, given, samples, seed)
    if data is not None and "data.test_share" not in given:
        wanted = judged_by(chosen.data, loaded.info.trained.fingerprint)
        chosen = replace(chosen, data=wanted)
    opened = open_data(chosen.data)
    _refuse(loaded, opened, chosen)
    if training is None:
        training = opened.fingerprint == loaded.info.trained.fingerprint
    look = _Look(place, chosen, opened, out, part, Crew(actors=actors, gpus=gpus), progress)
    made = look.samples()
    judge = Extracted(chosen.evaluation, look.features(made.parts))
    sides = {"test": "heldout", "train": "training"} if training else {"test": "heldout"}
    for side, name in sides.items():
        look.real(judge, side, name)
    found = metrics.evaluate(
        Drawn(loaded, made.parts, chosen.training.seed),
        opened, chosen.evaluation, training=training, flip=chosen.data.flip, progress=progress,
        seed=chosen.training.seed, judge=judge, name=name_of(chosen.data.path),
    )  # fmt: skip
    write_json(out / "evaluation.json", found)
    return found


def _settled(
    place: str,
    model: Model,
    data: str | Path | None,
    given: dict[str, Any],
    samples: int | None,
    seed: int | None,
) -> Config:
    """The settings of the run, or else the model's preparation, with those that were given."""
    kept = Path(place) / "config.yaml"
    if data is None and not kept.exists():
        raise ConfigError("name the images to judge the model on: only a run knows its own")
    channels, height, _ = model.shape
    prepared = {
        "data.size": height, "data.channels": channels, "data.resize": model.info.resize,
        "data.background": model.info.background, "data.labels": bool(model.info.classes),
    }  # fmt: skip
    base = config.load(kept) if kept.exists() else config.override(Config(), prepared)
    if data is not None:  # what was said of the run's own files says nothing of others
        other = {"data.labels_file": None, "data.depth": model.info.data_depth}
        base = config.override(base, other)
    also = {
        "data.path": None if data is None else str(data),
        "evaluation.samples": samples,
        "training.seed": seed,
    }
    given |= {k: v for k, v in also.items() if v is not None}
    refuse_untold(base.data, given, place)
    chosen = config.override(base, given)
    places = {"data.path": absolute(chosen.data.path)}
    if chosen.data.labels_file is not None:
        places["data.labels_file"] = absolute(chosen.data.labels_file)
    return config.override(chosen, places)


def _refuse(model: Model, data: Data, chosen: Config) -> None:
    if data.shape != model.shape:
        raise ConfigError(
            f"the images have shape {data.shape}, the model's {model.shape}: set data.size and "
            f"data.channels to the model's"
        )
    model.refuse_other_classes(data.classes)
    if not len(data.test):
        raise DataError("There are no held-out images to judge by: raise data.test_share above 0.")
    if chosen.evaluation.samples < 2:
        raise DataError(f"evaluation.samples must be at least 2, got {chosen.evaluation.samples}.")


@dataclass(frozen=True)
class _Look:
    """What the tasks of an evaluation share."""

    place: str
    chosen: Config
    data: Data
    out: Path
    part: int
    crew: Crew
    progress: Progress | None

    @property
    def judge(self) -> tuple[str, int]:
        """The judge's name and size."""
        return self.chosen.evaluation.judge, self.chosen.evaluation.size

    def samples(self) -> Done:
        """Images of the model with their features."""
        n = min(self.chosen.evaluation.samples, len(self.data.test))
        seed = self.chosen.training.seed
        job = Generate(
            model=self.place, digest=digest_of(self.place), seed=seed, batch=CHUNK,
            judge=self.judge,
        )  # fmt: skip
        settings = {
            "n": n, "seed": seed, "start": 0, "part": self.part, "judge": list(self.judge),
        }  # fmt: skip
        return drawn(job, n, self.out / "samples", settings, self.crew, self.progress)

    def real(self, judge: Judge, side: str, name: str) -> None:
        """Gives the judge the features of some held-out or training images."""
        images: Images = getattr(self.data, side)
        n = min(self.chosen.evaluation.samples, len(self.data.test))
        numbers = rows(len(images), n, self.chosen.training.seed)
        job = Features(
            model=self.place, digest=digest_of(self.place), data=self.chosen.data, side=side,
            fingerprint=images.fingerprint, judge=self.judge,
        )  # fmt: skip
        spans = {
            f"part-{i:06d}": numbers[at : at + self.part].tolist()
            for i, at in enumerate(range(0, len(numbers), self.part))
        }
        manifest = {
            "verb": "features", "model": None, "data": images.fingerprint,
            "settings": {
                "n": n, "seed": self.chosen.training.seed, "part": self.part,
                "judge": list(self.judge),
            },
        }  # fmt: skip

        def units(done: Mapping[str, Any]) -> list[bytes]:
            left = {part: chosen for part, chosen in spans.items() if part not in done}
            return [json.dumps({"part": p, "rows": r}).encode() for p, r in left.items()]

        tell = ticker(self.progress, f"{name} images", len(numbers))
        done = carry_out(job, self.out / name, manifest, units, self.crew, tell)
        judge.memory[cache.key(images, judge, numbers)] = self.features(done.parts)

    @staticmethod
    def features(parts: list[Path]) -> Tensor:
        """The features in some parts, (N, dim)."""
        parquet, found = need("pyarrow.parquet"), []
        for path in parts:
            column = parquet.read_table(path, columns=["feature"])["feature"].combine_chunks()
            found.append(torch.from_numpy(column.flatten().to_numpy().copy()))
            found[-1] = found[-1].view(len(column), -1)
        return torch.cat(found)


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
        told = json.loads(unit)
        images: Images = getattr(_opened(self.data), self.side)
        if images.fingerprint != self.fingerprint:
            raise DataError(f"the images in {self.data.path} are not the same on all machines")
        pixels = images.take(told["rows"]).numpy()
        yield Piece(told["part"], {**told, "shape": list(pixels.shape)}, pixels.tobytes())

    def begin(self) -> Work:
        """Loads the judge."""
        arrow, judge = need("pyarrow"), judges.load(*self.judge, self.device)

        def work(piece: Piece) -> tuple[Any, list[tuple[str, str]]]:
            pixels = np.frombuffer(piece.pixels, np.uint8).reshape(piece.head["shape"])
            parts = [to_tensor(pixels[i : i + CHUNK].copy()) for i in range(0, len(pixels), CHUNK)]
            found = judge.extract(parts).numpy()
            numbers = arrow.array(piece.head["rows"], arrow.int64())
            return arrow.table({"row": numbers, "feature": vectors(found)}), []

        return work


@lru_cache(maxsize=1)
def _opened(data: config.Data) -> Data:
    """The images, opened once in every worker."""
    return open_data(data, workers=0)


class Extracted(Judge):
    """A judge that knows the features of the first images it is asked for.

    settings: which judge
    features: of these images, (N, dim)
    """

    def __init__(self, settings: config.Evaluation, features: Tensor):
        judge = judges.load(settings.judge, settings.size)
        super().__init__(
            judge.network, label=judge.label, size=judge.size, scale=judge.scale,
            offset=judge.offset, cacheable=judge.cacheable,
        )  # fmt: skip
        self._known: Tensor | None = features

    def extract(
        self, batches: Iterable[Tensor], progress: Callable[[int], None] | None = None
    ) -> Tensor:
        """The known features at the first call, which looks at the samples; then as ever."""
        known, self._known = self._known, None
        if known is None:
            return super().extract(batches, progress)
        done = 0
        for images in batches:  # the evaluation takes thumbnails of them on their way
            done += len(images)
            if progress:
                progress(done)
        assert done == len(known), "others were asked for than the samples"
        return known


class Drawn:
    """A model whose samples are those in some parts; all else is the model's.

    Follows :class:`ganvae.metrics.protocols.Model`.
    """

    def __init__(self, model: Model, parts: list[Path], seed: int):
        self._model, self._parts, self._seed = model, parts, seed
        self._rest = self._images()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def generate(self, n: int, *, seed: int = 0, start: int = 0) -> Tensor:
        """The next n samples, (n, C, H, W) in [-1, 1]."""
        assert seed == self._seed
        found = [next(self._rest) for _ in range(n)]
        assert [index for index, _ in found] == list(range(start, start + n))
        return to_tensor(np.stack([pixels for _, pixels in found]))

    def _images(self) -> Iterator[tuple[int, np.ndarray]]:
        parquet = need("pyarrow.parquet")
        for path in self._parts:
            table = parquet.read_table(path, columns=["index", "image"])
            for index, data in zip(table["index"].to_pylist(), table["image"], strict=True):
                with Image.open(BytesIO(data.as_py()), formats=("PNG",)) as image:
                    pixels = np.asarray(image)
                yield index, pixels[:, :, None] if pixels.ndim == 2 else pixels
