"""How long ``--help`` takes, of ganvae and of each of its commands; goal: 0.3 s, without torch.

Every command is a new process, as a person starts it. They take turns, ten times, and the slowest
command's median counts: ``ratio`` is its share of 0.3 s.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

from benchmarks import record
from ganvae.cli import app

GOAL_S = 0.3
TORCH_FREE = (
    "import sys; from ganvae.cli import run; code = run(sys.argv[1:]); "
    "sys.exit('torch was imported' if 'torch' in sys.modules else code)"
)


def commands() -> list[list[str]]:
    """The arguments that show each help there is."""
    return [["--help"], *([name, "--help"] for name in app if not name.startswith("-"))]


def run(*arguments: str) -> None:
    """Runs this Python with ``arguments``; ends the benchmark where that fails."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(arguments[-2:])}: {done.stderr.strip()}")


def timed(arguments: list[str]) -> tuple[float, float]:
    """Seconds of one process, by the wall and of its processor."""
    used, start = os.times(), time.perf_counter()
    run("-m", "ganvae", *arguments)
    wall, after = time.perf_counter() - start, os.times()
    children = after.children_user + after.children_system
    return wall, children - used.children_user - used.children_system


def main() -> int:
    """Prints and keeps the result; 1 where the goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--times", type=int, default=10)
    times = parser.parse_args().times
    helps = commands()
    for arguments in helps:
        run("-c", TORCH_FREE, *arguments)  # and everything is compiled and in the disk cache
    taken: dict[str, list[tuple[float, float]]] = {" ".join(a): [] for a in helps}
    for _ in range(times):
        for arguments in helps:
            taken[" ".join(arguments)].append(timed(arguments))
    wall = {name: statistics.median(w for w, _ in pairs) for name, pairs in taken.items()}
    cpu = {name: statistics.median(c for _, c in pairs) for name, pairs in taken.items()}
    slowest = max(wall, key=wall.__getitem__)
    record(
        {
            "name": "startup",
            "ratio": round(wall[slowest] / GOAL_S, 3),
            "goal": 1.0,
            "goal_s": GOAL_S,
            "slowest": slowest,
            "wall_s": {name: round(value, 3) for name, value in wall.items()},
            "cpu_s": {name: round(value, 3) for name, value in cpu.items()},
            "torch_imported": False,
            "times": times,
            "load": round(os.getloadavg()[0], 1),
        }
    )
    return int(wall[slowest] > GOAL_S)


if __name__ == "__main__":
    sys.exit(main())
