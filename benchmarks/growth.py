"""How time and memory grow with the number and size of images, processes, and width.

``python -m benchmarks growth``: seconds an image and resident MB for 1,000 to 1,000,000 images,
images a second of two processes over one's, seconds and MB of a step by size and width.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count, product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks import ROOT, ours
from benchmarks.data import synthetic
from benchmarks.race import Args, Cell, Race, Result, bare, by_name, goal, minutes
from benchmarks.sections import Pictures, shown, table
from benchmarks.timing import Watch, memory
from ganvae import config as configuration
from ganvae import files
from ganvae.training.trainer import Trainer

TWO, FLAT, MEMORY = 0.9, 1.05, 1.1
COUNTS = (1_000, 10_000, 100_000, 1_000_000)
SIZES, WIDTHS = (32, 64, 128, 256), (16, 32, 64, 128)
WARM = 5
"""Steps of a stage before anything counts."""
PATIENCE = 900.0
"""Seconds that a process may take from one hold to the next."""


class Holder:
    """Pauses a training after its warm-up and after every turn.

    It writes ``hold-K.json`` with the seconds of the last turn into ``place``, and waits for the
    file ``go-K``. Each stage has a warm-up and then turns.
    """

    def __init__(self, place: Path, turn: int):
        self.place, self.turn, self.holds, self.spent = place, turn, count(), 0.0

    def __call__(self, trainer: Trainer, watch: Watch) -> None:
        """After a step."""
        step = trainer.at.stage_step - WARM
        if step > 0:
            self.spent += watch.wall
        if step < 0 or step % self.turn:
            return
        number = next(self.holds)
        if trainer.processes.first:
            record = {"seconds": self.spent, "stage": trainer.at.stage, **memory()}
            files.write_text(self.place / f"hold-{number}.json", json.dumps(record))
        self.spent = 0.0
        while not (self.place / f"go-{number}").exists():
            if (self.place / "end").exists():
                sys.exit(0)
            time.sleep(0.005)


@dataclass
class Contestant:
    """A training in processes of its own, held and released by files in its ``place``."""

    place: Path
    process: subprocess.Popen[bytes]
    number: int = 0

    def wait(self) -> dict[str, Any]:
        """Waits for its next hold, and returns what it wrote there."""
        path, until = self.place / f"hold-{self.number}.json", time.monotonic() + PATIENCE
        while not path.exists():
            if self.process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"a training did not reach its next hold: {self.place.name}")
            time.sleep(0.005)
        return json.loads(path.read_text(encoding="utf-8"))

    def go(self) -> None:
        """Lets it go on to its next hold."""
        (self.place / f"go-{self.number}").touch()
        self.number += 1


@contextmanager
def contestant(
    place: Path, config: configuration.Config, turn: int, processes: int = 1
) -> Iterator[Contestant]:
    """A training that is about to warm up; it is ended at the end."""
    place.mkdir()
    about = {"place": str(place), "turn": turn, "config": configuration.as_dict(config)}
    file = place / "given.json"
    file.write_text(json.dumps(["growth", {"what": "take part", **about}]), encoding="utf-8")
    many = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(many if processes > 1 else []), "-m", "benchmarks.race"]
    own = {"OMP_NUM_THREADS": str(config.training.threads), "OMP_WAIT_POLICY": "passive"}
    process = subprocess.Popen(
        [*command, file, place / "result.json"], cwd=ROOT, env=os.environ | own, stdout=sys.stderr
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


def take_part(settings: Mapping[str, Any], _: Path) -> dict[str, Any]:
    """The training of a contestant's process; settings: ``place``, ``turn``, ``config``."""
    place = Path(settings["place"])
    holder = ours.Timed(Holder(place, settings["turn"]))
    ours.trainer(configuration.parse(settings["config"]), place / "run", holder).run()
    return {}


def race(contestants: Mapping[str, Contestant], rounds: int) -> dict[str, list[list[Any]]]:
    """By name, the records of every turn in each of the two stages; turns alternate, A B A B."""
    records: dict[str, list[list[Any]]] = {name: [[], []] for name in contestants}
    for stage in range(2):
        if stage:
            for one in contestants.values():  # the next stage's preparation and warm-up
                one.go()
        for one in contestants.values():
            one.wait()
        for _ in range(rounds):
            for name, one in contestants.items():
                one.go()
                records[name][stage].append(one.wait())
    return records


def pace(turns: Sequence[Sequence[Mapping[str, Any]]], images: int) -> float:
    """Images a second of a run whose stages have the default's shares of time.

    turns: by stage, with the ``seconds`` of each, of which the median counts
    images: of a turn
    """
    seconds = [median(turn["seconds"] for turn in stage) for stage in turns]
    return sum(part * images / s for part, s in zip(ours.shares().values(), seconds))


def raced(
    settings: Mapping[str, Any],
    folder: Path,
    entries: Mapping[str, tuple[Path, int]],
    threads: int,
) -> tuple[dict[str, list[list[Any]]], dict[str, float], dict[str, float]]:
    """The records of every turn, images a second, and seconds to the first hold, by contestant.

    entries: images and number of processes of each contestant, which have ``threads`` together
    """
    contestants, seconds, turn = {}, {}, settings["turn"]
    with ExitStack() as stack:
        for name, (path, processes) in entries.items():
            config = set_up(WARM + settings["rounds"] * turn, threads // processes, path)
            one = stack.enter_context(contestant(folder / name, config, turn, processes))
            seconds[name] = round(Watch.of(one.wait).wall, 2)  # one packs after the other
            contestants[name] = one
        records = race(contestants, settings["rounds"])
    images = turn * configuration.Config().training.batch
    return records, {name: pace(turns, images) for name, turns in records.items()}, seconds


def numbers(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Trainings on several numbers of images."""
    entries = {}
    for n in settings["counts"]:
        entries[str(n)] = synthetic(folder / f"{n}.npy", n, settings["size"]), 1
    records, rates, seconds = raced(settings, folder, entries, settings["threads"])
    last = {n: turns[-1][-1] for n, turns in records.items()}
    least, most = str(min(settings["counts"])), str(max(settings["counts"]))
    return {
        "flat": round(rates[least] / rates[most], 4),
        "memory": round(last[most]["resident_mb"] / last[least]["resident_mb"], 4),
        "seconds_per_image": {n: round(1 / rate, 7) for n, rate in rates.items()},
        "resident_mb": {n: round(one["resident_mb"], 1) for n, one in last.items()},
        "peak_mb": {n: round(one["peak_mb"], 1) for n, one in last.items()},
        "packed_and_warm_s": seconds,
    }


def processes(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Two processes of one thread against one of two."""
    path = synthetic(folder / "images.npy", 2000, settings["size"])
    records, rates, _ = raced(settings, folder, {"one": (path, 1), "two": (path, 2)}, 2)
    by_stage = [
        median(a["seconds"] / b["seconds"] for a, b in zip(one, two))
        for one, two in zip(records["one"], records["two"])
    ]
    return {
        "ratio": round(rates["two"] / rates["one"], 4),
        "by_stage": [round(value, 4) for value in by_stage],
        "images_per_s": {label: round(rate, 1) for label, rate in rates.items()},
    }


def set_up(steps: int, threads: int, path: Path, **more: Any) -> configuration.Config:
    """The settings of a training on a file of images, packed beside it."""
    cache = str(path.parent / "cache")
    return ours.stages(steps, threads, data__path=str(path), data__cache=cache, **more)


def step(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Time and memory of a step for one size and width."""
    torch.set_num_threads(settings["threads"])
    path = synthetic(folder / "images.npy", 128, settings["size"], 3)
    more = {"networks__width": settings["width"], "training__batch": settings["batch"]}
    steps: dict[int, list[float]] = {}

    def note(trainer: Trainer, watch: Watch) -> None:
        steps.setdefault(trainer.at.stage, []).append(watch.wall)

    config = set_up(settings["steps"], settings["threads"], path, **more)
    trainer = ours.trainer(config, folder / "run", ours.Timed(note))
    before = memory()["resident_mb"]
    trainer.run()
    nets = trainer.learner.nets.values()
    by_stage = [median(seconds[2:] or seconds) for seconds in steps.values()]
    images_per_s = pace([[{"seconds": s}] for s in by_stage], settings["batch"])
    return {
        "step_s": round(settings["batch"] / images_per_s, 5),
        "step_s_by_stage": [round(value, 5) for value in by_stage],
        "memory_mb": round(memory()["peak_mb"] - before, 1),
        "parameters": sum(p.numel() for net in nets for p in net.parameters()),
    }


def cell(settings: Mapping[str, Any]) -> dict[str, Any]:
    """One measurement: ``what`` is "numbers", "processes", "step", or "take part" in one."""
    what = {"numbers": numbers, "processes": processes, "step": step, "take part": take_part}
    with tempfile.TemporaryDirectory() as folder:
        return what[settings["what"]](settings, Path(folder))


def power(x: Sequence[float], y: Sequence[float]) -> dict[str, float]:
    """The least-squares fit y = a·x^b in logarithms, and the largest factor a point is off by.

    Raises ValueError for fewer than two points or values that are not positive.
    """
    if len(x) < 2 or len(x) != len(y) or min(*x, *y) <= 0:
        raise ValueError(f"a power law needs two positive points or more, got {x} and {y}")
    slope, offset = np.polyfit(np.log(x), np.log(y), 1)
    off = np.exp(np.abs(np.polyval([slope, offset], np.log(x)) - np.log(y)).max())
    law = {"factor": np.exp(offset), "exponent": round(slope, 3), "off_by": round(off, 3)}
    return {name: float(value) for name, value in law.items()}


def fits(results: Mapping[str, Result]) -> dict[str, Any]:
    """Time and memory of a step against size and width: the points and their power laws."""
    grown: dict[str, Any] = {}
    keys = ("step_s", "step_s_by_stage", "memory_mb", "parameters")
    for what in ("size", "width"):
        by_x = {int(n.split()[1]): one for n, one in results.items() if n.startswith(what)}
        grown[what] = {"points": {str(x): {k: one[k] for k in keys} for x, one in by_x.items()}}
        for key in ("step_s", "memory_mb"):
            grown[what][key] = power(list(by_x), [one[key] for one in by_x.values()])
    return grown


def draw(grown: Mapping[str, Any], path: Path) -> None:
    """Time and memory of a step against size and width, with their power laws."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    y_labels = {"step_s": "seconds a step", "memory_mb": "MB beside the program"}
    x_labels = {"size": "side in pixels", "width": "width of the networks"}
    for axes, (what, key) in zip(figure.subplots(2, 2).flat, product(x_labels, y_labels)):
        points, law = grown[what]["points"], grown[what][key]
        x = np.array([int(name) for name in points], float)
        axes.loglog(x, [one[key] for one in points.values()], "o")
        label = f"{law['factor']:.3g} · {what}^{law['exponent']:.2f}"
        axes.loglog(x, law["factor"] * x ** law["exponent"], label=label)
        axes.set(xlabel=x_labels[what], ylabel=y_labels[key])
        axes.set_xticks(x, [f"{value:.0f}" for value in x], minor=False)
        axes.minorticks_off()
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def cells(quick: bool, threads: int, largest: int) -> dict[str, Cell]:
    """The race's cells by name."""

    def one(label: str, **settings: Any) -> Cell:
        return Cell("growth", label, {"threads": threads} | settings)

    counts = [n for n in COUNTS if n <= largest]
    turns = {"turn": 4, "rounds": 1} if quick else {"turn": 20, "rounds": 7}
    grid = {
        "numbers": one("numbers", what="numbers", counts=counts, size=32, **turns),
        "processes": one("processes", what="processes", size=32, **turns),
    }
    common = {"what": "step", "batch": 8 if quick else 32, "steps": 3 if quick else 8}
    for size in SIZES[: 2 if quick else None]:
        grid[f"size {size}"] = one(f"step-{size}-32", size=size, width=32, **common)
    for width in WIDTHS[: 2 if quick else None]:
        grid[f"width {width}"] = one(f"step-32-{width}", size=32, width=width, **common)
    return grid


def summary(results: Mapping[str, Result], threads: int) -> dict[str, Any]:
    """The race's result from its cells' results by name."""
    many, two = results["numbers"], results["processes"]
    most = f"{max(map(int, many['seconds_per_image'])):,} images"
    goals = [
        goal(
            "images a second of two processes, of one process with two threads", two["ratio"], TWO
        ),
        goal(f"seconds per image of {most}, of 1,000 images'", many["flat"], FLAT, "lower"),
        goal(f"resident memory with {most}, of that with 1,000", many["memory"], MEMORY, "lower"),
    ]
    return {
        "name": "growth", "ratio": two["ratio"], "goal": TWO, "flat": many["flat"],
        "goals": goals, "images": bare(many), "processes": bare(two),
        "step": fits(results), "threads": threads,
        "minutes": minutes({one["label"]: one for one in results.values()}.values()),
    }  # fmt: skip


def measure(args: Args) -> Result:
    """All cells, and a picture of the power laws."""
    results = by_name(cells(args.quick, args.threads, args.largest), args.results)
    result = summary(results, args.threads)
    if args.results:
        draw(result["step"], args.results / "pictures" / "growth.png")
    return result


def section(result: Result, pictures: Pictures) -> str:
    """The exponents of the power laws, and their picture."""
    laws = {what: (law["step_s"], law["memory_mb"]) for what, law in result["step"].items()}
    rows = [[what, *(shown(law["exponent"]) for law in both)] for what, both in laws.items()]
    text = "Exponents of time and memory of a step:\n\n"
    text += table(["against", "time", "memory"], rows) + "\n"
    return text + pictures.copy("growth", "The points and their power laws:")


RACE = Race(
    measure=measure, quick={"largest": 10_000}, section=section,
    options={
        "--threads": torch.get_num_threads(), "--largest": (COUNTS[-1], "number of images"),
    },
)  # fmt: skip
