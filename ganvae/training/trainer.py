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
    """What a training left."""

    model: Model
    status: str
    """"done", "SIGINT" or "SIGTERM"."""
    position: Position


class Watcher:
    """Sees a training between its steps, while its clocks stand still; may change nothing.

    This one looks at nothing. Others do in these methods.
    """

    def before_step(self, trainer: Trainer) -> None:
        """Called before each step, and once more where the training or a stage ends instead."""

    def after_step(self, trainer: Trainer, outcome: Outcome) -> None:
        """Called after each step and what follows from it."""


class Trainer:
    """One run in one directory.

    config: the complete configuration
    objective: what is trained
    data: the images
    out: the run's directory
    networks: modules for some roles, in place of the zoo's
    resume: continue from the last good checkpoint in ``out``
    display: what shows the progress
    judge: of the quick scores; unset: the one that the settings name
    watchers: who looks at the training between its steps

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
        # what is trained, where, and who sees it
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
        # where it is
        self.at = Position()
        self.guard = Guard()
        self.begun = 0.0
        """The share of the budget that was spent when the stage began."""
        self.learner = Learner(self.plan, self.processes)
        """What moves; without networks until it runs."""

    @property
    def stage(self) -> Objective:
        """The objective of the stage it is in."""
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
            self._enter_stage()
            stack.callback(self.watch.close)
            try:
                self._begin()
                status = self._train()
            except Stopped as stopped:  # between two stages: the last checkpoint is before it
                status = stopped.name
            model = self.model()
            if self.processes.first and self.at.done:
                model.save(self.out / "model")
            if status == "done" and self.signals.stop:  # too late for a step, not for the judging
                status = self.signals.stop
            return Result(model, status, self.at)

    def say(self, text: str) -> None:
        """Shows a sentence and writes it down."""
        self.watch.say(text, self.at.step)

    # -- building and beginning ------------------------------------------------------------------

    def _enter_stage(self) -> None:
        self.learner.enter_stage(self.at)
        self.watch.enter_stage()

    def _begin(self) -> None:
        """Continues from a checkpoint, or writes the first one: a full disk shows at once."""
        self.keeper.make_room(self.learner.nets)
        found = self.keeper.latest(self.say) if self.resume else None
        changed = False
        if found is None:
            self.keeper.refuse_finished()
        else:
            changed = self.keeper.changed(found)
            self._restore(found)
        for text in self.keeper.unknown():
            self.say(text)
        self.watch.start(self.at, resumed=found is not None)
        for note in self.learner.batches.notes:
            self.say(note)
        if found is None:
            if self.resume:
                self.say(f"{self.out} has no checkpoint yet: starting from the beginning")
            self.keeper.describe()
            self.learner.prepare(self.at, self.signals)
            self.save()
        else:
            self.say(f"continuing from step {self.at.step}")
            for changes in self.keeper.changes:
                self.say(f"although changed: {changes}")
            if changed:  # or what the next --resume compares with would be what was before
                self.save()
                self.keeper.describe(settings=True)
        self.watch.begin(self.at)

    # -- checkpoints -----------------------------------------------------------------------------

    def save(self) -> None:
        """Writes a checkpoint of where the run is."""
        if self.processes.first:
            self.keeper.save(
                self.at,
                self.learner.state(),
                world=self.processes.world,
                bf16=self.learner.bf16,
                guard=self.guard.state(),
                stream=self.learner.batches.state(),
            )

    def _save_new(self) -> None:
        """A checkpoint of what none holds yet."""
        if self.keeper.saved != self.at.step:
            self.save()

    def _restore(self, found: Checkpoint, *, rollbacks: int | None = None) -> None:
        """Goes on from a checkpoint; rollbacks: how many there were, if that is what it is for."""
        at = Position(**found.meta["position"])
        self.at = at if rollbacks is None else replace(at, rollbacks=rollbacks)
        self.keeper.saved = at.step
        before = (at.step - at.stage_step, at.images - at.stage_images)
        self.begun = self.budget.progress(*before, at.seconds - at.stage_seconds)
        note = self.learner.restore(found, self.at, anew=rollbacks is not None)
        self.watch.enter_stage()
        if note:
            self.say(note)
        if rollbacks is None:
            self.guard.load_state(found.meta["guard"])
            self.keeper.go_on(found)
            at.done = at.done and self.budget.progress(*at.spent) >= 1.0

    def _roll_back(self) -> None:
        found = self.keeper.latest(self.say)
        assert found is not None, "the first checkpoint is written before the first step"
        self._restore(found, rollbacks=self.at.rollbacks + 1)
        self.watch.begin(self.at)
        self.watch.rewind(self.at.step)
        self.say(f"back to step {self.at.step}, with another order of the images")

    # -- the loop --------------------------------------------------------------------------------

    def _train(self) -> str:
        while not self.at.done:
            self._show(lambda watcher: watcher.before_step(self))
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

    def _show(self, look: Callable[[Watcher], None]) -> None:
        """Lets the watchers look, in time that does not count."""
        start = time.perf_counter()
        for watcher in self.watchers:
            look(watcher)
        self.watch.pause(time.perf_counter() - start)

    def _progress(self) -> float:
        progress = self.budget.progress(*self.at.spent)
        return self.processes.follow(progress)[0] if self.budget.seconds else progress

    def _make_step(self, progress: float) -> None:
        """One step, timed, and what follows from it."""
        within = (progress - self.begun) / max(self.plan.end_of(self.at.stage) - self.begun, 1e-9)
        now = Clock(step=self.at.stage_step, progress=min(1.0, max(0.0, within)))
        started = time.perf_counter()
        outcome = self.learner.step(now)
        if self.processes.device.type == "cuda" and self.budget.seconds:
            torch.cuda.synchronize()
        taken = time.perf_counter() - started
        self.at.seconds += taken
        self.at.stage_seconds += taken
        self._after(outcome)
        self._show(lambda watcher: watcher.after_step(self, outcome))

    def _after(self, outcome: Outcome) -> None:
        at, size = self.at, self.learner.batches.batch
        at.step, at.images = at.step + 1, at.images + size
        at.stage_step, at.stage_images = at.stage_step + 1, at.stage_images + size
        self.learner.follow(outcome, at.stage_images)
        verdict = self.guard.step(outcome.ok)
        if verdict != "ok":
            bad = ", ".join(n for n, v in outcome.losses.items() if not torch.isfinite(v))
            self.say(f"step {at.step} skipped: not finite ({bad or 'a gradient'})")
        if verdict == "rollback":
            return self._roll_back()
        if verdict == "stop":
            raise DivergedError(
                "the training keeps producing numbers that are not finite; the last healthy "
                f"checkpoint is in {self.keeper.folder}: look for broken images with "
                "`ganvae check`, or lower training.lr_scale"
            )
        sample = self.learner.sample(at) if self.watch.wants_sample(at, outcome) else None
        self.watch.after(at, outcome, self.learner.nets, sample, size)
        due = self.watch.due(at)
        if due & {"preview", "evaluation"}:
            with suppress(Stopped):  # the loop sees it, too
                self.look(due)
        if "checkpoint" in due:
            self.save()

    def look(self, due: set[str]) -> None:
        """A preview and a quick score of what the run would leave if its stage ended now.

        due: "preview", "evaluation" or both
        """
        at = self.at
        model = self.model()
        kid = self.watch.look(due, at, model, self.signals, coded=self.learner.coded)
        if kid is not None and kid < (math.inf if at.best_score is None else at.best_score):
            at.best_score, at.best_step = kid, at.step
            self.save()

    # -- stages ----------------------------------------------------------------------------------

    def _conclude(self) -> None:
        """The stage's last act, on the averaged networks, which the next stage inherits.

        Its time is the training's: the next stage has what is left of a budget in time.
        """
        start = time.perf_counter()
        if type(self.stage).conclude is not Objective.conclude:
            number = f"stage {self.at.stage + 1} of {len(self.stages)}"
            self.display.message(f"{number} is trained: fitting to the images")
        self.learner.conclude(self.at, self.signals)
        self.at.seconds += time.perf_counter() - start

    def _end_stage(self) -> None:
        """From one stage into the next, or to the end of the run."""
        self._save_new()
        self._conclude()
        if self.at.stage + 1 == len(self.stages):
            self.at.done = True
            return self.save()
        self.at.stage, self.at.stage_step, self.at.stage_images = self.at.stage + 1, 0, 0
        self.at.stage_seconds = 0.0
        self._enter_stage()
        self.learner.prepare(self.at, self.signals)
        name = type(self.stage).__name__
        self.say(f"stage {self.at.stage + 1} of {len(self.stages)}: {name}")
        self.begun = self._progress()

    def model(self) -> Model:
        """The model as it is now: the averaged weights of what inference needs."""
        return self.learner.model(self.at)
