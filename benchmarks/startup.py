"""How long ``--help`` takes, of ganvae and of each of its commands; goal: 0.3 s, without torch.

Every command is a new process, as a person starts it. They take turns, ten times, and the slowest
command's median counts: ``ratio`` is its share of 0.3 s.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from functools import partial

from benchmarks.race import Race, Result
from benchmarks.timing import median, turns
from ganvae.cli import app

GOAL_S = 0.3
TORCH_FREE = (
    "import sys; from ganvae.cli import run; code = run(sys.argv[1:]); "
    "sys.exit('torch was imported' if 'torch' in sys.modules else code)"
)


def run(*arguments: str) -> None:
    """Runs this Python with ``arguments``; ends the benchmark where that fails."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(arguments[-2:])}: {done.stderr.strip()}")


def measure(args: argparse.Namespace) -> Result:
    """Starts every help there is, so many times."""
    helps = [["--help"], *([name, "--help"] for name in app if not name.startswith("-"))]
    for words in helps:
        run("-c", TORCH_FREE, *words)  # and everything is compiled and in the disk cache
    calls = {" ".join(words): partial(run, "-m", "ganvae", *words) for words in helps}
    taken = turns(calls, args.times, warm=0)
    wall = {name: median(found) for name, found in taken.items()}
    slowest = max(wall, key=wall.__getitem__)
    return {
        "ratio": round(wall[slowest] / GOAL_S, 3),
        "goal": 1.0,
        "goal_s": GOAL_S,
        "slowest": slowest,
        "wall_s": {name: round(value, 3) for name, value in wall.items()},
        "cpu_s": {name: round(median(found, "cpu"), 3) for name, found in taken.items()},
        "torch_imported": False,
        "times": args.times,
        "load": round(os.getloadavg()[0], 1),
    }


RACE = Race(
    name="startup",
    measure=measure,
    options={"--times": 10},
    figure="slowest command's `--help` over .3 s",
    better="lower",
)
