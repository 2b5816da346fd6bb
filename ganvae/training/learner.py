"""The networks of a run with their averages, their optimisers and their batches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ganvae.data.batches import Feed
from ganvae.errors import CheckpointError, ConfigError
from ganvae.foreign import gate
from ganvae.losses.augmentation import Augmented
from ganvae.models import Model
from ganvae.objectives.base import Objective
from ganvae.training import build, precision, previews
from ganvae.training.build import Plan
from ganvae.training.checkpoint import Checkpoint, State
from ganvae.training.ema import Average, decay
from ganvae.training.engine import Engine, Outcome
from ganvae.training.processes import Processes
from ganvae.training.schedule import Budget, Position, rate
from ganvae.training.signals import Signals, Stopped
from ganvae.types import Batch, Clock, Step, mix


class Learner:
    """All tensors of a run and the steps that change them; without clock, directory or display.

    It has no networks before :meth:`build`.

    objective: of the present stage
    bf16: whether the networks compute in bfloat16
    """

    def __init__(self, plan: Plan, processes: Processes):
        self.plan, self.processes = plan, processes
        self.objective: Objective = plan.stages[0].objective
        self.bf16 = bool(plan.config.training.bf16)
        self.nets: dict[str, nn.Module] = {}
        self.average = Average(self.nets)
        self.batches: Feed = build.feed(plan, processes, self._seed(Position(), 0))
        self.engine = Engine(self.nets, self.objective.optim, processes)

    def build(self) -> None:
        """Makes the networks, the same on every process."""
        settings, device = self.plan.config.training, self.processes.device
        self.nets = build.networks(self.plan, device)
        self.share()
        if settings.bf16 is None:
            self.bf16 = precision.pays(device, self.nets.values())
        setting, seconds = settings.compile, Budget.parse(settings.budget).seconds
        if setting or (setting is None and precision.compiles(device, seconds)):
            precision.compile_networks(self.nets, strict=setting is True)

    def share(self) -> None:
        """Gives every process the first one's networks, and begins their averages anew."""
        tensors = [t for net in self.nets.values() for t in net.state_dict().values()]
        self.processes.broadcast(tensors)
        self.average = Average(self.nets)

    def enter_stage(self, at: Position) -> None:
        """Makes the batches and the optimisers of a stage."""
        self.objective = self.plan.stages[at.stage].objective
        self.batches.close()
        self.batches = build.feed(self.plan, self.processes, self._seed(at, at.rollbacks))
        self.engine = Engine(
            {role: self.nets[role] for role in self.objective.networks},
            self.objective.optim,
            self.processes,
            lr_scale=self.plan.config.training.lr_scale,
            bf16=self.bf16,
            simultaneous=self.objective.simultaneous,
        )

    def _seed(self, at: Position, salt: int) -> int:
        return mix(self.plan.config.training.seed, at.stage, salt)

    # -- around the steps of a stage -------------------------------------------------------------

    def images(self, at: Position, salt: int) -> Iterator[Batch]:
        """Training images without end, in an order that depends on the stage and the salt."""
        return build.images(self.plan, self.processes.device, self._seed(at, salt))

    def prepare(self, at: Position, signals: Signals) -> None:
        """Calls the objective's ``prepare`` before a stage's first step. Raises Stopped."""
        batches = self.images(at, 101)
        self._between_steps(lambda: self.objective.prepare(self.nets, batches), signals)
        self.share()

    def conclude(self, at: Position, signals: Signals) -> None:
        """Calls the objective's ``conclude`` on the averaged networks, which the next stage gets.

        Raises Stopped; nothing has changed then.
        """
        last, batches = copy.deepcopy(self.average.nets), self.images(at, 102)
        self._between_steps(lambda: self.objective.conclude(last, batches), signals)
        self.average.nets = last
        self.average.hand_over(self.nets)
        self.share()

    def _between_steps(self, work: Callable[[], None], signals: Signals) -> None:
        """Does long work that a signal interrupts; a resumed run does it again from its beginning.

        Raises Stopped, on all processes if on one.
        """
        with suppress(Stopped), signals.interruptible():
            work()
        stop = self.processes.stopped_by(signals.stop)
        if stop:
            raise Stopped(stop)

    # -- steps -----------------------------------------------------------------------------------

    def step(self, now: Clock) -> Outcome:
        """One training step on the batch of this step."""
        self.batches.meet(now.step, self.processes.agree)
        micros = self.plan.config.training.accumulate
        place = {"rank": self.processes.rank, "world": self.processes.world, "micros": micros}
        steps = []
        for micro in range(micros):
            batch = self.batches.at(now.step, micro=micro, **place)
            steps.append(self._objective_step(batch, now))
        return self.engine.step(steps, rate(now.progress, self.objective.optim))

    def _objective_step(self, batch: Batch, now: Clock) -> Step:
        nets = self.nets
        if self.plan.config.data.augment == "diffaugment" and "discriminator" in nets:
            nets = {**nets, "discriminator": Augmented(nets["discriminator"], batch.noise)}
        return self.objective.step(nets, batch, now)

    def update_average(self, outcome: Outcome, images: int) -> None:
        """Updates the averages after a step; images: how many the stage has seen."""
        if outcome.ok:
            half_life = self.plan.config.training.ema_half_life
            self.average.update(outcome.moved, decay(images, self.batches.batch, half_life))

    # -- model and checkpoints -------------------------------------------------------------------

    @property
    def coded(self) -> bool:
        """Whether p(z) is fitted to z ~ q(z|x) at the end of the stage; N(0, I) never is."""
        return self.objective.fits_prior and self.plan.config.networks.prior != "normal"

    def sample(self, at: Position) -> torch.Tensor:
        """Some images of the averaged networks, for the alarms: (16, C, H, W) at most."""
        batch = self.batches.at(at.stage_step)
        return previews.sample(self.model(at), batch, at.step, coded=self.coded)

    def model(self, at: Position, nets: Mapping[str, nn.Module] | None = None) -> Model:
        """The model as it is now, of the averaged networks unless others are given."""
        return build.model(self.plan, self.average.nets if nets is None else nets, at)

    def state(self) -> State:
        """All tensors that a checkpoint holds, by group."""
        state = {f"networks.{name}": net.state_dict() for name, net in self.nets.items()}
        state |= {f"ema.{name}": net.state_dict() for name, net in self.average.nets.items()}
        state |= {f"optim.{name}": tensors for name, tensors in self.engine.state().items()}
        return state | {"random": {"cpu": torch.get_rng_state()}}

    def meta(self) -> dict[str, Any]:
        """What :meth:`restore` needs beside the tensors."""
        stream = self.batches.state()
        return {"world": self.processes.world, "bf16": self.bf16, "stream": stream}

    def restore(self, checkpoint: Checkpoint, at: Position, *, anew: bool) -> str | None:
        """Continues from a checkpoint; anew: with images in another order, after a rollback.

        Returns a sentence for the user where the order changes. Raises ConfigError or
        CheckpointError.
        """
        if self.plan.config.training.bf16 is None:  # as the run began, even on another machine
            self.bf16 = checkpoint.meta.get("bf16", self.bf16)
        self._load_networks(checkpoint, at)
        self.enter_stage(at)
        note = self._restore_order(checkpoint, at, anew)
        with gate(f"the checkpoint {checkpoint.path}", CheckpointError):
            state = checkpoint.state
            self.engine.load_state(
                {k.removeprefix("optim."): v for k, v in state.items() if k[:6] == "optim."}
            )
            torch.set_rng_state(state["random"]["cpu"])
        return note

    def _load_networks(self, checkpoint: Checkpoint, at: Position) -> None:
        """Raises ConfigError where the checkpoint is of other networks, or of more stages."""
        try:
            for name, net in self.nets.items():
                net.load_state_dict(checkpoint.state[f"networks.{name}"])
                self.average.nets[name].load_state_dict(checkpoint.state[f"ema.{name}"])
            self.plan.stages[at.stage]
        except (IndexError, KeyError, RuntimeError):
            raise ConfigError(
                f"{_run_of(checkpoint)} has other networks or stages than these settings make, "
                "which cannot be trained further with them: go back to its objective, networks "
                "and data.size"
            ) from None

    def _restore_order(self, checkpoint: Checkpoint, at: Position, anew: bool) -> str | None:
        """Continues the checkpoint's order of the images, or begins a new one.

        Raises ConfigError where the order must change in a run that allows no changes.
        """
        before, now = checkpoint.meta["world"], self.processes.world
        state = None if anew else checkpoint.meta.get("stream")
        continued = self.batches.restore(state, at.stage_step, self.processes.agree)
        if continued and before != now:
            return (
                f"{before} process(es) became {now}: the samples "
                f"stay the same, but the result is not bit-exact"
            )
        if continued or anew:
            return None
        if before != now and not self.plan.config.training.allow_changes:
            raise ConfigError(
                f"{_run_of(checkpoint)} was trained by {before} process(es) that read shards of "
                f"their own, and {now} would read others: start {before}, or resume with"
                " --training.allow-changes, and the order of the images begins anew"
            )
        return "the order of the images begins anew"


def _run_of(checkpoint: Checkpoint) -> Path:
    """The directory of a checkpoint's run."""
    return checkpoint.path.parents[1]
