"""Watches a training: log, display, alarms, previews and quick scores."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ganvae.config import Config
from ganvae.data import Data
from ganvae.metrics import judge as judges
from ganvae.metrics import quick
from ganvae.metrics.judge import Judge
from ganvae.models import Model
from ganvae.progress import Display
from ganvae.training import previews, quick_prior
from ganvae.training.engine import Outcome
from ganvae.training.guard import Alarms
from ganvae.training.log import RunLog
from ganvae.training.processes import Processes
from ganvae.training.schedule import Budget, Every, Position
from ganvae.training.signals import Signals


class Watch:
    """Shows and logs how a training goes; of several processes only the first one does.

    display: shows the progress
    judge: of the quick scores; None: the one that the settings name
    """

    def __init__(
        self,
        config: Config,
        data: Data,
        out: Path,
        *,
        display: Display,
        judge: Judge | None,
        processes: Processes,
    ):
        self.config, self.data, self.out = config, data, out
        self.display, self.judge, self.processes = display, judge, processes
        self.budget = Budget.parse(config.training.budget)
        self.every = Every.parse(config.training.checkpoint_every)
        self.alarms = Alarms()
        self.score: dict[str, float] | None = None
        self._log: RunLog | None = None
        self._early: list[str] = []  # sentences from before the log was opened
        self._due_counts: dict[str, int] = {}  # how often each was due: see :meth:`due`
        self._shown_at, self._shown_step = 0.0, 0

    # -- the log ---------------------------------------------------------------------------------

    def start(self, at: Position, *, resumed: bool) -> None:
        """Opens the log; a resumed run's continues at its step."""
        if self.processes.first:
            resume = at.step if resumed else None
            self._log = RunLog(self.out, self.config.training.tensorboard, resume=resume)
            for text in self._early:
                self._log.event(text, at.step)
        self.display.start(str(self.budget))

    def say(self, text: str, step: int) -> None:
        """Shows and logs a sentence."""
        if not self.processes.first:
            return
        self.display.message(text)
        if self._log is None:
            self._early.append(text)
        else:
            self._log.event(text, step)

    def rewind(self, step: int) -> None:
        """Drops what was logged after a step, for a run that goes back to it."""
        if self._log is not None:
            self._log.rewind(step)

    def close(self) -> None:
        """Ends the display and the log."""
        self.display.close()
        if self._log is not None:
            self._log.close()

    # -- after each step -------------------------------------------------------------------------

    def enter_stage(self) -> None:
        """Begins to watch a stage with fresh alarms."""
        few = range(min(64, len(self.data.train)))
        self.alarms = Alarms(self.data.train.images(few) if len(few) > 1 else None)

    def begin(self, at: Position) -> None:
        """Begins to count what is due and to time the steps."""
        self._due_counts, self.score = self._counts(at), None
        self._shown_at, self._shown_step = time.perf_counter(), at.step

    def pause(self, seconds: float) -> None:
        """Leaves a time out of the speed that is shown, because it was not the training's."""
        self._shown_at += seconds

    def due(self, at: Position) -> set[str]:
        """What is due after a step, of "checkpoint", "preview" and "evaluation"."""
        if not self.processes.first:
            return set()
        before, self._due_counts = self._due_counts, self._counts(at)
        due = {name for name, count in self._due_counts.items() if count > before[name]}
        return due if self._is_open(at) else due - {"evaluation"}

    def _counts(self, at: Position) -> dict[str, int]:
        settings, progress = self.config.training, self.budget.progress(*at.spent)
        return {
            "checkpoint": self.every.count(*at.spent),
            "preview": int(progress * settings.previews),
            "evaluation": int(progress * (settings.evaluations + 1)),
        }

    def _is_open(self, at: Position) -> bool:
        """Whether the budget is not yet spent."""
        return self.budget.progress(*at.spent) < 1.0

    def wants_sample(self, at: Position, outcome: Outcome) -> bool:
        """Whether :meth:`after` looks at a sample after this step: every fiftieth."""
        return self.processes.first and outcome.ok and at.stage_step % 50 == 0

    @torch.no_grad()
    def after(
        self,
        at: Position,
        outcome: Outcome,
        nets: Mapping[str, nn.Module],
        sample: Tensor | None,
        batch: int,
    ) -> None:
        """Checks every tenth step for alarms, and shows and logs the step.

        nets: the networks by role, after the step
        sample: some generated images, where :meth:`wants_sample`
        batch: images a step
        """
        if not self.processes.first:
            return
        step = at.stage_step
        if outcome.ok and (step == 1 or step % 10 == 0):
            values = {f"loss/{name}": float(v) for name, v in outcome.losses.items()}
            values |= {name: float(v) for name, v in outcome.logged.items()}
            moved = {name: nets[name] for name in outcome.moved}
            for message in self.alarms.observe(step, values, sample, moved):
                self.say(message, at.step)
        self._report(at, outcome, batch)

    def _report(self, at: Position, outcome: Outcome, batch: int) -> None:
        """Shows and logs a step about twice a second: more often would make a GPU wait."""
        now = time.perf_counter()
        elapsed, steps = now - self._shown_at, at.step - self._shown_step
        due = elapsed >= 0.5 or at.step % 50 == 0 or not self._is_open(at)
        assert self._log is not None
        if not due:
            return
        losses = {name: float(v) for name, v in outcome.losses.items()}
        values = {f"loss/{name}": v for name, v in losses.items()}
        values |= {f"norm/{name}": float(v) for name, v in outcome.norms.items()}
        values |= {name: float(v) for name, v in outcome.logged.items()}
        speed = steps * batch / max(elapsed, 1e-9)
        values |= {"images_per_s": speed, "stage": at.stage}
        self._log.scalars(at.step, values, images=at.images, seconds=at.seconds)
        progress = self.budget.progress(*at.spent)
        remaining = at.seconds * (1 - progress) / max(progress, 1e-9)
        self.display.update(at.step, at.images, speed, losses, remaining, self.score, progress)
        self._shown_at, self._shown_step = now, at.step

    # -- now and then ----------------------------------------------------------------------------

    def look(
        self, due: set[str], at: Position, model: Model, signals: Signals, *, coded: bool
    ) -> float | None:
        """Writes a preview and a quick score of the model, as far as they are due.

        coded: first fit p(z) to z ~ q(z|x), as will be done at the end of the stage

        Returns the score's KID. Raises Stopped where a signal interrupts it.
        """
        with signals.interruptible():
            if coded:
                model = quick_prior.fitted(model, self.data.train)
            if "preview" in due:
                flip = self.config.data.flip
                previews.preview(model, self.data, self.out, at.step, flip=flip)
        return self._evaluate(at, model, signals) if "evaluation" in due else None

    def _evaluate(self, at: Position, model: Model, signals: Signals) -> float | None:
        settings = self.config.evaluation
        if self.judge is None:
            self.judge = judges.load(settings.judge, settings.size, self.processes.device)
        with signals.interruptible():
            score = quick(model, self.data.test, self.judge)
        self.score = score
        assert self._log is not None
        scalars = {name: score[name] for name in ("kid", "kid_error", "mse")}
        self._log.scalars(at.step, scalars, images=at.images, seconds=at.seconds)
        return score.get("kid")
