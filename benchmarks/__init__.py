"""Races that measure speed, memory and quality; ``python -m benchmarks`` lists them."""

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
    """The machine and torch's version, on which figures depend; nothing personal."""
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
    for name, option in options.items():
        if not isinstance(option, Mapping):
            default, words = option if isinstance(option, tuple) else (option, HELP.get(name))
            kind = {"action": "append"} if isinstance(default, list) else {"type": type(default)}
            option = {"default": default, "help": words, **kind}
        parser.add_argument(name, **{"help": HELP.get(name)} | option)
    return parser.parse_args()
