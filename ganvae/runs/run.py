"""One run: what can be refused is refused first, then it trains, and its model is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from ganvae import config, objectives
from ganvae.config import Config
from ganvae.data import Data, open_data
from ganvae.foreign import from_environment
from ganvae.metrics.judge import Judge
from ganvae.models import Model
from ganvae.progress import Display, Progress
from ganvae.runs import judging
from ganvae.runs.folder import SETTINGS, is_begun, refuse_occupied
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
    """Whether this process speaks and writes for all of torchrun's."""
    return from_environment("RANK", 0) == 0


def rehearse(
    chosen: Config, out: Path, resume: bool = False, judge: nn.Module | None = None
) -> Judge:
    """Finds what could not work later, as far as no images are needed; returns the judge.

    Raises ConfigError, CheckpointError or BusyError. Writes nothing.
    """
    refuse(chosen)
    if not resume:
        refuse_occupied(out)
    return preflight.look(chosen, out, judge, Processes(chosen.training.device).device)


def images(chosen: Config, progress: Progress | None = None) -> Data:
    """The images of a run, packed where they are not yet."""
    paired = objectives.get(chosen.objective).paired
    return open_data(chosen.data, paired=paired, progress=progress)


def refuse_images(chosen: Config, data: Data) -> None:
    """Raises ConfigError where the objective cannot learn from the images."""
    objective = objectives.build(chosen.objective, chosen.objective_options)
    build.plan(chosen, objective, data)


def start(
    chosen: Config,
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
    eyes: Judge | None = None
    if is_first():
        eyes = rehearse(chosen, out, resume, judge)
    else:
        refuse(chosen)
    data = images(chosen, progress)
    for note in data.notes:
        display.message(note)
    seconds = judging.time_to_judge(chosen)
    if seconds is not None:
        display.message(
            f"after the training at most {clock(seconds)} for fitting priors and judging"
        )
    result = _train(chosen, data, out, resume, networks, eyes, display)
    at = result.position
    run = Run(out, chosen, result.status, at.step, at.seconds, result.model)
    if not is_first() or result.status != "done":
        return run
    evaluation = judging.assess(
        run.model, data, chosen, out, judge=eyes, progress=progress,
        seconds=seconds, say=display.message,
    )  # fmt: skip
    return replace(run, evaluation=evaluation)


def _train(
    chosen: Config,
    data: Data,
    out: Path,
    resume: bool,
    networks: Mapping[str, nn.Module] | None,
    judge: Judge | None,
    display: Display,
) -> Result:
    """The training, with the settings beside it from before its first step."""
    objective = objectives.build(chosen.objective, chosen.objective_options)
    trainer = Trainer(
        chosen, objective, data, out, networks=networks, resume=resume, display=display,
        judge=judge,
    )  # fmt: skip
    kept = out / SETTINGS
    fresh = is_first() and not kept.exists()
    if fresh:  # before the first step: a killed run is resumed with it
        config.save(chosen, kept)
    try:
        result = trainer.run()
    except BaseException:
        if fresh and not is_begun(out):
            kept.unlink(missing_ok=True)  # nothing was begun, so the next try is not refused
        raise
    if is_first():
        config.save(chosen, kept)
    return result
