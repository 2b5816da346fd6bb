"""Small real runs to break: tiny networks, 256 tiny images, a few dozen steps."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from ganvae import config, objectives
from ganvae.data import Data, open_data
from ganvae.objectives.base import Objective, Stage
from ganvae.progress import Display
from ganvae.training import checkpoint
from ganvae.training.trainer import Result, Trainer, Watcher
from ganvae.types import Batch, Clock, Networks, Step

GROUPS = ("networks.", "ema.", "optim.")


def images(path: Path, count: int = 256, size: int = 8) -> Path:
    """Writes ``count`` smooth grey images that differ from each other."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:size, 0:size] / size
    waves = random.uniform(0, 6, (count, 3, 1, 1))
    made = np.sin(waves[:, 0] * x + waves[:, 1] * y + waves[:, 2])
    np.save(path, ((made + 1) * 127).astype(np.uint8)[..., None])
    return path


def settings(data: Path, objective: str = "gan_vae", **training: Any) -> config.Config:
    """A configuration of a few seconds; ``training`` changes fields of that section."""
    chosen = {
        "budget": "40steps", "batch": 16, "checkpoint_every": "10steps", "previews": 0,
        "evaluations": 0, "tensorboard": False, "threads": 1,
    } | training  # fmt: skip
    options: dict[str, Any] = {"vae_gan": {"fit": 64}, "vae": {"fit": 64}}.get(objective, {})
    if objective == "gan_vae":
        options = {"representation": {"fit": 64}, "share": 0.5}
    return config.Config(
        objective=objective,
        objective_options=options,
        data=config.Data(path=str(data), cache=str(data.parent / "cache")),
        networks=config.Networks(family="mlp", latent=4, components=2),
        training=config.Training(**chosen),
        evaluation=config.Evaluation(samples=16, importance=2, priors=False),
    )


@dataclass(frozen=True, kw_only=True)
class Changed(Objective):
    """Another objective whose every step is done by ``change(step_of_it, batch, now)``."""

    networks: ClassVar[tuple[str, ...]] = ()
    base: Objective
    change: Callable[[Step, Batch, Clock], Step]

    def step(self, nets: Networks, batch: Batch, now: Clock) -> Step:
        return self.change(self.base.step(nets, batch, now), batch, now)

    def stages(self) -> list[Stage]:
        stages = self.base.stages()
        if len(stages) == 1:
            return [Stage(self, 1.0)]
        return [
            Stage(wrapped(stage.objective, self.change, self.networks), stage.share)
            for stage in stages
        ]

    def prepare(self, nets: Networks, batches: Any) -> None:
        self.base.prepare(nets, batches)

    def conclude(self, nets: Networks, batches: Any) -> None:
        self.base.conclude(nets, batches)


def wrapped(
    base: Objective, change: Callable[[Step, Batch, Clock], Step], roles: tuple[str, ...] = ()
) -> Objective:
    """``base`` with its steps changed; it keeps the networks and the optimiser of ``base``."""
    kind = dataclasses.dataclass(frozen=True, kw_only=True)(
        type(
            f"Changed{type(base).__name__}",
            (Changed,),
            {
                "networks": roles or base.networks,
                "decoder": base.decoder,
                "generator": base.generator,
                "__annotations__": {},
            },
        )
    )
    return kind(base=base, change=change, optim=base.optim)


class Notes(Display):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def message(self, text: str) -> None:
        self.texts.append(text)


def trainer(
    chosen: config.Config,
    out: Path,
    *,
    resume: bool = False,
    change: Callable[[Step, Batch, Clock], Step] | None = None,
    data: Data | None = None,
    display: Display | None = None,
    networks: dict[str, torch.nn.Module] | None = None,
    watchers: Sequence[Watcher] = (),
) -> Trainer:
    objective = objectives.build(chosen.objective, chosen.objective_options)
    if change is not None:
        objective = wrapped(objective, change)
    data = data or open_data(chosen.data, workers=0)
    return Trainer(
        chosen, objective, data, out, resume=resume, display=display or Notes(), networks=networks,
        watchers=watchers,
    )  # fmt: skip


def train(chosen: config.Config, out: Path, **kwargs: Any) -> Result:
    return trainer(chosen, out, **kwargs).run()


def last(out: Path) -> checkpoint.Checkpoint:
    found = checkpoint.latest(out / "checkpoints", lambda text: None)
    assert found is not None
    return found


def digest(out: Path) -> str:
    """H of the last checkpoint of a run."""
    return checkpoint.digest(last(out).state)


def events(out: Path) -> list[str]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line["event"] for line in lines if "event" in line]


def saved_steps(out: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in (out / "checkpoints").glob("step-*"))


# -- changes of a step --------------------------------------------------------------------------


def follow(step: Step, alter: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Any:
    """The same moves with their losses altered."""
    try:
        losses = next(step)
        while True:
            yield alter(losses)
            losses = next(step)
    except StopIteration as end:
        return end.value


def slow(seconds: float) -> Callable[[Step, Batch, Clock], Step]:
    def change(step: Step, _batch: Batch, _now: Clock) -> Any:
        time.sleep(seconds)
        return (yield from step)

    return change


def spoilt(when: Callable[[Clock], bool], value: float = float("nan"), last_move: bool = True):
    """Losses times ``value`` at some steps; the first move of a step stays whole if others are."""

    def change(step: Step, _batch: Batch, now: Clock) -> Any:
        if not when(now):
            return (yield from step)
        seen: list[int] = []

        def alter(losses: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            seen.append(1)
            if last_move and len(seen) == 1 and "discriminator" in losses and len(losses) == 1:
                return losses
            return {name: loss * value for name, loss in losses.items()}

        return (yield from follow(step, alter))

    return change


def signalling(number: signal.Signals, when: Callable[[Clock], bool]):
    def change(step: Step, _batch: Batch, now: Clock) -> Any:
        if when(now):
            os.kill(os.getpid(), number)
        return (yield from step)

    return change


# -- a process of its own -----------------------------------------------------------------------


def child(chosen: config.Config, out: Path, resume: bool, pause: float, told: Any = None) -> None:
    """What a process that will be killed runs; says "started", then every step it begins."""

    def change(step: Step, _batch: Batch, now: Clock) -> Any:
        if told is not None:
            told.send(run.at.step)
        time.sleep(pause)
        return (yield from step)

    torch.set_num_threads(1)
    run = trainer(chosen, out, resume=resume, change=change)
    if told is not None:
        told.send("started")
    run.run()
