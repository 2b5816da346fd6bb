"""What a training step costs beside the objective's own tensor work; goal: at most 8 % of it.

``python -m benchmarks overhead``: a share of time, by the wall and by the processor.
"""

from __future__ import annotations

import copy
import os
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import ours
from benchmarks.race import Args, Race, Result
from benchmarks.timing import Watch, median, share, turns
from ganvae import config as configuration
from ganvae.cli.console import Console
from ganvae.cli.live import LiveDisplay
from ganvae.objectives.base import Objective
from ganvae.training.schedule import Budget, Every
from ganvae.training.trainer import Trainer
from ganvae.types import Batch, Clock

GOAL = 0.08
TURN, ROUND, WARM = 8, 200, 40
CLOCKS = ("wall", "cpu")


class Bare:
    """A training loop that does only the objective's own tensor work."""

    def __init__(self, objective: Objective, nets: Mapping[str, nn.Module],
                 batches: list[Batch], bf16: bool = False):  # fmt: skip
        self.objective, self.batches, self.bf16, self.count = objective, batches, bf16, 0
        self.nets = {role: copy.deepcopy(nets[role]) for role in objective.networks}
        self.parameters = {role: list(net.parameters()) for role, net in self.nets.items()}
        optim = objective.optim
        betas = (optim.beta1, optim.beta2)
        adam = partial(torch.optim.Adam, lr=optim.lr / 2, betas=betas, fused=True)
        self.optimisers = {role: adam(some) for role, some in self.parameters.items() if some}

    def step(self) -> None:
        """One training step."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            batch = self.batches[self.count % len(self.batches)]
            now = Clock(step=self.count, progress=0.5)
            for losses in self.objective.step(self.nets, batch, now):
                for role in losses:
                    self.optimisers[role].zero_grad()
                for loss in dict.fromkeys(losses.values()):
                    roles = [role for role, other in losses.items() if other is loss]
                    inputs = [p for role in roles for p in self.parameters[role]]
                    loss.backward(inputs=inputs, retain_graph=True)
                for role in losses:
                    if self.objective.optim.clip:
                        nn.utils.clip_grad_norm_(self.parameters[role], self.objective.optim.clip)
                    self.optimisers[role].step()
        self.count += 1


class Raced:
    """Alternates eight steps of the trainer with eight of a :class:`Bare` loop.

    rounds: by stage, the times of both in each round
    """

    def __init__(self) -> None:
        self.rounds: dict[str, tuple[list[Watch], list[Watch]]] = {}

    def __call__(self, trainer: Trainer, watch: Watch) -> None:
        """After a step."""
        step, learner = trainer.at.stage_step, trainer.learner
        if step == 1:
            batches = [learner.batches.at(step) for step in range(TURN)]
            self.bare = Bare(trainer.stage, learner.nets, batches, learner.bf16)
            self.mine = self.other = Watch()
        elif step > WARM:
            self.mine += watch
        if step % TURN == 0:
            turn = Watch.of(lambda: [self.bare.step() for _ in range(TURN)])
            self.other += turn if step > WARM else Watch()
        if step > WARM and (step - WARM) % ROUND == 0:
            both = self.rounds.setdefault(type(trainer.stage).__name__, ([], []))
            both[0].append(self.mine)
            both[1].append(self.other)
            self.mine = self.other = Watch()


def race(rounds: int, folder: Path) -> dict[str, Any]:
    """Trains both stages of the demo; the shares of each part."""
    steps, raced = WARM + rounds * ROUND, Raced()
    config = ours.stages(steps, 1, training__tensorboard=True)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        display = LiveDisplay(Console(file=nowhere, force_terminal=True, width=100))
        trainer = ours.trainer(config, folder, ours.Timed(raced), display=display)
        status = trainer.run().status
    if status != "done" or len(raced.rounds) != len(trainer.stages):
        sys.exit(f"the race was stopped ({status}) after {trainer.at.step} of {2 * steps} steps")
    return shares(raced.rounds, turns(ours.seldom(trainer), 5, warm=0))


def shares(
    rounds: Mapping[str, tuple[list[Watch], list[Watch]]], seldom: Mapping[str, list[Watch]]
) -> dict[str, Any]:
    """The result, for a run as long as the demo's."""
    training, weights = configuration.Config().training, ours.shares()
    demo = Budget.parse(training.budget).seconds
    assert demo is not None
    rare = {name: median(watches) for name, watches in seldom.items()}
    saves = Every.parse(training.checkpoint_every).used(0, 0, demo)
    part = (training.previews * rare["preview_s"] + saves * rare["checkpoint_s"]) / demo
    stages: dict[str, dict[str, Any]] = {}
    for stage, (mine, bare) in rounds.items():
        stages[stage] = {
            "share_of_run": weights[stage],
            **{clock: round(1 - share(bare, mine, clock), 4) for clock in CLOCKS},
            "step_ms": {c: round(1000 * median(mine, c) / ROUND, 3) for c in CLOCKS},
            "bare_ms": {c: round(1000 * median(bare, c) / ROUND, 3) for c in CLOCKS},
        }
    total = {c: sum(s["share_of_run"] * s[c] for s in stages.values()) + part for c in CLOCKS}
    return {
        "ratio": round(total["wall"], 4),
        "ratio_cpu": round(total["cpu"], 4),
        "stages": stages,
        "seldom": {**{n: round(s, 4) for n, s in rare.items()}, "share": round(part, 4)},
    }


def measure(args: Args) -> Result:
    """The race, on one thread."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        result = race(args.rounds, Path(folder) / "run")
    return {
        "ratio": result["ratio"], "goal": GOAL, **result, "rounds": args.rounds, "threads": 1,
        "torch": torch.__version__,
    }  # fmt: skip


RACE = Race(
    measure=measure, options={"--rounds": (3, "rounds of 200 steps, each stage")},
    figure="share of a step that is not the objective's own work", better="lower",
)  # fmt: skip
