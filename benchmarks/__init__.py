"""What is promised about speed and memory, measured; ``python -m benchmarks`` lists the races."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

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


def show(name: str, images: Tensor, columns: int) -> None:
    """Keeps images (B, C, H, W) in [-1, 1] as the picture of a race, so many a row."""
    from ganvae.models.images import grid, save_png

    PICTURES.mkdir(parents=True, exist_ok=True)
    save_png(grid(images, columns, scale=max(1, 64 // images.shape[-1])), PICTURES / f"{name}.png")


def record(result: Mapping[str, Any]) -> None:
    """Prints a result as one line of JSON and keeps it in ``results/NAME.json``.

    result: JSON-able, with ``name``, ``ratio`` and ``goal``; the machine is added
    """
    result = {"machine": machine()} | dict(result)
    print(json.dumps(result, allow_nan=False), flush=True)
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(result, indent=1, allow_nan=False) + "\n"
    (RESULTS / f"{result['name']}.json").write_text(text, encoding="utf-8")
