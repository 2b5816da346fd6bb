"""Reads what pages show of runs: settings, log, scores, models and images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ganvae import config
from ganvae.config import Config
from ganvae.data import Data, open_data
from ganvae.data.packing import refuse_untold
from ganvae.errors import ConfigError, DataError, GanvaeError
from ganvae.models import Model, load
from ganvae.pages import scores
from ganvae.training import log

CURVES, LARGE = 200, 1e300
"""How many quantities are drawn at most, and from which magnitude on a number is left out."""


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
    """Reads a run's directory. Raises DataError where it holds no run."""
    run = Path(run)
    if not (run / "config.yaml").exists():
        inside = sorted(path.parent.name for path in run.glob("*/config.yaml"))
        more = f", but its folders do: {', '.join(inside)}" if inside else ""
        raise DataError(f"{run} holds no run to report on (there is no config.yaml){more}")
    lines = list(log.read(run / "metrics.jsonl"))
    settings, evaluation = config.load(run / "config.yaml"), scores.read(run / "evaluation.json")
    return Record(run, settings, lines, evaluation)


def series(lines: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """The logged quantities over time: by name, points (seconds, value)."""
    measured: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        for name, value in line.items():
            number = type(value) in (int, float) and abs(value) < LARGE
            room = name in measured or len(measured) < CURVES
            if number and room and "seconds" in line and name not in ("step", "images", "seconds"):
                measured.setdefault(name, []).append((line["seconds"], float(value)))
    return measured


# -- several --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """One of the runs of a comparison."""

    name: str
    record: Record
    model: Model | None
    """None where it is missing or cannot be read."""
    why: str = ""
    """Why there is no model."""

    @property
    def data(self) -> str:
        """The fingerprint of the images it was trained and judged on; empty if unknown."""
        fingerprint = self.record.evaluation.get("data")
        return str(fingerprint or (self.model.info.trained.fingerprint if self.model else ""))

    @property
    def figures(self) -> Mapping[str, Mapping[str, Any]]:
        """Its scores by key."""
        return self.record.evaluation.get("figures") or {}


def open_runs(runs: Sequence[str | Path], device: torch.device | str = "cpu") -> list[Side]:
    """The runs with their models. Raises ConfigError or DataError; see :func:`ganvae.compare`."""
    paths = [Path(run) for run in runs]
    whole = [path.resolve() for path in paths]
    for path, where in zip(paths, whole, strict=True):
        if whole.count(where) > 1:
            raise ConfigError(f"{path} is named twice: name runs that differ")
    if len(paths) < 2:
        raise ConfigError(f"a comparison needs at least two runs, got {len(paths)}")
    records = [read(path) for path in paths]
    return [_side(*one, device) for one in zip(_names(whole), records, strict=True)]


def _side(name: str, record: Record, device: torch.device | str) -> Side:
    if not (record.path / "model").is_dir():
        return Side(name, record, None, "it is not finished")
    try:
        return Side(name, record, load(record.path, device=device))
    except GanvaeError as error:
        return Side(name, record, None, str(error))


def _names(paths: Sequence[Path]) -> list[str]:
    """The shortest last parts of the paths that are all different."""
    for parts in range(1, max(len(path.parts) for path in paths)):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def why_unopened(side: Side) -> str:
    """Why the images that a run names are not opened: others may have made it. Empty: they are."""
    try:
        refuse_untold(side.record.config.data, (), side.record.path)
    except ConfigError as error:
        return str(error)
    return ""


def open_images(sides: Sequence[Side], own: bool) -> dict[str, Data]:
    """The images of the runs by fingerprint, as far as they are still there and unchanged."""
    opened: dict[str, Data] = {}
    for side in sides:
        if side.model is not None and side.data not in opened and (own or not why_unopened(side)):
            try:
                data = open_data(side.record.config.data, paired=side.model.info.paired)
            except GanvaeError:
                continue
            if data.fingerprint == side.data:
                opened[side.data] = data
    return opened
