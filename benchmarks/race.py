"""What every race is made of: options, goals, a result, its section of the page, one ``main``.

A module of this package with a ``RACE`` is a command, ``python -m benchmarks NAME``.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import RESULTS, machine
from benchmarks.sections import CONDITIONS, Pictures

Args = argparse.Namespace
Result = Mapping[str, Any]
"""JSON-able, with ``name``, ``ratio``, its ``goal`` and, where there are several, ``goals``."""
HELP = {
    "--budget": "time of each training", "--samples": "generated, and held-out ones beside them",
    "--threads": "of each process", "--set": "a setting: training.batch=16",
    "--size": "of images, in pixels",
}  # fmt: skip
"""Of options that several races have."""


@dataclass(frozen=True, kw_only=True)
class Race:
    """A benchmark.

    name: of its module and of its result
    measure: makes the result, by the options' values; ``kept`` among them is the folder where
        results are kept, None if nothing is to be
    options: by name, a default (a list: the option may be given several times), or what
        ``add_argument`` takes
    quick: what ``--quick`` puts in place of options; None: there is no such option
    figure, better: what the ratio is, and which is better, "higher" or "lower", where results
        have no ``goals``
    title, section: of the page: what stands below the title, as Markdown; None: no section
    kept: whether its result is
    """

    name: str
    measure: Callable[[Args], Result]
    options: Mapping[str, Any]
    quick: Mapping[str, Any] | None = None
    figure: str = ""
    better: str = "higher"
    title: str = ""
    section: Callable[[Result, Pictures], str] | None = None
    kept: bool = True

    def goals(self, result: Result) -> Sequence[Result]:
        """What was measured beside what was to be reached."""
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
    """The values of the options on the command line.

    text: begins with what ``--help`` says of the race
    """
    parser = argparse.ArgumentParser(description=(text or "").partition("\n")[0])
    parser.set_defaults(quick=False)
    for name, given in race.options.items():
        if isinstance(given, list):
            given = {"default": given, "action": "append"}
        elif not isinstance(given, Mapping):
            given = {"default": given, "type": type(given)}
        parser.add_argument(name, **{"help": HELP.get(name)} | given)
    if race.quick is not None:
        parser.add_argument("--quick", action="store_true", help="only shows that it runs")
    args = parser.parse_args()
    args.kept = None if args.quick or not race.kept else RESULTS
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
    if args.kept is not None:
        keep(result, args.kept / f"{race.name}.json")
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
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
