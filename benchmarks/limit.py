"""How near a training step is to what this machine's convolutions reach; goal: at least .7.

Counted are the floating-point operations of the convolutions and matrix products of a step of the
default objective with its networks and batch, in both stages, forward and backward, gradient
penalties included. The step is timed in the trainer, with everything that belongs to it. In the
same run, every other turn of eight steps, those convolutions and products are made alone: the same
calls on random tensors of the same shapes, channels last, as often as the eight steps made them.
``ratio`` is the rate of the first over the rate of the second, the median over turns, weighted by
the stages' shares of a run, and the lower one of both image sizes. ``ratio_cpu`` is the same by
processor time, which other processes disturb less. Where the rest goes is what the profiler says,
in shares of the step.

What the trainer does seldomer than every eighth step counts where a turn happens to contain it
(``python -m benchmarks overhead`` is about that). The kernels alone have the caches to themselves,
so a step without anything else would not reach 1 either.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import flop_registry

from benchmarks import machine
from benchmarks.cells import Cell, finish, measure, missed
from benchmarks.overhead import Watch
from ganvae import config, objectives
from ganvae.data import open_data
from ganvae.training.trainer import Trainer

GOAL = 0.7
SIZES = (32, 64)
TURN, WARM = 8, 24
"""Steps of a turn, one of them with gradient penalties, and of a stage before anything counts."""
OWN = "ganvae: "
"""What the names of the ranges begin with that are put around the trainer's parts."""
KINDS = {
    "convolutions and products": ("conv", "mkldnn", "mm", "addmm", "bmm", "baddbmm"),
    "normalisation": ("norm", "native_group_norm"),
    "activations": ("leaky_relu", "tanh", "softplus", "sigmoid"),
    "optimiser": ("Optimizer", "fused_adam"),
    "copies": ("copy", "clone", "contiguous", "cat", "stack", "to_copy"),
}
"""What belongs to which kind, by the beginning of an operation's name without its ``aten::``."""


@dataclass
class Call:
    """A convolution or matrix product: how often it was made, and how to make it again."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    flop: int
    count: int = 0

    def run(self) -> None:
        """Makes it once."""
        self.function(*self.args, **self.kwargs)

    @property
    def name(self) -> str:
        """What it is, of which shapes."""
        shapes = ["×".join(map(str, a.shape)) for a in self.args if isinstance(a, Tensor)]
        what = str(self.function).removeprefix("aten.").removesuffix(".default")
        if what == "convolution_backward":
            of = ("input", "weight", "bias")
            what += "[" + "+".join(n for n, asked in zip(of, self.args[-1]) if asked) + "]"
        return " ".join([what, *shapes])


class Recorder(TorchDispatchMode):
    """Notes the calls that have floating-point operations, as torch's own counter counts them.

    (Which itself stumbles over the gradients of gradient penalties.)
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, Call] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        counter = flop_registry.get(func._overloadpacket)
        if counter is not None:
            key = repr((str(func), tree_map(_form, (args, kwargs))))
            if key not in self.calls:
                flop = counter(*args, **kwargs, out_val=out)
                again: tuple[Any, Any] = tree_map(_like, (args, kwargs))
                self.calls[key] = Call(func, *again, flop)
            self.calls[key].count += 1
        return out


def _form(value: Any) -> Any:
    return (tuple(value.shape), value.stride()) if isinstance(value, Tensor) else value


def _like(value: Any) -> Any:
    """Random numbers in a tensor's shape: channels last, transposed as it is, or contiguous."""
    if not isinstance(value, Tensor):
        return value
    made = torch.randn(value.shape, dtype=value.dtype)
    if value.ndim == 4:
        return made.contiguous(memory_format=torch.channels_last)
    if value.ndim == 2 and value.stride(0) == 1 and value.stride(1) == value.shape[0]:
        return made.t().contiguous().t()
    return made


@dataclass
class Turns:
    """What eight steps took in a stage and what their kernels take alone, turn by turn."""

    calls: list[Call]
    steps: list[Watch]
    kernels: list[Watch]
    shares: dict[str, float]

    @property
    def flop(self) -> float:
        """Of one step."""
        return sum(call.flop * call.count for call in self.calls) / TURN

    def replay(self) -> None:
        """The kernels of eight steps."""
        start = Watch.now()
        with torch.no_grad():
            for call in self.calls:
                for _ in range(call.count):
                    call.run()
        self.kernels.append(Watch.now() - start)

    def ratio(self, clock: str) -> float:
        """The rate of the steps over the kernels': median over the turns."""
        pairs = zip(self.kernels, self.steps, strict=True)
        return statistics.median(getattr(k, clock) / getattr(s, clock) for k, s in pairs)


class Measured(Trainer):
    """A trainer that counts and profiles a turn of each stage, then lets the kernels alternate.

    The first turn after the warm-up is recorded, the second one profiled, the others are timed.
    """

    rounds: int
    found: dict[int, Turns]
    recorder: Recorder
    profiler: Any
    since: Watch

    def _stop(self) -> str | None:
        """Called at the top of the loop: between two calls lies one whole step."""
        step = self.at.stage_step - WARM
        if step >= 0 and step % TURN == 0 and step <= TURN * (2 + self.rounds):
            now = Watch.now()
            self._turn(step // TURN, now)
            self.shown_at += (Watch.now() - now).wall  # shown by the clock: it stood
            self.since = Watch.now()
        return super()._stop()

    def _turn(self, number: int, now: Watch) -> None:
        """Ends the turn before this one and begins it."""
        if number == 0:
            self.recorder = Recorder()
            self.recorder.__enter__()
        elif number == 1:
            self.recorder.__exit__(None, None, None)
            calls = list(self.recorder.calls.values())
            self.found[self.at.stage] = Turns(calls, [], [], {})
            self._name_ranges()
            self.profiler = profile(activities=[ProfilerActivity.CPU])
            self.profiler.__enter__()
        elif number == 2:
            self.profiler.__exit__(None, None, None)
            self.found[self.at.stage].shares = shares(self.profiler.events())
            self.found[self.at.stage].replay()
            self.found[self.at.stage].kernels.clear()
        else:
            self.found[self.at.stage].steps.append(now - self.since)
            self.found[self.at.stage].replay()

    def _name_ranges(self) -> None:
        """Puts names around the parts of the trainer that are told apart."""
        parts: dict[str, list[tuple[Any, str]]] = {
            "undo": [(self.engine._undo, "remember")],
            "clipping": [(self.engine, "_norm"), (self.engine, "_clip")],
            "average": [(self.average, "update")],
            "batches": [(self.batches, "at")],
            "watching and showing": [(self, "_watch"), (self, "_report"), (self, "_do_due")],
        }
        for name, methods in parts.items():
            for owner, method in methods:
                setattr(owner, method, named(OWN + name, getattr(owner, method)))


def named(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """``call`` as a range of the profiler."""

    def ranged(*args: Any, **kwargs: Any) -> Any:
        with record_function(name):
            return call(*args, **kwargs)

    return ranged


def kind(event: Any) -> str:
    """What an event belongs to: the part of the trainer around it, or its operation's kind."""
    around = event
    while around is not None:
        if around.name.startswith(OWN):
            return str(around.name.removeprefix(OWN))
        if around.name.startswith("Optimizer"):
            return "optimiser"
        around = around.cpu_parent
    plain = event.name.removeprefix("aten::").lstrip("_")
    for name, beginnings in KINDS.items():
        if plain.startswith(beginnings):
            return name
    return "everything else"


def shares(events: Sequence[Any]) -> dict[str, float]:
    """The time of each kind as a share of all that was profiled, the largest first."""
    taken: dict[str, float] = {}
    for event in events:
        if event.self_cpu_time_total > 0:
            name = kind(event)
            taken[name] = taken.get(name, 0.0) + event.self_cpu_time_total
    whole = sum(taken.values())
    return {n: round(t / whole, 4) for n, t in sorted(taken.items(), key=lambda x: -x[1])}


def slowest(calls: Sequence[Call], count: int = 8) -> list[dict[str, Any]]:
    """The kernels that take most of a step, and the rate of each alone."""
    rows: list[dict[str, Any]] = []
    for call in calls:
        times = []
        for _ in range(5):
            start = Watch.now()
            call.run()
            times.append((Watch.now() - start).cpu)
        taken = max(statistics.median(times), 1e-9)
        rows.append(
            {
                "kernel": call.name,
                "cpu_ms_a_step": round(1000 * taken * call.count / TURN, 3),
                "gflop_per_cpu_s": round(call.flop / taken / 1e9, 1),
            }
        )
    return sorted(rows, key=lambda row: -row["cpu_ms_a_step"])[:count]


def cell(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Both stages at one image size: ``size``, ``rounds``, ``threads``."""
    size, rounds, threads = (settings[name] for name in ("size", "rounds", "threads"))
    torch.set_num_threads(threads)
    steps = WARM + TURN * (2 + rounds) + 1
    with tempfile.TemporaryDirectory() as folder:
        images = np.random.default_rng(0).integers(0, 256, (512, size, size, 3), np.uint8)
        np.save(Path(folder, "images.npy"), images)
        chosen = config.override(
            config.Config(),
            {
                "data.path": f"{folder}/images.npy", "data.cache": f"{folder}/cache",
                "objective.share": 0.5, "objective.representation.fit": 64,
                "training.budget": f"{2 * steps}steps", "training.checkpoint_every": "24h",
                "training.previews": 0, "training.evaluations": 0, "training.tensorboard": False,
                "training.threads": threads, "training.device": "cpu",
            },
        )  # fmt: skip
        objective = objectives.build(chosen.objective, chosen.objective_options)
        trainer = Measured(chosen, objective, open_data(chosen.data), Path(folder, "run"))
        trainer.rounds, trainer.found = rounds, {}
        trainer.run()
    batch = chosen.training.batch
    stages = {
        type(trainer.stages[stage].objective).__name__: figures(turns, batch)
        for stage, turns in trainer.found.items()
    }
    return {"stages": stages} | whole(stages, settings["size"])


def figures(turns: Turns, batch: int) -> dict[str, Any]:
    """What is kept of a stage."""
    step, kernels = (
        statistics.median(watch.wall for watch in watches) / TURN
        for watches in (turns.steps, turns.kernels)
    )
    return {
        "ratio": round(turns.ratio("wall"), 4),
        "ratio_cpu": round(turns.ratio("cpu"), 4),
        "mflop_per_image": round(turns.flop / batch / 1e6, 1),
        "step_ms": round(1000 * step, 2),
        "step_cpu_ms": round(1000 * statistics.median(w.cpu for w in turns.steps) / TURN, 2),
        "gflop_per_s": round(turns.flop / step / 1e9, 1),
        "kernels_gflop_per_s": round(turns.flop / kernels / 1e9, 1),
        "images_per_s": round(batch / step, 1),
        "shares": turns.shares,
        "slowest": slowest(turns.calls),
    }


def whole(stages: Mapping[str, Mapping[str, Any]], size: int) -> dict[str, float]:
    """The ratios of a run: its stages', weighted by their shares of its time."""
    objective = objectives.build("gan_vae").suited(size)
    weights = {type(stage.objective).__name__: stage.share for stage in objective.stages()}
    return {
        name: round(sum(weights[stage] * stages[stage][name] for stage in stages), 4)
        for name in ("ratio", "ratio_cpu")
    }


def summary(found: Mapping[int, Mapping[str, Any]], threads: int) -> dict[str, Any]:
    """The race's result from its cells' results by image size."""
    kept = ("stages", "ratio", "ratio_cpu", "load")
    return {
        "name": "limit",
        "ratio": min(one["ratio"] for one in found.values()),
        "ratio_cpu": min(one["ratio_cpu"] for one in found.values()),
        "goal": GOAL,
        "goals": [
            {"what": f"rate of a step of gan_vae at {size} px, of its bare kernels' rate",
             "measured": one["ratio"], "goal": GOAL, "better": "higher"}
            for size, one in found.items()
        ],
        "sizes": {str(s): {k: one[k] for k in kept if k in one} for s, one in found.items()},
        "threads": threads,
        "machine": machine(),
    }  # fmt: skip


def main() -> int:
    """Prints and keeps the result; 1 where the goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9, help="turns of eight steps, each stage")
    parser.add_argument("--quick", action="store_true", help="32 px alone, two turns")
    args = parser.parse_args()
    sizes, rounds = ((32,), 2) if args.quick else (SIZES, args.rounds)
    cells = [
        Cell("limit", f"{s}px", {"size": s, "rounds": rounds, "threads": args.threads})
        for s in sizes
    ]
    found = [cell(one.settings) for one in cells] if args.quick else measure(cells)
    result = summary(dict(zip(sizes, found)), args.threads)
    finish(result, args.quick)
    return int(not args.quick and any(map(missed, result["goals"])))


if __name__ == "__main__":
    sys.exit(main())
