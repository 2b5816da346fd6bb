"""What a run's directory holds of words and numbers, for the pages about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganvae import config
from ganvae.config import Config
from ganvae.errors import DataError
from ganvae.pages import scores
from ganvae.training import log

CURVES, LARGE = 200, 1e300
"""How many quantities are drawn, and from which size on a number is left out."""


@dataclass(frozen=True)
class Record:
    """A run's settings, log and scores."""

    path: Path
    config: Config
    lines: list[dict[str, Any]]
    """Of ``metrics.jsonl``."""
    evaluation: dict[str, Any]
    """Empty where the run was not judged yet."""


def read(run: Path | str) -> Record:
    """What a run holds. Raises DataError where the directory holds no run."""
    run = Path(run)
    if not (run / "config.yaml").exists():
        inside = sorted(path.parent.name for path in run.glob("*/config.yaml"))
        more = f", but its folders do: {', '.join(inside)}" if inside else ""
        raise DataError(f"{run} holds no run to report on (there is no config.yaml){more}")
    lines = list(log.read(run / "metrics.jsonl"))
    kept, evaluation = config.load(run / "config.yaml"), scores.read(run / "evaluation.json")
    return Record(run, kept, lines, evaluation)


def series(lines: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """What was measured again and again: by name, points (seconds, value)."""
    measured: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        for name, value in line.items():
            number = type(value) in (int, float) and abs(value) < LARGE
            room = name in measured or len(measured) < CURVES
            if number and room and "seconds" in line and name not in ("step", "images", "seconds"):
                measured.setdefault(name, []).append((line["seconds"], float(value)))
    return measured
