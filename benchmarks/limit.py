"""How near a training step is to what this machine's convolutions reach; goal: at least .7.

``python -m benchmarks limit``: milliseconds and GFLOP/s of a step, and of its kernels alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import ours
from benchmarks.data import synthetic
from benchmarks.flops import Call, Recorder
from benchmarks.race import Args, Cell, Race, Result, by_name, goal
from benchmarks.sections import Pictures, shown, table, threads
from benchmarks.timing import Watch, both, median, turns
from ganvae.training.trainer import Trainer

GOAL = 0.7
SIZES = (32, 64)
TURN, WARM = 8, 24
"""Steps of a turn, one of them with gradient penalties, and of a stage before anything counts."""
OWN = "ganvae: "
"""Prefix of the profiler's ranges around the trainer's parts."""
KINDS = {
    "convolutions and products": ("conv", "mkldnn", "mm", "addmm", "bmm", "baddbmm"),
    "normalisation": ("norm", "native_group_norm"),
    "activations": ("leaky_relu", "tanh", "softplus", "sigmoid"),
    "optimiser": ("Optimizer", "fused_adam"),
    "copies": ("copy", "clone", "contiguous", "cat", "stack", "to_copy"),
}
"""Beginnings of operations' names, without ``aten::``, by kind."""


@dataclass
class Turns:
    """Times of eight steps of a stage, and of their kernels alone, turn by turn."""

    calls: list[Call]
    steps: list[Watch] = field(default_factory=list)
    kernels: list[Watch] = field(default_factory=list)
    shares: dict[str, float] = field(default_factory=dict)

    @property
    def flop(self) -> float:
        """Of one step."""
        return sum(call.flop * call.count for call in self.calls) / TURN

    @torch.no_grad()
    def replay(self) -> None:
        """Runs the kernels of eight steps."""
        for call in self.calls:
            for _ in range(call.count):
                call.run()

    def figures(self, batch: int) -> dict[str, Any]:
        """The figures of a stage."""
        step, kernels = median(self.steps) / TURN, median(self.kernels) / TURN
        return {
            **both("ratio", self.kernels, self.steps),
            "mflop_per_image": round(self.flop / batch / 1e6, 1),
            "step_ms": round(1000 * step, 2),
            "step_cpu_ms": round(1000 * median(self.steps, "cpu") / TURN, 2),
            "gflop_per_s": round(self.flop / step / 1e9, 1),
            "kernels_gflop_per_s": round(self.flop / kernels / 1e9, 1),
            "images_per_s": round(batch / step, 1),
            "shares": self.shares, "slowest": slowest(self.calls),
        }  # fmt: skip


class Measured:
    """Counts and profiles a turn of each stage, then lets the kernels alternate with the steps.

    The first turn after the warm-up is recorded, the second one profiled, the others are timed.
    """

    def __init__(self, rounds: int):
        self.rounds, self.by_stage = rounds, dict[str, Turns]()
        self.recorder, self.profiler = Recorder(), profile(activities=[ProfilerActivity.CPU])
        self.turn = Watch()

    def __call__(self, trainer: Trainer, watch: Watch) -> None:
        """After a step."""
        self.turn += watch
        number, within = divmod(trainer.at.stage_step - WARM, TURN)
        if within or not 0 <= number <= 2 + self.rounds:
            return
        stage = type(trainer.stage).__name__
        if number == 0:
            self.recorder = Recorder()
            self.recorder.__enter__()
        elif number == 1:
            self.recorder.__exit__(None, None, None)
            self.by_stage[stage] = Turns(list(self.recorder.calls.values()))
            ours.name_ranges(trainer, OWN)
            self.profiler = profile(activities=[ProfilerActivity.CPU])
            self.profiler.__enter__()
        elif number == 2:
            self.profiler.__exit__(None, None, None)
            self.by_stage[stage].shares = shares(self.profiler.events())
            self.by_stage[stage].replay()
        else:
            self.by_stage[stage].steps.append(self.turn)
            self.by_stage[stage].kernels.append(Watch.of(self.by_stage[stage].replay))
        self.turn = Watch()


def kind(event: Any) -> str:
    """The kind of an event: the part of the trainer around it, or else by its operation."""
    around = event
    while around is not None:
        if around.name.startswith(OWN):
            return str(around.name.removeprefix(OWN))
        if around.name.startswith("Optimizer"):
            return "optimiser"
        around = around.cpu_parent
    plain = event.name.removeprefix("aten::").lstrip("_")
    names = (name for name, beginnings in KINDS.items() if plain.startswith(beginnings))
    return next(names, "everything else")


def shares(events: Sequence[Any]) -> dict[str, float]:
    """The time of each kind as a share of all that was profiled, the largest first."""
    times: dict[str, float] = {}
    for event in events:
        if event.self_cpu_time_total > 0:
            name = kind(event)
            times[name] = times.get(name, 0.0) + event.self_cpu_time_total
    total = sum(times.values())
    return {n: round(t / total, 4) for n, t in sorted(times.items(), key=lambda x: -x[1])}


def slowest(calls: Sequence[Call], count: int = 8) -> list[dict[str, Any]]:
    """The kernels that take most of a step, and the rate of each alone."""
    rows: list[dict[str, Any]] = []
    for call in calls:
        seconds = max(median(turns({"": call.run}, 5, warm=0)[""], "cpu"), 1e-9)
        ms = round(1000 * seconds * call.count / TURN, 3)
        rate = round(call.flop / seconds / 1e9, 1)
        rows.append({"kernel": call.name, "cpu_ms_a_step": ms, "gflop_per_cpu_s": rate})
    return sorted(rows, key=lambda row: -row["cpu_ms_a_step"])[:count]


def cell(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Both stages at one image size: ``size``, ``rounds``, ``threads``."""
    size, rounds, threads = (settings[name] for name in ("size", "rounds", "threads"))
    torch.set_num_threads(threads)
    measured = Measured(rounds)
    with tempfile.TemporaryDirectory() as folder:
        path = synthetic(Path(folder, "images.npy"), 512, size, 3)
        steps = WARM + TURN * (2 + rounds) + 1
        config = ours.stages(steps, threads, data__path=str(path), data__cache=f"{folder}/cache")
        ours.trainer(config, Path(folder, "run"), ours.Timed(measured)).run()
    batch = config.training.batch
    stages = {stage: turns.figures(batch) for stage, turns in measured.by_stage.items()}
    return {"stages": stages} | whole(stages, size)


def whole(stages: Mapping[str, Result], size: int) -> dict[str, float]:
    """The ratios of a run: its stages', weighted by their shares of its time."""
    weights = ours.shares(size)
    return {
        name: round(sum(weights[stage] * stages[stage][name] for stage in stages), 4)
        for name in ("ratio", "ratio_cpu")
    }


def summary(by_size: Mapping[int, Result], threads: int) -> Result:
    """The race's result from its cells' results by image size."""
    keys = ("stages", "ratio", "ratio_cpu", "load")
    what = "rate of a step of gan_vae at {} px, of its bare kernels' rate"
    return {
        "name": "limit", "goal": GOAL, "threads": threads,
        "goals": [goal(what.format(size), one["ratio"], GOAL) for size, one in by_size.items()],
        "sizes": {str(s): {k: one[k] for k in keys if k in one} for s, one in by_size.items()},
        **{key: min(one[key] for one in by_size.values()) for key in ("ratio", "ratio_cpu")},
    }  # fmt: skip


def measure(args: Args) -> Result:
    """A cell for each size; quickly 32 px alone."""
    settings = {"rounds": args.rounds, "threads": args.threads}
    cells = {size: Cell("limit", f"{size}px", {"size": size, **settings}) for size in SIZES}
    return summary(by_name({32: cells[32]} if args.quick else cells, args.results), args.threads)


COLUMNS = {
    "mflop_per_image": "MFLOP an image", "step_ms": "ms a step", "gflop_per_s": "GFLOP/s",
    "kernels_gflop_per_s": "its kernels alone, GFLOP/s", "ratio": "ratio",
}  # fmt: skip


def section(result: Result, pictures: Pictures) -> str:
    """A stage a line."""
    rows = [
        [f"{size} px", stage, *(shown(one[key]) for key in COLUMNS)]
        for size, figures in result["sizes"].items()
        for stage, one in figures["stages"].items()
    ]
    return f"{threads(result).capitalize()}.\n\n" + table(["", "stage", *COLUMNS.values()], rows)


RACE = Race(
    measure=measure, quick={"rounds": 2}, title="The hardware's limit", section=section,
    options={"--threads": 2, "--rounds": (9, "turns of eight steps, each stage")},
)  # fmt: skip
