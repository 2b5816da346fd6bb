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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import RESULTS, ROOT, machine

K = TypeVar("K")
ABOUT = ("label", "settings", "machine")
"""What a result says of its cell, beside ``wall_s`` and the ``load`` before and after."""


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
        if folder is None:
            made = _called(cell.race, json.loads(json.dumps(cell.settings)))
        else:
            draft = cell.path(folder).with_name(f".tmp-{cell.path(folder).name}")
            if not _run_apart(cell, draft):
                failed.append(cell.label)
                continue
            made = json.loads(draft.read_text(encoding="utf-8"))
        made |= {"label": cell.label, "settings": cell.settings, "machine": machine()}
        made["wall_s"] = round(time.perf_counter() - start, 1)
        made["load"] = [round(load, 1), round(os.getloadavg()[0], 1)]
        results.append(made)
        if folder is not None:
            draft.write_text(json.dumps(made, indent=1, allow_nan=False) + "\n", "utf-8")
            os.replace(draft, cell.path(folder))
    if failed:
        raise SystemExit(f"{len(failed)} of {len(cells)} cells failed: {', '.join(failed)}")
    if folder is None:
        return results
    return [json.loads(cell.path(folder).read_text(encoding="utf-8")) for cell in cells]


def bare(result: Mapping[str, Any]) -> dict[str, Any]:
    """A cell's result without what is known of the cell."""
    return {k: v for k, v in result.items() if k not in ABOUT}


def minutes(results: Iterable[Mapping[str, Any]]) -> float:
    """How long some cells took in all."""
    return round(sum(one["wall_s"] for one in results) / 60, 1)


def _run_apart(cell: Cell, draft: Path) -> bool:
    """Whether a new process could write what the cell gave to ``draft``."""
    draft.parent.mkdir(parents=True, exist_ok=True)
    threads = str(cell.settings.get("threads") or os.cpu_count() or 1)
    given = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads)
    with _killed_with_us():
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.cells", "--run", str(draft)],
            cwd=ROOT,
            env=os.environ | given | {"OMP_WAIT_POLICY": "passive"},
            input=json.dumps({"race": cell.race, "settings": cell.settings}),
            stdout=sys.stderr,
            text=True,
        )
    return not done.returncode


@contextmanager
def _killed_with_us() -> Iterator[None]:
    """SIGTERM ends this process as an exception, by which ``subprocess`` kills the cell, too."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _called(race: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = import_module(f"benchmarks.{race}").cell(settings)
    return result


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("race", nargs="?", default="*", help="default: all of them")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:  # the cell that stdin describes
        text = json.dumps(_called(**json.load(sys.stdin)), allow_nan=False)
        args.run.write_text(text, encoding="utf-8")
        return
    for path in sorted(RESULTS.glob(f"{args.race}/[!.]*.json")):
        kept = json.loads(path.read_text(encoding="utf-8"))
        print(path.relative_to(RESULTS), f"{kept['wall_s']:.0f} s", sep="\t")


if __name__ == "__main__":
    main()
