"""What is promised about speed, memory and quality; ``python -m benchmarks`` lists the races."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
HELP = {
    "--budget": "time of each training", "--samples": "generated, and held-out ones beside them",
    "--threads": "of each process", "--set": "a setting: training.batch=16",
    "--size": "of images, in pixels",
}  # fmt: skip
"""Of options that several races have."""


def machine() -> dict[str, Any]:
    """What figures depend on beside the code: processor, cores, torch; nothing personal."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "torch": version("torch"),
    }


def command_line(text: str | None, options: Mapping[str, Any]) -> argparse.Namespace:
    """The values of the options on the command line.

    text: begins with what ``--help`` says of the command
    options: by name, a default (a list: the option may be given several times), a default and
        its help, or what ``add_argument`` takes
    """
    parser = argparse.ArgumentParser(description=(text or "").partition("\n")[0])
    for name, given in options.items():
        if not isinstance(given, Mapping):
            default, words = given if isinstance(given, tuple) else (given, HELP.get(name))
            kind = {"action": "append"} if isinstance(default, list) else {"type": type(default)}
            given = {"default": default, "help": words, **kind}
        parser.add_argument(name, **{"help": HELP.get(name)} | given)
    return parser.parse_args()
