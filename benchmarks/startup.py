"""How long ``--help`` takes, of ganvae and of each of its commands; goal: 0.3 s, without torch.

``python -m benchmarks startup``: seconds by the wall and of the processor.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial

from benchmarks.race import Args, Race, Result
from benchmarks.timing import median, turns
from ganvae.cli import app

GOAL_S = 0.3
TORCH_FREE = (
    "import sys; from ganvae.cli import run; code = run(sys.argv[1:]); "
    "sys.exit('torch was imported' if 'torch' in sys.modules else code)"
)


def run(*arguments: str) -> None:
    """Runs this Python with ``arguments``; ends the benchmark where that fails."""
    process = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if process.returncode:
        sys.exit(f"{' '.join(arguments[-2:])}: {process.stderr.strip()}")


def measure(args: Args) -> Result:
    """Starts every help there is, so many times."""
    helps = [["--help"], *([name, "--help"] for name in app if not name.startswith("-"))]
    for words in helps:
        run("-c", TORCH_FREE, *words)  # and everything is compiled and in the disk cache
    calls = {" ".join(words): partial(run, "-m", "ganvae", *words) for words in helps}
    times = turns(calls, args.times, warm=0)
    wall = {name: median(watches) for name, watches in times.items()}
    slowest = max(wall, key=wall.__getitem__)
    return {
        "ratio": round(wall[slowest] / GOAL_S, 3), "goal": 1.0, "goal_s": GOAL_S,
        "slowest": slowest, "torch_imported": False, "times": args.times,
        "wall_s": {name: round(value, 3) for name, value in wall.items()},
        "cpu_s": {name: round(median(watches, "cpu"), 3) for name, watches in times.items()},
    }  # fmt: skip


RACE = Race(
    measure=measure, options={"--times": 10},
    figure="slowest command's `--help` over .3 s", better="lower",
)  # fmt: skip
