"""Judges a model on its run's held-out images, with a report, or on other images."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganvae import config as configuration
from ganvae import files, metrics, tasks
from ganvae.config import Config
from ganvae.data import Data, Manifest, open_data
from ganvae.data.dataset import judged_by
from ganvae.data.packing import refuse_untold
from ganvae.errors import ConfigError
from ganvae.foreign import from_environment
from ganvae.metrics import judge as judges
from ganvae.metrics.judge import Judge
from ganvae.metrics.sampling import made_of_sources, read_with_labels, spread
from ganvae.models import Model
from ganvae.models.images import enlarged, grid, save_png, sheet_of_sources
from ganvae.pages import report
from ganvae.progress import Progress
from ganvae.runs import pace as paces
from ganvae.runs import priors as fitted
from ganvae.runs.place import SETTINGS
from ganvae.runs.settings import judging_seconds
from ganvae.telling import clock, name_of
from ganvae.training.resume import IMAGES
from ganvae.training.schedule import Budget


def time_to_judge(config: Config) -> float | None:
    """Seconds at most that fitting priors and judging may take after a training."""
    seconds, budget = judging_seconds(config.evaluation), Budget.parse(config.training.budget)
    if seconds is not None or budget.seconds is None:
        return seconds
    return budget.seconds / 2 + 10


def assess(
    model: Model,
    data: Data,
    config: Config,
    out: Path,
    *,
    judge: nn.Module | None = None,
    progress: Progress | None = None,
    seconds: float | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Judges a model on held-out images; writes ``evaluation.json``, grids and the report.

    Before that the model gets other priors, and samples the best of them; see docs/priors.md.

    seconds: for both; what does not fit in is left out and listed under "shortened"
    say: called with a sentence on how long it will take
    """
    files.refuse_link(out / "model")
    allowance = metrics.Allowance(seconds)
    judge = _judge(judge, config, model)
    pace = paces.measure(model, data, judge, config.evaluation)
    expected = pace.forecast(model, data, config.evaluation)
    say(f"fitting priors and judging: about {clock(min(expected, allowance.left()))}")
    how: dict[str, Any] = {
        "judge": judge, "progress": progress, "seed": config.training.seed,
    }  # fmt: skip
    settings = pace.affordable(data, config.evaluation, allowance)
    priors: list[dict[str, Any]] = []
    if settings.priors:
        half = allowance.part(0.5)
        priors = fitted.choose(model, data, settings, allowance=half, **how)
    evaluation = metrics.evaluate(
        model, data, settings, allowance=allowance, flip=config.data.flip,
        name=name_of(config.data.path), **how,
    )  # fmt: skip
    if priors:
        evaluation["priors"] = priors
    evaluation |= _flattered(model, judge)
    evaluation["environment"] = environment()
    model.save(out / "model", scores=evaluation)
    pictures(model, data, out)
    # last, because this file marks the run as judged
    files.write_text(out / "evaluation.json", json.dumps(evaluation, indent=2, allow_nan=False))
    report.write(out)
    return evaluation


def evaluate(
    model: Model,
    folder: Path | None,
    data: str | None,
    overrides: Mapping[str, Any],
    *,
    judge: nn.Module | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The scores of a model on the images of its run, or on others; see :func:`ganvae.evaluate`.

    folder: where the model lies, which is perhaps a run
    data: other images; None: those of the run
    overrides: settings by dotted name
    """
    run = folder if folder is not None and (folder / SETTINGS).exists() else None
    config = _settings(model, run, data, overrides)
    judge = _judge(judge, config, model)
    paired, fingerprint = model.info.paired, model.info.trained.fingerprint
    if data is not None and "data.test_share" not in overrides:
        images = judged_by(config.data, fingerprint, paired=paired, progress=progress)
        config = replace(config, data=images)
    opened = open_data(config.data, paired=paired, progress=progress)
    _refuse_images(model, opened)
    seconds = judging_seconds(config.evaluation)
    if run is not None and opened.fingerprint == fingerprint:
        return assess(model, opened, config, run, judge=judge, progress=progress, seconds=seconds)
    allowance = metrics.Allowance(seconds)
    pace = paces.measure(model, opened, judge, config.evaluation)
    scores = metrics.evaluate(
        model, opened, pace.affordable(opened, config.evaluation, allowance), judge=judge,
        progress=progress, seed=config.training.seed, training=False, allowance=allowance,
        name=name_of(config.data.path),
    )  # fmt: skip
    scores |= _flattered(model, judge)
    listed = None if folder is None else folder / IMAGES
    if listed is not None and listed.exists():
        scores["known"] = Manifest.load(listed).count(opened.test)
    return scores


def _judge(judge: nn.Module | None, config: Config, model: Model) -> Judge:
    """What is given or named, else another network than the training looked through."""
    network = judge or config.evaluation.judge or judges.other_than(model.info.networks.eyes)
    return judges.load(network, config.evaluation.size, model.device)


def _flattered(model: Model, judge: Judge) -> dict[str, bool]:
    """A mark where the judge is the network that the training looked through."""
    return {"flattered": True} if judge.loaded_by == model.info.networks.eyes else {}


def _settings(
    model: Model, run: Path | None, data: str | None, overrides: Mapping[str, Any]
) -> Config:
    """The settings for judging: the run's, or else those of the model's own images."""
    if run is not None:
        base = configuration.load(run / SETTINGS)
    elif data is None:
        raise ConfigError("name the images to judge the model on: only a run knows its own")
    else:
        base = configuration.override(Config(), model.info.data_settings(), source="")
    if data is not None:  # these two settings are about the run's own files
        others = {"data.labels_file": None, "data.depth": model.info.data_depth}
        overrides = others | dict(overrides) | {"data.path": data}
    refuse_untold(base.data, overrides, run or "")
    return configuration.override(base, overrides)


def _refuse_images(model: Model, data: Data) -> None:
    """Raises ConfigError for images of another shape or other classes than the model's."""
    if data.shape != model.shape:
        raise ConfigError(
            f"the images are {_size(data.shape)}, the model makes {_size(model.shape)}: "
            f"set --data.size and --data.channels to the model's"
        )
    model.refuse_other_classes(data.classes)


def _size(shape: tuple[int, int, int]) -> str:
    return f"{shape[1]}x{shape[2]} {'grey' if shape[0] == 1 else 'RGB'}"


def environment() -> dict[str, Any]:
    """Versions and machine that the scores were computed with; nothing personal."""
    names = ("ganvae", "torch", "numpy", "pillow", "safetensors")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "processes": from_environment("WORLD_SIZE", 1),
        "versions": {name: version(name) for name in names},
    }


# -- pictures -------------------------------------------------------------------------------------


def pictures(model: Model, data: Data, out: Path) -> None:
    """Writes grids beside the report: samples, reconstructions, interpolations, translations."""
    if model.info.from_sources:
        return _from_sources(model, data, out / "samples.png")
    tasks.generate(model, 64, out / "samples.png", columns=8)
    _by_prior(model, out / "priors.png")
    if "encoder" in model.networks:
        x, label = _spread(model, data, 16)
        tasks.reconstruct(model, x, out / "reconstructions.png", label=label)
    if "encoder" in model.networks and len(data.test) > 1:
        x, label = _spread(model, data, 9)
        tasks.interpolate(model, x, out / "interpolation.png", label=label)
    else:
        tasks.interpolate(model, None, out / "interpolation.png")


def _spread(model: Model, data: Data, n: int) -> tuple[Tensor, Tensor | None]:
    """Held-out images spread over the set, and their classes where the model has some."""
    x, *label = next(read_with_labels(data.test, spread(len(data.test), n)))
    return x, label[0] if label and model.info.classes else None


def _by_prior(model: Model, path: Path) -> None:
    """Writes a row of samples for every prior, of the same seed; no file where there is one."""
    path.unlink(missing_ok=True)
    names = list(model.priors)
    if len(names) > 1:
        images = torch.cat([model.generate(12, seed=0, prior=name).cpu() for name in names])
        save_png(grid(images, 12, scale=enlarged(model.shape)), path)


def _from_sources(model: Model, data: Data, path: Path) -> None:
    """Writes a sheet, a row a held-out source: the source, four variants of it, its target."""
    rows = spread(len(data.test), 12)
    images = next(made_of_sources(model, data.test, rows, 0, variants=4))
    source, target = data.test.sources(rows), data.test.images(rows)
    scale, channels = enlarged(model.shape), model.shape[0]
    save_png(sheet_of_sources(source, images, target, channels=channels, scale=scale), path)
