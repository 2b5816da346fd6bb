"""What is promised about speed and memory, measured; ``python -m benchmarks`` lists the races."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PICTURES = RESULTS / "pictures"
"""What the latest runs made, to be looked at."""


def record(result: Mapping[str, Any]) -> None:
    """Prints a result as one line of JSON and keeps it in ``results/NAME.json``.

    result: JSON-able, with ``name``, ``ratio`` and ``goal``
    """
    print(json.dumps(result, allow_nan=False), flush=True)
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(result, indent=1, allow_nan=False) + "\n"
    (RESULTS / f"{result['name']}.json").write_text(text, encoding="utf-8")
