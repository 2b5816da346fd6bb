"""What a training step costs beside the objective's own tensor work; goal: at most 8 % of it.

The trainer is raced against a bare loop: the same objective on copies of the same networks, plain
autograd and fused Adam, fixed images, and nothing else. They take turns of eight steps, A B A B,
in one process and on one thread. A round is 200 steps of each (every rhythm of the trainer fits
into it: penalties, alarms, samples, log), and the result is the median over the rounds.
Previews and checkpoints come seldom: they are timed by themselves and charged at the demo's rate.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import record
from ganvae import config, objectives
from ganvae.data import open_data
from ganvae.objectives.base import Objective
from ganvae.progress import Console, LiveDisplay
from ganvae.training.schedule import Budget, Every
from ganvae.training.trainer import Trainer
from ganvae.types import Batch, Clock

GOAL = 0.08
TURN, ROUND, WARM = 8, 200, 40


@dataclass
class Watch:
    """Seconds of this process, by the wall and of its processor."""

    wall: float = 0.0
    cpu: float = 0.0

    @staticmethod
    def now() -> Watch:
        """What the clocks show."""
        return Watch(time.perf_counter(), time.process_time())

    def __sub__(self, other: Watch) -> Watch:
        return Watch(self.wall - other.wall, self.cpu - other.cpu)

    def add(self, other: Watch) -> None:
        """Counts ``other`` in."""
        self.wall, self.cpu = self.wall + other.wall, self.cpu + other.cpu


class Bare:
    """A loop over an objective that does what it asks for and nothing else."""

    def __init__(
        self,
        objective: Objective,
        nets: Mapping[str, nn.Module],
        batches: list[Batch],
        bf16: bool = False,
    ):
        self.bf16 = bf16
        self.objective, self.batches, self.done = objective, batches, 0
        self.nets = {role: copy.deepcopy(nets[role]) for role in objective.networks}
        self.parameters = {role: list(net.parameters()) for role, net in self.nets.items()}
        optim = objective.optim
        self.optimisers = {
            role: torch.optim.Adam(
                parameters, lr=optim.lr / 2, betas=(optim.beta1, optim.beta2), fused=True
            )
            for role, parameters in self.parameters.items()
            if parameters
        }

    def step(self) -> None:
        """One training step."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            self._step()

    def _step(self) -> None:
        batch = self.batches[self.done % len(self.batches)]
        for losses in self.objective.step(self.nets, batch, Clock(step=self.done, progress=0.5)):
            for role in losses:
                self.optimisers[role].zero_grad()
            for loss in dict.fromkeys(losses.values()):
                named = [role for role, other in losses.items() if other is loss]
                inputs = [p for role in named for p in self.parameters[role]]
                loss.backward(inputs=inputs, retain_graph=True)
            for role in losses:
                if self.objective.optim.clip:
                    nn.utils.clip_grad_norm_(self.parameters[role], self.objective.optim.clip)
                self.optimisers[role].step()
        self.done += 1


class Raced(Trainer):
    """A trainer that lets a :class:`Bare` loop have every other turn of eight steps."""

    rounds: dict[int, list[tuple[Watch, Watch]]]
    """By stage, for every round what the trainer took and what the bare loop took."""
    bare: Bare
    mine: Watch
    other: Watch
    since: Watch

    def _stop(self) -> str | None:
        """Called at the top of the loop: between two calls lies one whole step."""
        now = Watch.now()
        if not hasattr(self, "rounds"):
            self.rounds = {}
        stage, step = self.at.stage, self.at.stage_step
        if step == 0:
            self._begin_stage()
        elif step > WARM:
            self.mine.add(now - self.since)
        if step and step % TURN == 0:
            self._turn(counted=step > WARM)
        if step > WARM and (step - WARM) % ROUND == 0:
            self.rounds.setdefault(stage, []).append((self.mine, self.other))
            self.mine, self.other = Watch(), Watch()
        self.since = Watch.now()
        return super()._stop()

    def _begin_stage(self) -> None:
        batches = [self.batches.at(step) for step in range(TURN)]
        objective = self.stages[self.at.stage].objective
        self.bare = Bare(objective, self.nets, batches, self.bf16)
        self.mine, self.other = Watch(), Watch()

    def _turn(self, counted: bool) -> None:
        start = Watch.now()
        for _ in range(TURN):
            self.bare.step()
        taken = Watch.now() - start
        self.shown_at += taken.wall  # the trainer shows and logs by the clock: it stood still
        if counted:
            self.other.add(taken)


def share(rounds: list[tuple[Watch, Watch]], clock: str) -> float:
    """The part of the trainer's time that the bare loop does not need: median over rounds."""
    return statistics.median(1 - getattr(b, clock) / getattr(a, clock) for a, b in rounds)


def milliseconds(taken: Iterable[Watch]) -> dict[str, float]:
    """A step's time by each clock: median over rounds."""
    both = list(taken)
    wall, cpu = (statistics.median(getattr(w, c) for w in both) for c in ("wall", "cpu"))
    return {"wall": round(1000 * wall / ROUND, 3), "cpu": round(1000 * cpu / ROUND, 3)}


def seconds(call: Callable[[], Any], times: int = 5) -> float:
    """Median wall time of a call."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def race(rounds: int, folder: Path) -> dict[str, Any]:
    """Trains both stages of the demo; the shares of each part."""
    default = config.Config()
    steps = 2 * (WARM + rounds * ROUND)
    chosen = config.override(
        default,
        {
            "objective.share": 0.5,
            "objective.representation.fit": 2000,  # is the objective's own work, and once a run
            "training.budget": f"{steps}steps",
            "training.checkpoint_every": "24h",
            "training.previews": 0,
            "training.evaluations": 0,
            "training.threads": 1,
            "training.device": "cpu",
        },
    )
    objective = objectives.build(chosen.objective, chosen.objective_options)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        display = LiveDisplay(Console(file=nowhere, force_terminal=True, width=100))
        trainer = Raced(chosen, objective, open_data(chosen.data), folder, display=display)
        status = trainer.run().status
    if status != "done" or len(trainer.rounds) != len(trainer.stages):
        sys.exit(f"the race was stopped ({status}) after {trainer.at.step} of {steps} steps")
    return shares(trainer, default)


def shares(trainer: Raced, default: config.Config) -> dict[str, Any]:
    """What the race showed, for a run as long as the demo's."""
    demo, every = Budget.parse(default.training.budget), default.training.checkpoint_every
    assert demo.seconds is not None
    saves = Every.parse(every).used(0, 0, demo.seconds)
    previews = default.training.previews
    rare = {"preview_s": seconds(trainer._preview), "checkpoint_s": seconds(trainer._save)}
    seldom = (previews * rare["preview_s"] + saves * rare["checkpoint_s"]) / demo.seconds
    first = getattr(objectives.build(default.objective), "share", 0.3)
    weights = {0: first, 1: 1 - first}
    stages: dict[str, dict[str, Any]] = {}
    for stage, taken in trainer.rounds.items():
        stages[type(trainer.stages[stage].objective).__name__] = {
            "share_of_run": weights[stage],
            "wall": round(share(taken, "wall"), 4),
            "cpu": round(share(taken, "cpu"), 4),
            "step_ms": milliseconds(a for a, _ in taken),
            "bare_ms": milliseconds(b for _, b in taken),
        }
    total = {
        clock: sum(s["share_of_run"] * s[clock] for s in stages.values()) + seldom
        for clock in ("wall", "cpu")
    }
    return {
        "ratio": round(total["wall"], 4),
        "ratio_cpu": round(total["cpu"], 4),
        "stages": stages,
        "seldom": {name: round(value, 4) for name, value in rare.items()}
        | {"share": round(seldom, 4)},
    }


def main() -> int:
    """Prints and keeps the result; 1 where the goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds of 200 steps, each stage")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = race(rounds, Path(folder) / "run")
    settings: dict[str, Any] = {"rounds": rounds, "threads": 1, "torch": torch.__version__}
    settings["load"] = round(os.getloadavg()[0], 1)  # of the last minute; idle: about 1
    record({"name": "overhead", "ratio": found["ratio"], "goal": GOAL, **found, **settings})
    return int(found["ratio"] > GOAL)


if __name__ == "__main__":
    sys.exit(main())
