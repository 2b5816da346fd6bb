"""The parts of every race: options, goals, cells, a result, a section of the page.

A module of this package with a ``RACE`` is a command, ``python -m benchmarks NAME``.

Many a race is a grid of cells, each a process of its own and kept as JSON, so that one that is
interrupted goes on where it stopped: a cell that was measured with the same settings, on the same
machine and with the same torch is read from ``results/RACE/LABEL-DIGEST.json``. Delete the file
to measure it again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import RESULTS, ROOT, command_line, machine
from benchmarks.sections import CONDITIONS, Pictures
from ganvae import files

K = TypeVar("K")
ABOUT = ("label", "settings", "machine")
"""Keys of a result about its cell, beside ``wall_s`` and the ``load`` before and after."""
Args = argparse.Namespace
Result = Mapping[str, Any]
"""JSON-able, with ``name``, ``ratio``, its ``goal`` and, where there are several, ``goals``."""


@dataclass(frozen=True, kw_only=True)
class Race:
    """A benchmark, called as its module is.

    measure: makes the result from the options' values; ``results`` among them is the folder that
        results are written to, None if none are
    options: as :func:`benchmarks.command_line` takes them
    quick: what ``--quick`` puts in place of options; None: there is no such option
    figure, better: what the ratio is, and which is better, "higher" or "lower", where results
        have no ``goals``
    title, section: of the page: what stands below the title, as Markdown; None: no section
    kept: whether its result is written
    """

    measure: Callable[[Args], Result]
    options: Mapping[str, Any]
    quick: Mapping[str, Any] | None = None
    figure: str = ""
    better: str = "higher"
    title: str = ""
    section: Callable[[Result, Pictures], str] | None = None
    kept: bool = True

    @property
    def name(self) -> str:
        """Of its module and of its result."""
        return self.measure.__module__.rpartition(".")[2]

    def goals(self, result: Result) -> Sequence[Result]:
        """The goals with what was measured."""
        if "goals" in result or "goal" not in result:
            return list(result.get("goals", ()))
        return [goal(self.figure, result["ratio"], result["goal"], self.better)]


def goal(what: str, measured: float | None, to_reach: float, better: str = "higher") -> Result:
    """A figure (None: it was never reached) with its goal, as results hold it."""
    return {"what": what, "measured": measured, "goal": to_reach, "better": better}


def missed(goal: Result) -> bool:
    """Whether a figure is on the wrong side of its goal, or was never reached."""
    sign = 1 if goal["better"] == "higher" else -1
    return goal["measured"] is None or sign * goal["measured"] < sign * goal["goal"]


def asked(race: Race, text: str | None) -> Args:
    """The values of a race's options; ``text`` begins with what ``--help`` says of it."""
    quick = {"--quick": {"action": "store_true", "help": "only shows that it runs"}}
    args = command_line(text, {**race.options, **(quick if race.quick is not None else {})})
    args.quick = race.quick is not None and args.quick
    args.results = None if args.quick or not race.kept else RESULTS
    vars(args).update(race.quick if race.quick and args.quick else {})
    return args


def run(race: Race, text: str | None) -> int:
    """Runs a race by its command line, prints and keeps its result; 1 where a goal is missed."""
    args = asked(race, text)
    around = {name: value for name, value in vars(args).items() if name in CONDITIONS}
    around |= {"machine": machine(), "load": round(os.getloadavg()[0], 1)}
    result = {"name": race.name, **race.measure(args)}
    result |= {name: value for name, value in around.items() if name not in result}
    print(json.dumps(result, allow_nan=False), flush=True)
    if args.results is not None:
        keep(result, args.results / f"{race.name}.json")
    if getattr(args, "json", None):
        keep(result, args.json)
    return int(not args.quick and any(map(missed, race.goals(result))))


def known(name: str) -> dict[str, Any]:
    """The kept result of a race; empty if there is none."""
    file = RESULTS / f"{name}.json"
    result: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    return result


def keep(result: Result, path: Path) -> None:
    """Writes a result as JSON."""
    files.write_text(path, json.dumps(result, indent=1, allow_nan=False) + "\n")


@dataclass(frozen=True)
class Cell:
    """One measurement of a race.

    race: a module of this package with ``cell(settings)``, which returns the result
    label: its name, and the beginning of its file's
    settings: everything that decides the result, JSON-able; ``threads`` are the process's
    """

    race: str
    label: str
    settings: Mapping[str, Any]

    def path(self, folder: Path) -> Path:
        """Where its result is kept below ``folder``."""
        decisive = json.dumps([self.settings, machine()], sort_keys=True)
        digest = hashlib.sha256(decisive.encode()).hexdigest()[:12]
        return folder / self.race / f"{self.label}-{digest}.json"


def by_name(cells: Mapping[K, Cell], folder: Path | None) -> dict[K, dict[str, Any]]:
    """:func:`measure` for cells by any name; one that has two names is measured once."""
    once = {cell.path(Path()): cell for cell in cells.values()}
    results = dict(zip(once, measure(list(once.values()), folder)))
    return {name: results[cell.path(Path())] for name, cell in cells.items()}


def measure(cells: Sequence[Cell], folder: Path | None = RESULTS) -> list[dict[str, Any]]:
    """The kept results of all cells in their order, those that are missing measured first.

    A result is what the race's ``cell`` returned, with :data:`ABOUT`, ``wall_s`` and ``load``.
    Progress goes to stderr. Raises SystemExit at the end where cells failed; what the others gave
    is kept.

    folder: None: quickly, in this process, which saves loading torch, and nothing is kept
    """
    missing = [cell for cell in cells if folder is None or not cell.path(folder).exists()]
    results, failed = [], []
    for number, cell in enumerate(missing, 1):
        print(f"[{number}/{len(missing)}] {cell.race}: {cell.label}", file=sys.stderr, flush=True)
        load, start = os.getloadavg()[0], time.perf_counter()
        result = (
            _apart(cell) if folder else _called(cell.race, json.loads(json.dumps(cell.settings)))
        )
        if result is None:
            failed.append(cell.label)
            continue
        result |= {"label": cell.label, "settings": cell.settings, "machine": machine()}
        result["wall_s"] = round(time.perf_counter() - start, 1)
        result["load"] = [round(load, 1), round(os.getloadavg()[0], 1)]
        results.append(result)
        if folder is not None:
            keep(result, cell.path(folder))
    if failed:
        raise SystemExit(f"{len(failed)} of {len(cells)} cells failed: {', '.join(failed)}")
    if folder is None:
        return results
    return [json.loads(cell.path(folder).read_text(encoding="utf-8")) for cell in cells]


def bare(result: Mapping[str, Any]) -> dict[str, Any]:
    """A cell's result without :data:`ABOUT`."""
    return {k: v for k, v in result.items() if k not in ABOUT}


def minutes(results: Iterable[Mapping[str, Any]]) -> float:
    """How long some cells took together."""
    return round(sum(one["wall_s"] for one in results) / 60, 1)


def _apart(cell: Cell) -> dict[str, Any] | None:
    """A cell's result from a new process, which a SIGTERM of this one kills, too."""
    threads = str(cell.settings.get("threads") or os.cpu_count() or 1)
    own = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as folder:
        file, draft = Path(folder, "given.json"), Path(folder, "result.json")
        file.write_text(json.dumps([cell.race, cell.settings]), encoding="utf-8")
        try:
            process = subprocess.run(
                [sys.executable, "-m", "benchmarks.race", file, draft], cwd=ROOT,
                env=os.environ | own | {"OMP_WAIT_POLICY": "passive"}, stdout=sys.stderr,
            )  # fmt: skip
        finally:
            signal.signal(signal.SIGTERM, before)
        return None if process.returncode else json.loads(draft.read_text(encoding="utf-8"))


def _called(race: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    return import_module(f"benchmarks.{race}").cell(settings)


if __name__ == "__main__":  # reads a race and settings from one file, writes to another
    file, draft = map(Path, sys.argv[1:])
    draft.write_text(json.dumps(_called(*json.loads(file.read_text("utf-8"))), allow_nan=False))
