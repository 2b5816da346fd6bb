"""What is promised about speed, memory and quality; ``python -m benchmarks`` lists the races."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
PICTURES = RESULTS / "pictures"
"""What the latest runs made, to be looked at."""


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
