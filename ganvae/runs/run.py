"""One run: checks first what could fail later, then trains, then judges the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from ganvae import config as configuration
from ganvae import objectives
from ganvae.config import Config
from ganvae.data import Data, open_data
from ganvae.foreign import from_environment
from ganvae.metrics.judge import Judge
from ganvae.models import Model
from ganvae.progress import Display, Progress
from ganvae.runs import judging
from ganvae.runs.place import SETTINGS, is_begun, refuse_occupied
from ganvae.runs.settings import refuse
from ganvae.telling import clock
from ganvae.training import build, preflight
from ganvae.training.processes import Processes
from ganvae.training.trainer import Result, Trainer


@dataclass(frozen=True)
class Run:
    """A finished or interrupted training."""

    path: Path
    config: Config
    status: str
    """"done", "SIGINT" or "SIGTERM"."""
    step: int
    seconds: float
    model: Model
    evaluation: dict[str, Any] = field(default_factory=dict)
    """Held-out scores; empty where the training was interrupted."""

    @property
    def report(self) -> Path:
        """The self-contained page about the run."""
        return self.path / "report.html"


def is_first() -> bool:
    """Whether this is the one of torchrun's processes that writes files and prints."""
    return from_environment("RANK", 0) == 0


def rehearse(
    config: Config, out: Path, resume: bool = False, judge: nn.Module | None = None
) -> Judge:
    """Checks everything that needs no images, and returns the judge.

    Raises ConfigError, CheckpointError or BusyError for what would fail later. Writes nothing.
    """
    refuse(config)
    if not resume:
        refuse_occupied(out)
    return preflight.look(config, out, judge, Processes(config.training.device).device)


def images(config: Config, progress: Progress | None = None) -> Data:
    """Opens the images of a run, and packs them first where that was not done before."""
    paired = objectives.get(config.objective).paired
    return open_data(config.data, paired=paired, progress=progress)


def refuse_images(config: Config, data: Data) -> None:
    """Raises ConfigError where the objective cannot learn from the images."""
    objective = objectives.build(config.objective, config.objective_options)
    build.plan(config, objective, data)


def start(
    config: Config,
    out: Path,
    *,
    resume: bool = False,
    networks: Mapping[str, nn.Module] | None = None,
    judge: nn.Module | None = None,
    display: Display | None = None,
    progress: Progress | None = None,
) -> Run:
    """Trains and judges by a complete configuration; see :func:`ganvae.train`."""
    display = display or Display()
    loaded_judge: Judge | None = None
    if is_first():
        loaded_judge = rehearse(config, out, resume, judge)
    else:
        refuse(config)
    data = images(config, progress)
    for note in data.notes:
        display.message(note)
    seconds = judging.time_to_judge(config)
    if seconds is not None:
        display.message(
            f"after the training at most {clock(seconds)} for fitting priors and judging"
        )
    result = _train(config, data, out, resume, networks, loaded_judge, display)
    at = result.position
    run = Run(out, config, result.status, at.step, at.seconds, result.model)
    if not is_first() or result.status != "done":
        return run
    evaluation = judging.assess(
        run.model, data, config, out, judge=loaded_judge, progress=progress,
        seconds=seconds, say=display.message,
    )  # fmt: skip
    return replace(run, evaluation=evaluation)


def _train(
    config: Config,
    data: Data,
    out: Path,
    resume: bool,
    networks: Mapping[str, nn.Module] | None,
    judge: Judge | None,
    display: Display,
) -> Result:
    """Trains, and writes the run's settings before the first step."""
    objective = objectives.build(config.objective, config.objective_options)
    trainer = Trainer(
        config, objective, data, out, networks=networks, resume=resume, display=display,
        judge=judge,
    )  # fmt: skip
    path = out / SETTINGS
    fresh = is_first() and not path.exists()
    if fresh:  # before the first step, so that a killed run can be resumed
        configuration.save(config, path)
    try:
        result = trainer.run()
    except BaseException:
        if fresh and not is_begun(out):
            path.unlink(missing_ok=True)  # else the next try would find the directory occupied
        raise
    if is_first():
        configuration.save(config, path)
    return result
