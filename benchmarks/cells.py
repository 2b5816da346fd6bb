"""A race is a grid of cells, each a process of its own and kept as JSON; lists what is kept.

A race that is interrupted goes on where it stopped: a cell that was measured with the same
settings, on the same machine and with the same torch is read from
``results/RACE/LABEL-DIGEST.json``. Delete the file to measure it again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks import RESULTS, machine, record

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Cell:
    """One measurement of a race.

    race: a module of this package with ``cell(settings)``, which returns what is kept
    label: what it is called, and its file begins with
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


def finish(result: Mapping[str, Any], quick: bool) -> None:
    """Prints the result, and keeps it unless it only shows that the race runs."""
    if quick:
        print(json.dumps(result, allow_nan=False), flush=True)
    else:
        record(result)


def missed(goal: Mapping[str, Any]) -> bool:
    """Whether a figure is on the wrong side of its goal, or was never reached.

    goal: ``what``, ``measured`` (None: never reached), ``goal`` and ``better``, which of "higher"
        and "lower" is; a result may hold a list of them as ``goals``, which the page shows
    """
    sign = 1 if goal["better"] == "higher" else -1
    return goal["measured"] is None or sign * goal["measured"] < sign * goal["goal"]


def measure(cells: Sequence[Cell], folder: Path | None = RESULTS) -> list[dict[str, Any]]:
    """The kept results of all cells in their order, those that are missing measured first.

    A result is what the race's ``cell`` returned, with ``label``, ``settings``, ``machine``,
    ``wall_s`` and the ``load`` of the machine before and after. Progress goes to stderr. Raises
    SystemExit at the end where cells failed; what the others gave is kept.

    folder: None: quickly, in this process, which saves loading torch, and nothing is kept
    """
    if folder is None:
        return [_here(cell) for cell in cells]
    missing = [cell for cell in cells if not cell.path(folder).exists()]
    failed = []
    for number, cell in enumerate(missing, 1):
        print(f"[{number}/{len(missing)}] {cell.race}: {cell.label}", file=sys.stderr, flush=True)
        if not _measured(cell, folder):
            failed.append(cell.label)
    if failed:
        raise SystemExit(f"{len(failed)} of {len(cells)} cells failed: {', '.join(failed)}")
    return [json.loads(cell.path(folder).read_text(encoding="utf-8")) for cell in cells]


def _measured(cell: Cell, folder: Path) -> bool:
    """Runs a cell in a new process and keeps what it gave, whole or not at all."""
    path = cell.path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".tmp-{path.name}")
    threads = str(cell.settings.get("threads") or os.cpu_count() or 1)
    given = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads)
    command = [sys.executable, "-m", "benchmarks.cells", "--run", str(draft)]
    load, start = os.getloadavg()[0], time.perf_counter()
    with _killed_with_us():
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | given | {"OMP_WAIT_POLICY": "passive"},
            input=json.dumps({"race": cell.race, "settings": cell.settings}),
            stdout=sys.stderr,
            text=True,
        )
    if done.returncode:
        return False
    found = json.loads(draft.read_text(encoding="utf-8")) | _about(cell, load, start)
    draft.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", "utf-8")
    os.replace(draft, path)
    return True


def _here(cell: Cell) -> dict[str, Any]:
    print(f"{cell.race}: {cell.label}", file=sys.stderr, flush=True)
    load, start = os.getloadavg()[0], time.perf_counter()
    found = _called(cell.race, json.loads(json.dumps(cell.settings)))
    return found | _about(cell, load, start)


def _about(cell: Cell, load: float, start: float) -> dict[str, Any]:
    return {
        "label": cell.label,
        "settings": cell.settings,
        "machine": machine(),
        "wall_s": round(time.perf_counter() - start, 1),
        "load": [round(load, 1), round(os.getloadavg()[0], 1)],
    }


@contextmanager
def _killed_with_us() -> Iterator[None]:
    """SIGTERM ends this process as an exception, by which ``subprocess`` kills the cell, too."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(draft: Path) -> None:
    """The cell that stdin describes, in this process."""
    asked = json.load(sys.stdin)
    found = _called(asked["race"], asked["settings"])
    draft.write_text(json.dumps(found, allow_nan=False), encoding="utf-8")


def _called(race: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = import_module(f"benchmarks.{race}").cell(settings)
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("race", nargs="?", default="*", help="default: all of them")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.run:
        return _run(chosen.run)
    for path in sorted(RESULTS.glob(f"{chosen.race}/[!.]*.json")):
        kept = json.loads(path.read_text(encoding="utf-8"))
        print(path.relative_to(RESULTS), f"{kept['wall_s']:.0f} s", sep="\t")


if __name__ == "__main__":
    main()
