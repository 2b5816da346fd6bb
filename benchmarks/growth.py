"""What grows with the images, with the processes, with the size of images and of networks.

Seconds per image and memory of a training on 1,000 to a million synthetic images; two processes
of one thread, started by torchrun, against one process of two threads; time and memory of a step
against the side of the images and the width of the networks, fitted as power laws and drawn; and
8 and 64 GPUs on paper. Trainings that are compared are processes of their own that take turns.
``ratio`` is the images a second of two processes over those of one (goal: at least .9); ``flat``
the seconds per image at the most images over those at the fewest (goal: at most 1.05).
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from benchmarks import PICTURES, RESULTS, machine
from benchmarks.cells import ROOT, Cell, measure
from benchmarks.claim import finish
from benchmarks.data import photographs
from benchmarks.use import missed
from ganvae import api, config, files, objectives
from ganvae.data import open_data
from ganvae.networks import zoo
from ganvae.training.trainer import Trainer
from ganvae.types import Shape

TWO, FLAT, MEMORY = 0.9, 1.05, 1.1
COUNTS = (1_000, 10_000, 100_000, 1_000_000)
SIZES, WIDTHS = (32, 64, 128, 256), (16, 32, 64, 128)
PATIENCE = 900.0
"""Seconds that a process may take from one hold to the next."""


# -- images and settings -----------------------------------------------------------------------


def synthetic(path: Path, count: int, size: int, channels: int = 1) -> Path:
    """An .npy file of ``count`` different images, written a part at a time."""
    some = photographs(min(count, 1000), size)[..., :channels]
    shape = (count, size, size, channels)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    for start in range(0, count, len(some)):
        part = out[start : start + len(some)]
        part[:] = some[: len(part)]
        numbers = np.arange(start, start + len(part), dtype="<u4").view(np.uint8).reshape(-1, 4)
        part.reshape(len(part), -1)[:, :4] = numbers  # so that no two are the same
    out.flush()
    return path


def settings(steps: int, threads: int, **more: Any) -> dict[str, Any]:
    """A training of the default for ``steps`` steps of each stage, with nothing beside them.

    more: further settings by dotted name, with "__" for the dot
    """
    given = {
        "objective.share": 0.5, "objective.representation.fit": 500,
        "training.budget": f"{2 * steps}steps", "training.threads": threads,
        "training.checkpoint_every": "24h", "training.previews": 0, "training.evaluations": 0,
        "training.tensorboard": "false", "training.device": "cpu",
    } | {name.replace("__", "."): value for name, value in more.items()}  # fmt: skip
    return config.as_dict(api.complete(config.override(config.Config(), given)))


def shares() -> tuple[float, float]:
    """How the default shares its time out among its stages, at 32 px; the same for all sizes."""
    first, second = objectives.build(config.Config().objective).stages()
    return first.share, second.share


def memory() -> dict[str, float]:
    """MB that this process holds, and that it held at most."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    found = dict(line.split(":", 1) for line in lines)
    names = {"resident_mb": "VmRSS", "peak_mb": "VmHWM"}
    return {name: int(found[key].split()[0]) / 1024 for name, key in names.items()}


# -- trainings that take turns -----------------------------------------------------------------


class Turned(Trainer):
    """A trainer that holds after its warm-up and after every turn, until it is told to go on.

    In ``place`` it leaves ``hold-K.json`` with the seconds of its last turn, and waits for
    ``go-K``. Each stage has a warm-up and so many turns.
    """

    place: Path
    warm: ClassVar = 5
    turn: int
    holds: Iterator[int]
    spent = 0.0
    since = 0.0

    def _stop(self) -> str | None:
        """Called at the top of the loop: between two calls lies one whole step."""
        now, step = time.perf_counter(), self.at.stage_step
        if step > self.warm:
            self.spent += now - self.since
        if step >= self.warm and (step - self.warm) % self.turn == 0:
            self._hold()
        self.since = time.perf_counter()
        return super()._stop()

    def _hold(self) -> None:
        number = next(self.holds)
        if self.processes.first:
            told = {"seconds": self.spent, "stage": self.at.stage, **memory()}
            files.write_text(self.place / f"hold-{number}.json", json.dumps(told))
        self.spent = 0.0
        go, end = self.place / f"go-{number}", self.place / "end"
        while not go.exists():
            if end.exists():
                sys.exit(0)
            time.sleep(0.005)


def take_part(given: Mapping[str, Any]) -> None:
    """What a contestant's process does.

    given: ``place``, ``turn`` and the complete ``config``
    """
    chosen = config.parse(given["config"])
    objective = objectives.build(chosen.objective, chosen.objective_options)
    place = Path(given["place"])
    trainer = Turned(chosen, objective, open_data(chosen.data), place / "run")
    trainer.place, trainer.turn, trainer.holds = place, given["turn"], itertools.count()
    trainer.run()


@dataclass
class Contestant:
    """A training in processes of its own, held and released by files in its ``place``."""

    place: Path
    process: subprocess.Popen[bytes]
    number: int = 0

    def wait(self) -> dict[str, Any]:
        """What it left at its next hold."""
        path, until = self.place / f"hold-{self.number}.json", time.monotonic() + PATIENCE
        while not path.exists():
            if self.process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"a training did not reach its next hold: {self.place.name}")
            time.sleep(0.005)
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def go(self) -> None:
        """Lets it go on to its next hold."""
        (self.place / f"go-{self.number}").touch()
        self.number += 1


@contextmanager
def contestant(
    place: Path, chosen: Mapping[str, Any], turn: int, processes: int = 1
) -> Iterator[Contestant]:
    """A training that is about to warm up; it is ended at the end."""
    place.mkdir()
    given = {"place": str(place), "turn": turn, "config": chosen}
    (place / "given.json").write_text(json.dumps(given), encoding="utf-8")
    many = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(many if processes > 1 else [])]
    threads = str(chosen["training"]["threads"])
    process = subprocess.Popen(
        [*command, "-m", "benchmarks.growth", "--take-part", str(place / "given.json")],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "passive"},
        stdout=sys.stderr,
    )
    try:
        yield Contestant(place, process)
    finally:
        (place / "end").touch()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()


def race(contestants: Mapping[str, Contestant], rounds: int) -> dict[str, list[list[Any]]]:
    """By name, for each of the two stages what every turn took. They take turns, A B A B."""
    taken: dict[str, list[list[Any]]] = {name: [[], []] for name in contestants}
    for stage in range(2):
        if stage:
            for one in contestants.values():  # the next stage's preparation and warm-up
                one.go()
        for one in contestants.values():
            one.wait()
        for _ in range(rounds):
            for name, one in contestants.items():
                one.go()
                taken[name][stage].append(one.wait())
    return taken


def pace(turns: Sequence[Sequence[Mapping[str, Any]]], images: int) -> float:
    """Images a second over a run that is as long in each stage as the default's.

    turns: by stage; images: of a turn
    """
    medians = [statistics.median(turn["seconds"] for turn in stage) for stage in turns]
    return sum(share * images / seconds for share, seconds in zip(shares(), medians))


# -- the cells ---------------------------------------------------------------------------------


def numbers(given: Mapping[str, Any]) -> dict[str, Any]:
    """Trainings on several numbers of images."""
    turn, rounds = given["turn"], given["rounds"]
    steps = Turned.warm + rounds * turn
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder, contestants, seconds = Path(name), {}, {}
        for count in given["counts"]:
            path = synthetic(folder / f"{count}.npy", count, given["size"])
            chosen = settings(
                steps, given["threads"], data__path=str(path), data__cache=str(folder / "cache")
            )
            start = time.perf_counter()
            one = stack.enter_context(contestant(folder / str(count), chosen, turn))
            one.wait()  # one packs after the other
            seconds[str(count)] = round(time.perf_counter() - start, 2)
            contestants[str(count)] = one
        taken = race(contestants, rounds)
        batch = int(chosen["training"]["batch"])
    rates = {count: pace(turns, turn * batch) for count, turns in taken.items()}
    last = {count: turns[-1][-1] for count, turns in taken.items()}
    least, most = str(min(given["counts"])), str(max(given["counts"]))
    return {
        "flat": round(rates[least] / rates[most], 4),
        "memory": round(last[most]["resident_mb"] / last[least]["resident_mb"], 4),
        "seconds_per_image": {count: round(1 / rate, 7) for count, rate in rates.items()},
        "resident_mb": {count: round(one["resident_mb"], 1) for count, one in last.items()},
        "peak_mb": {count: round(one["peak_mb"], 1) for count, one in last.items()},
        "packed_and_warm_s": seconds,
    }


def processes(given: Mapping[str, Any]) -> dict[str, Any]:
    """Two processes of one thread against one of two."""
    turn, rounds = given["turn"], given["rounds"]
    steps = Turned.warm + rounds * turn
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        path = synthetic(folder / "images.npy", 2000, given["size"])
        shared = {"data__path": str(path), "data__cache": str(folder / "cache")}
        open_data(config.parse(settings(1, 1, **shared)).data)  # packed for both
        contestants = {
            label: stack.enter_context(
                contestant(folder / label, settings(steps, 2 // many, **shared), turn, many)
            )
            for label, many in (("one", 1), ("two", 2))
        }
        taken = race(contestants, rounds)
    batch = config.Config().training.batch
    rates = {label: pace(turns, turn * batch) for label, turns in taken.items()}
    stages = [
        statistics.median(a["seconds"] / b["seconds"] for a, b in zip(one, two))
        for one, two in zip(taken["one"], taken["two"])
    ]
    return {
        "ratio": round(rates["two"] / rates["one"], 4),
        "by_stage": [round(value, 4) for value in stages],
        "images_per_s": {label: round(rate, 1) for label, rate in rates.items()},
    }


class Timed(Trainer):
    """A trainer that notes what every step took, by stage."""

    since: float
    steps: dict[int, list[float]]

    def _stop(self) -> str | None:
        now = time.perf_counter()
        if self.at.stage_step:
            self.steps.setdefault(self.at.stage, []).append(now - self.since)
        self.since = time.perf_counter()
        return super()._stop()


def step(given: Mapping[str, Any]) -> dict[str, Any]:
    """Time and memory of a step for one size and width."""
    torch.set_num_threads(given["threads"])
    more = {"networks__width": given["width"], "training__batch": given["batch"]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = synthetic(folder / "images.npy", 128, given["size"], 3)
        shared = {"data__path": str(path), "data__cache": str(folder / "cache")}
        chosen = config.parse(settings(given["steps"], given["threads"], **shared, **more))
        data = open_data(chosen.data)
        objective = objectives.build(chosen.objective, chosen.objective_options)
        before, trainer = memory()["resident_mb"], Timed(chosen, objective, data, folder / "run")
        trainer.steps = {}
        trainer.run()
    medians = [statistics.median(taken[2:] or taken) for taken in trainer.steps.values()]
    per_image = sum(share * given["batch"] / s for share, s in zip(shares(), medians))
    return {
        "step_s": round(given["batch"] / per_image, 5),
        "step_s_by_stage": [round(value, 5) for value in medians],
        "memory_mb": round(memory()["peak_mb"] - before, 1),
        "parameters": sum(p.numel() for net in trainer.nets.values() for p in net.parameters()),
    }


def cell(given: Mapping[str, Any]) -> dict[str, Any]:
    """One of the measurements: ``numbers``, ``processes`` or a ``step``."""
    return {"numbers": numbers, "processes": processes, "step": step}[given["what"]](given)


# -- fits, and what follows on paper -----------------------------------------------------------


def power(x: Sequence[float], y: Sequence[float]) -> dict[str, float]:
    """The least-squares fit y = a·x^b in logarithms, and the largest factor a point is off by.

    Raises ValueError for fewer than two points or values that are not positive.
    """
    if len(x) < 2 or len(x) != len(y) or min(*x, *y) <= 0:
        raise ValueError(f"a power law needs two positive points or more, got {x} and {y}")
    slope, offset = np.polyfit(np.log(x), np.log(y), 1)
    off = np.abs(np.polyval([slope, offset], np.log(x)) - np.log(y)).max()
    return {
        "factor": float(np.exp(offset)),
        "exponent": round(float(slope), 3),
        "off_by": round(float(np.exp(off)), 3),
    }


@dataclass(frozen=True, kw_only=True)
class Links:
    """What connects processes that train together.

    bandwidth: bytes a second that one process sends, over the narrowest link of a ring
    latency: seconds a message takes from one to the next
    control: the same of the messages by which they agree, over TCP
    memory: bytes a second that a device copies
    """

    bandwidth: float
    latency: float
    control: float = 30e-6
    memory: float = 1e12


NVLINK = Links(bandwidth=200e9, latency=5e-6)
"""Eight GPUs of one machine."""
ETHERNET = Links(bandwidth=12.5e9, latency=25e-6)
"""Machines of eight, a link of 100 Gbit/s each, which all rings share."""


def together(n: int, step_s: float, moves: Sequence[int], links: Links) -> dict[str, float]:
    """n processes on paper, each with the batch it would have alone.

    A move's gradients, S bytes, are laid end to end, summed in a ring and laid back, after the
    backward pass and not during it: 2 (n − 1)/n · S/bandwidth + 2 (n − 1) latency + 6 S/memory.
    Before each step they agree on whether to stop, by a ring of small messages, 2 (n − 1) control,
    and follow the first one's progress, by a tree, ⌈log2 n⌉ control.

    step_s: seconds of a step alone
    moves: bytes of the gradients of each move of a step
    Returns the seconds of both, and ``efficiency``, the share of n times one's images a second.
    """
    if n < 2:
        return {"gradients_s": 0.0, "control_s": 0.0, "efficiency": 1.0}
    hops = 2 * (n - 1)
    gradients = sum(
        hops / n * size / links.bandwidth + hops * links.latency + 6 * size / links.memory
        for size in moves
    )
    control = (hops + math.ceil(math.log2(n))) * links.control
    return {
        "gradients_s": gradients,
        "control_s": control,
        "efficiency": step_s / (step_s + gradients + control),
    }


def bytes_of_moves(size: int) -> list[list[int]]:
    """Bytes of the gradients of each move of the default's two stages, for RGB images."""
    chosen = config.Config().networks
    latent = zoo.latent({}, chosen, (3, size, size))
    shape = Shape(channels=3, height=size, width=size, latent=latent)
    count = {
        role: 4 * sum(p.numel() for p in zoo.build(role, chosen, shape).parameters())
        for role in ("encoder", "decoder", "generator", "discriminator")
    }
    return [[count["encoder"] + count["decoder"]], [count["discriminator"], count["generator"]]]


def paper(size: int = 64) -> dict[str, Any]:
    """8 and 64 GPUs for several times of a step alone, in the adversarial stage."""
    moves = bytes_of_moves(size)[1]
    table = []
    for step_s in (0.005, 0.02, 0.1):
        for n, links in ((8, NVLINK), (64, ETHERNET)):
            found = together(n, step_s, moves, links)
            table.append(
                {"step_s": step_s, "gpus": n} | {k: round(v, 5) for k, v in found.items()}
            )
    return {"size": size, "bytes_of_moves": moves, "table": table}


# -- the result --------------------------------------------------------------------------------


def cells(quick: bool, threads: int, largest: int) -> dict[str, Cell]:
    """The race's cells by name."""
    counts = [count for count in COUNTS if count <= largest]
    turns = {"turn": 4, "rounds": 1} if quick else {"turn": 20, "rounds": 7}

    def one(name: str, **given: Any) -> Cell:
        return Cell("growth", name, {"threads": threads} | given)

    found = {
        "numbers": one("numbers", what="numbers", counts=counts, size=32, **turns),
        "processes": one("processes", what="processes", size=32, **turns),
    }
    common = {"what": "step", "batch": 8 if quick else 32, "steps": 3 if quick else 8}
    sizes, widths = (SIZES[:2], WIDTHS[:2]) if quick else (SIZES, WIDTHS)
    steps = {f"size {size}": (size, 32) for size in sizes}
    steps |= {f"width {width}": (32, width) for width in widths}
    for name, (size, width) in steps.items():
        found[name] = one(f"step-{size}-{width}", size=size, width=width, **common)
    return found


def fits(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Time and memory of a step against size and width: the points and their power laws."""
    result = {}
    for what in ("size", "width"):
        points = {
            int(name.split()[1]): one for name, one in found.items() if name.startswith(what)
        }
        lines: dict[str, Any] = {str(x): dict(_measured(one)) for x, one in points.items()}
        laws = {
            key: power(list(points), [one[key] for one in points.values()])
            for key in ("step_s", "memory_mb")
        }
        result[what] = {"points": lines, **laws}
    return result


def _measured(one: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((key, one[key]) for key in ("step_s", "step_s_by_stage", "memory_mb", "parameters"))


def draw(grown: Mapping[str, Any], path: Path) -> None:
    """Time and memory of a step against size and width, with their power laws."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    for row, what in zip(figure.subplots(2, 2), ("size", "width")):
        points = grown[what]["points"]
        x = np.array([int(name) for name in points], float)
        for axes, key in zip(row, ("step_s", "memory_mb")):
            law = grown[what][key]
            axes.loglog(x, [one[key] for one in points.values()], "o")
            label = f"{law['factor']:.3g} · {what}^{law['exponent']:.2f}"
            axes.loglog(x, law["factor"] * x ** law["exponent"], label=label)
            axes.set_xlabel("side in pixels" if what == "size" else "width of the networks")
            axes.set_ylabel("seconds a step" if key == "step_s" else "MB beside the program")
            axes.set_xticks(x, [f"{value:.0f}" for value in x], minor=False)
            axes.minorticks_off()
            axes.grid(alpha=0.25)
            axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def summary(found: Mapping[str, Mapping[str, Any]], threads: int) -> dict[str, Any]:
    """The race's result from its cells' results by name."""
    many, two = found["numbers"], found["processes"]
    most = max(map(int, many["seconds_per_image"]))
    goals = [
        {"what": "images a second of two processes, of one process with two threads",
         "measured": two["ratio"], "goal": TWO, "better": "higher"},
        {"what": f"seconds per image of {most:,} images, of 1,000 images'",
         "measured": many["flat"], "goal": FLAT, "better": "lower"},
        {"what": f"resident memory with {most:,} images, of that with 1,000",
         "measured": many["memory"], "goal": MEMORY, "better": "lower"},
    ]  # fmt: skip
    aside = {"settings", "label", "machine", "load", "wall_s"}
    return {
        "name": "growth",
        "ratio": two["ratio"],
        "goal": TWO,
        "flat": many["flat"],
        "goals": goals,
        "images": {key: value for key, value in many.items() if key not in aside},
        "processes": {key: value for key, value in two.items() if key not in aside},
        "step": fits(found),
        "paper": paper(),
        "threads": threads,
        "machine": machine(),
        "minutes": round(
            sum({one["label"]: one["wall_s"] for one in found.values()}.values()) / 60, 1
        ),
    }


def main() -> int:
    """Prints and keeps the result; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--largest", type=int, default=COUNTS[-1], help="number of images")
    parser.add_argument("--quick", action="store_true", help="seconds: shows that it runs")
    parser.add_argument("--take-part", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.take_part:
        take_part(json.loads(args.take_part.read_text(encoding="utf-8")))
        return 0
    grid = cells(args.quick, args.threads, 10_000 if args.quick else args.largest)
    folder = Path(tempfile.mkdtemp()) if args.quick else RESULTS
    once = {one.label: one for one in grid.values()}  # one of the steps is of both series
    results = dict(zip(once, measure(list(once.values()), folder)))
    result = summary({name: results[one.label] for name, one in grid.items()}, args.threads)
    if not args.quick:
        draw(result["step"], PICTURES / "growth.png")
    finish(result, args.quick)
    return int(not args.quick and any(map(missed, result["goals"])))


if __name__ == "__main__":
    sys.exit(main())
