"""From a configuration and images to a trained model: stages, steps, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from ganvae.config import Config
from ganvae.data import Data
from ganvae.errors import DivergedError
from ganvae.metrics.judge import Judge
from ganvae.models import Model
from ganvae.objectives.base import Objective
from ganvae.progress import Display
from ganvae.training import build
from ganvae.training.checkpoint import Checkpoint
from ganvae.training.engine import Outcome
from ganvae.training.guard import Guard
from ganvae.training.learner import Learner
from ganvae.training.lock import RunLock
from ganvae.training.processes import Processes
from ganvae.training.resume import Keeper
from ganvae.training.schedule import Budget, Position
from ganvae.training.signals import Signals, Stopped
from ganvae.training.watch import Watch
from ganvae.types import Clock


@dataclass(frozen=True)
class Result:
    """The outcome of a training."""

    model: Model
    status: str
    """"done", "SIGINT" or "SIGTERM"."""
    position: Position


class Watcher:
    """Hooks before and after each training step; their time is not counted as training.

    They must not change anything. These do nothing, subclasses override them.
    """

    def before_step(self, trainer: Trainer) -> None:
        """Called before each step, and once more where the training or a stage ends instead."""

    def after_step(self, trainer: Trainer, outcome: Outcome) -> None:
        """Called after each step, its logging, and its checkpoint where one was due."""


class Trainer:
    """One run in one directory.

    config: the complete configuration
    objective: what is trained
    data: the images
    out: the run's directory
    networks: modules for some roles, in place of the zoo's
    resume: continue from the last good checkpoint in ``out``
    display: shows the progress
    judge: of the quick scores; unset: the one that the settings name
    watchers: hooks around every step

    Raises ConfigError where the objective cannot learn from these images.
    """

    def __init__(
        self,
        config: Config,
        objective: Objective,
        data: Data,
        out: Path,
        *,
        networks: Mapping[str, nn.Module] | None = None,
        resume: bool = False,
        display: Display | None = None,
        judge: Judge | None = None,
        watchers: Sequence[Watcher] = (),
    ):
        settings = config.training
        self.config, self.data, self.out, self.resume = config, data, Path(out), resume
        self.plan = build.plan(config, objective, data, dict(networks or {}))
        self.stages = self.plan.stages
        self.budget = Budget.parse(settings.budget)
        self.watchers = watchers
        self.processes = Processes(settings.device, settings.threads)
        self.signals = Signals()
        self.display = display or Display()
        self.keeper = Keeper(config, data, self.out, self.processes)
        self.watch = Watch(
            config, data, self.out, display=self.display, judge=judge, processes=self.processes
        )
        self.at = Position()
        self.guard = Guard()
        self.stage_start = 0.0
        """The share of the budget that was spent when the stage began."""
        self.learner = Learner(self.plan, self.processes)

    @property
    def stage(self) -> Objective:
        """The objective of the present stage."""
        return self.stages[self.at.stage].objective

    def run(self) -> Result:
        """Trains until the budget is spent or a signal asks to stop; saves in either case."""
        with ExitStack() as stack:
            stack.enter_context(self.processes)
            if self.processes.first:
                stack.enter_context(RunLock(self.out))
            stack.enter_context(self.signals)
            stack.callback(lambda: self.learner.batches.close())
            self.learner.build()
            self.learner.enter_stage(self.at)
            self.watch.enter_stage()
            stack.callback(self.watch.close)
            try:
                self._begin()
                status = self._train()
            except Stopped as stopped:  # between two stages: the last checkpoint is from before
                status = stopped.name
            model = self.model()
            if self.processes.first and self.at.done:
                model.save(self.out / "model")
            if status == "done" and self.signals.stop:  # after the last step, before the judging
                status = self.signals.stop
            return Result(model, status, self.at)

    def say(self, text: str) -> None:
        """Shows and logs a sentence."""
        self.watch.say(text, self.at.step)

    def _begin(self) -> None:
        """Continues from a checkpoint, or writes the first one: a full disk shows at once."""
        self.keeper.make_room(self.learner.nets)
        checkpoint = self.keeper.latest(self.say) if self.resume else None
        changed = checkpoint is not None and self.keeper.changed(checkpoint)
        if checkpoint is None:
            self.keeper.refuse_finished()
        else:
            self._restore(checkpoint)
        for text in self.keeper.unknown():
            self.say(text)
        self.watch.start(self.at, resumed=checkpoint is not None)
        for note in self.learner.batches.notes:
            self.say(note)
        if checkpoint is None:
            if self.resume:
                self.say(f"{self.out} has no checkpoint yet: starting from the beginning")
            self.keeper.write_images()
            self.learner.prepare(self.at, self.signals)
            self.save()
        else:
            self.say(f"continuing from step {self.at.step}")
            for changes in self.keeper.changes:
                self.say(f"although changed: {changes}")
            if changed:  # so that the next --resume compares with the settings of now
                self.save()
                self.keeper.write_images(settings=True)
        self.watch.begin(self.at)

    def save(self) -> None:
        """Writes a checkpoint of the present step."""
        if self.processes.first:
            meta = self.learner.meta() | {"guard": self.guard.state()}
            self.keeper.save(self.at, self.learner.state(), **meta)

    def _save_new(self) -> None:
        """Writes a checkpoint of the present step unless there is one."""
        if self.keeper.saved != self.at.step:
            self.save()

    def _restore(self, checkpoint: Checkpoint, *, rollbacks: int | None = None) -> None:
        """Continues from a checkpoint; rollbacks: how many by now; None: this is no rollback."""
        at = Position(**checkpoint.meta["position"])
        self.at = at if rollbacks is None else replace(at, rollbacks=rollbacks)
        self.keeper.saved = at.step
        before = (at.step - at.stage_step, at.images - at.stage_images)
        self.stage_start = self.budget.progress(*before, at.seconds - at.stage_seconds)
        note = self.learner.restore(checkpoint, self.at, anew=rollbacks is not None)
        self.watch.enter_stage()
        if note:
            self.say(note)
        if rollbacks is None:
            self.guard.load_state(checkpoint.meta["guard"])
            self.keeper.adopt(checkpoint)
            at.done = at.done and self.budget.progress(*at.spent) >= 1.0

    def _roll_back(self) -> None:
        """Goes back to the newest checkpoint after steps that were not finite."""
        checkpoint = self.keeper.latest(self.say)
        assert checkpoint is not None, "the first checkpoint is written before the first step"
        self._restore(checkpoint, rollbacks=self.at.rollbacks + 1)
        self.watch.begin(self.at)
        self.watch.rewind(self.at.step)
        self.say(f"back to step {self.at.step}, with another order of the images")

    def _train(self) -> str:
        """All steps and stages; the status that :class:`Result` has."""
        while not self.at.done:
            self._notify(lambda watcher: watcher.before_step(self))
            progress = self._progress()
            stop = self.processes.stopped_by(self.signals.stop)
            if stop:
                self._save_new()
                return stop
            if progress < self.plan.end_of(self.at.stage):
                self._make_step(progress)
            else:
                self._end_stage()
        return "done"

    def _notify(self, hook: Callable[[Watcher], None]) -> None:
        """Calls a hook of every watcher; its time does not count as training."""
        start = time.perf_counter()
        for watcher in self.watchers:
            hook(watcher)
        self.watch.pause(time.perf_counter() - start)

    def _progress(self) -> float:
        progress = self.budget.progress(*self.at.spent)
        return self.processes.follow(progress)[0] if self.budget.seconds else progress

    def _make_step(self, progress: float) -> None:
        """One step, timed, with its logging and checkpoint."""
        share = self.plan.end_of(self.at.stage) - self.stage_start
        within = (progress - self.stage_start) / max(share, 1e-9)
        now = Clock(step=self.at.stage_step, progress=min(1.0, max(0.0, within)))
        start = time.perf_counter()
        outcome = self.learner.step(now)
        if self.processes.device.type == "cuda" and self.budget.seconds:
            torch.cuda.synchronize()
        self.at.advance(self.learner.batches.batch, time.perf_counter() - start)
        self._after(outcome)
        self._notify(lambda watcher: watcher.after_step(self, outcome))

    def _after(self, outcome: Outcome) -> None:
        """Averages the weights, looks at the losses, logs, and saves where that is due."""
        at = self.at
        self.learner.update_average(outcome, at.stage_images)
        verdict = self.guard.step(outcome.ok)
        if verdict != "ok":
            bad = ", ".join(n for n, v in outcome.losses.items() if not torch.isfinite(v))
            self.say(f"step {at.step} skipped: not finite ({bad or 'a gradient'})")
        if verdict == "rollback":
            return self._roll_back()
        if verdict == "stop":
            raise DivergedError(
                "the training keeps producing numbers that are not finite; the last healthy "
                f"checkpoint is in {self.keeper.folder}: look for broken images with `ganvae "
                "check`, or lower training.lr_scale"
            )
        sample = self.learner.sample(at) if self.watch.wants_sample(at, outcome) else None
        self.watch.after(at, outcome, self.learner.nets, sample, self.learner.batches.batch)
        due = self.watch.due(at)
        if due & {"preview", "evaluation"}:
            with suppress(Stopped):  # the loop stops at the same signal
                self.look(due)
        if "checkpoint" in due:
            self.save()

    def look(self, due: set[str]) -> None:
        """Writes a preview and a quick score, as far as "preview" and "evaluation" are due."""
        at = self.at
        kid = self.watch.look(due, at, self.model(), self.signals, coded=self.learner.coded)
        if kid is not None and kid < (math.inf if at.best_score is None else at.best_score):
            at.best_score, at.best_step = kid, at.step
            self.save()

    def _end_stage(self) -> None:
        """Concludes the stage, which counts as training time, and begins the next one if any."""
        self._save_new()
        start = time.perf_counter()
        if type(self.stage).conclude is not Objective.conclude:
            number = f"stage {self.at.stage + 1} of {len(self.stages)}"
            self.display.message(f"{number} is trained: fitting to the images")
        self.learner.conclude(self.at, self.signals)
        self.at.seconds += time.perf_counter() - start
        if self.at.stage + 1 == len(self.stages):
            self.at.done = True
            return self.save()
        self.at.next_stage()
        self.learner.enter_stage(self.at)
        self.watch.enter_stage()
        self.learner.prepare(self.at, self.signals)
        name = type(self.stage).__name__
        self.say(f"stage {self.at.stage + 1} of {len(self.stages)}: {name}")
        self.stage_start = self._progress()

    def model(self) -> Model:
        """The model as it is now: the averaged weights of what inference needs."""
        return self.learner.model(self.at)
