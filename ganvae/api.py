"""The verbs as Python functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ganvae.config import Config, override
from ganvae.data.check import Report
from ganvae.data.check import check as check_images
from ganvae.models import Model
from ganvae.models import load as load_model
from ganvae.pages import comparison
from ganvae.progress import Display, Progress
from ganvae.runs import judging
from ganvae.runs import tournament as tournaments
from ganvae.runs.run import Run, start
from ganvae.runs.settings import settle
from ganvae.runs.tournament import Tournament
from ganvae.training.processes import Processes

__all__ = [
    "Run", "Tournament", "check", "compare", "evaluate", "load", "tournament", "train",
]  # fmt: skip


def train(
    data: str | Path | None = None,
    *,
    objective: str | None = None,
    task: str | None = None,
    size: int | None = None,
    budget: str | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    begin: bool = False,
    config: Config | Mapping[str, Any] | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    networks: Mapping[str, nn.Module] | None = None,
    judge: nn.Module | None = None,
    display: Display | None = None,
) -> Run:
    """Train a model on images, judge it on held-out ones, and write a report.

    data: a folder, an array file, tar shards, Parquet, a Hub name, or "digits"
    objective: its name
    task: "generate", "complete" or "translate", where the objective does not say it
    size: height and width in pixels
    budget: ``"30m"``, ``"500kimg"`` or ``"300steps"``
    seed: of everything random
    out: the run's directory; unset: ``runs/OBJECTIVE-DATA-NUMBER``
    resume: continue the run in ``out`` from its last checkpoint, with its settings
    begin: with ``resume``: begin the run where there is nothing to resume yet
    config: settings to start from: a Config, its nested form, or a YAML file
    settings: single settings by dotted name, for example ``{"training.batch": 32}``
    networks: modules of your own for some roles, for example ``{"encoder": ...}``
    judge: a module of your own from images (B, 3, S, S) to features (B, D)
    display: shows the progress; unset: nothing is shown

    Raises DataError, ConfigError, BusyError, CheckpointError or DivergedError: one sentence each.
    """
    overrides = _overrides(settings, {
        "data.path": data and str(data), "data.size": size, "training.budget": budget,
        "objective": objective, "data.task": task, "training.seed": seed,
    })  # fmt: skip
    run_config, folder = settle(overrides, base=config, out=out, resume=resume, begin=begin)
    return start(
        run_config, folder, resume=resume, networks=networks, judge=judge, display=display
    )


def tournament(
    data: str | Path | None = None,
    objectives: Sequence[str] = (),
    *,
    size: int | None = None,
    budget: str | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    begin: bool = False,
    config: Config | Mapping[str, Any] | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    display: Display | None = None,
) -> Tournament:
    """Train several objectives one after the other, and compare them on one page.

    objectives: their names; unset: when resuming, those of the tournament
    budget: of each of them
    out: the tournament's directory, with a run in it for each objective; unset:
        ``runs/tournament-DATA-NUMBER``
    resume: go on where the tournament in ``out`` stopped; what is finished stays as it is
    begin: with ``resume``: begin it where there is nothing to resume yet

    The rest is as for :func:`train`, settings hold for every objective.
    """
    overrides = _overrides(settings, {
        "data.path": data and str(data), "data.size": size, "training.budget": budget,
        "training.seed": seed,
    })  # fmt: skip
    configs, folder = tournaments.settle(
        objectives, overrides, base=config, out=out, resume=resume, begin=begin
    )
    return tournaments.run(configs, folder, resume=resume, display=display)


def _overrides(settings: Mapping[str, Any] | None, shortcuts: Mapping[str, Any]) -> dict[str, Any]:
    """All settings by dotted name: the arguments that are not None, and ``settings``."""
    arguments = {key: value for key, value in shortcuts.items() if value is not None}
    return arguments | dict(settings or {})


def evaluate(
    model: Model | str | Path,
    data: str | Path | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    judge: nn.Module | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Judge a model on images that it was not trained on.

    A run's own images are its held-out ones, and its ``evaluation.json`` and report are written
    anew. Other images are all used, unless ``data.test_share`` holds out a part of them.

    model: a model, a run's or a model's directory, or a Hub id
    data: the images; unset: those the run was trained on
    settings: by dotted name, for example ``{"evaluation.samples": 1000}``
    judge: a module of your own from images (B, 3, S, S) to features (B, D)
    device: for a model that is loaded
    progress: called with what is being done, how much is done, and how much there is
    """
    folder = None if isinstance(model, Model) else Path(model)
    loaded = model if isinstance(model, Model) else load(model, device=device)
    images = None if data is None else str(data)
    return judging.evaluate(loaded, folder, images, settings or {}, judge=judge, progress=progress)


def check(
    data: str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Every defect, duplicate and leak of some images, found before any training.

    settings: by dotted name, for example ``{"data.size": 64}``
    """
    config = override(Config(), {"data.path": str(data)} | dict(settings or {}))
    return check_images(config.data, progress=progress)


def compare(
    runs: Sequence[str | Path],
    out: str | Path = "comparison.html",
    *,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> Path:
    """Write one self-contained page about several runs: scores, samples, curves; its path.

    runs: their directories
    out: the page
    seed: of the samples, the same for every run

    Raises ConfigError for fewer than two runs or one named twice, DataError for what is no run.
    """
    return comparison.write(
        runs, out, seed=seed, device=Processes(device).device, progress=progress
    )


def load(
    path: str | Path, networks: Mapping[str, nn.Module] | None = None, device: str = "auto"
) -> Model:
    """The model of a model directory, a run directory, or a Hub id.

    networks: the modules that the model was trained with, where they were your own
    device: auto, cpu, cuda or mps

    Raises ConfigError or CheckpointError for anything but a whole, unchanged model.
    """
    return load_model(path, networks=networks, device=Processes(device).device)
