"""A tournament: several objectives on the same images, each under the same budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ganvae import api, config, files, foreign, objectives
from ganvae.api import Run
from ganvae.config import Config
from ganvae.data import Data, open_data
from ganvae.errors import BusyError, CheckpointError, ConfigError, GanvaeError
from ganvae.foreign import from_environment, gate, read_json
from ganvae.pages import comparison, scores
from ganvae.progress import Display, Progress

PAGE = "comparison.html"
MAX_META = 2**26


@dataclass(frozen=True)
class Tournament:
    """What several trainings under the same budget came to."""

    path: Path
    runs: list[Run]
    """Those that were trained, the best by held-out KID first."""
    failures: dict[str, GanvaeError] = field(default_factory=dict)
    """What stopped the others, by objective."""
    verdict: str = ""
    """Which is best, in a sentence; empty where fewer than two were judged."""

    @property
    def status(self) -> str:
        """ "done", or the signal that a run was stopped by."""
        return next((run.status for run in self.runs if run.status != "done"), "done")

    @property
    def report(self) -> Path:
        """The self-contained page about all runs, where there was more than one."""
        return self.path / PAGE


def tournament(
    data: str | Path | None = None,
    objectives: Sequence[str] = (),
    *,
    size: int | None = None,
    budget: str | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    begin: bool = False,
    config: Config | Mapping[str, Any] | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    display: Display | None = None,
) -> Tournament:
    """Train several objectives one after the other, and compare them on one page.

    objectives: their names; unset: when resuming, those of the tournament
    budget: of each of them
    out: the tournament's directory, with a run in it for each objective; unset:
        ``runs/tournament-DATA-NUMBER``
    resume: go on where the tournament in ``out`` stopped; what is finished stays as it is
    begin: with ``resume``: begin it where there is nothing to resume yet

    The rest is as for :func:`ganvae.train`, settings hold for every objective.
    """
    shortcuts = {
        "data.path": None if data is None else str(data),
        "data.size": size,
        "training.budget": budget,
        "training.seed": seed,
    }
    given = {key: value for key, value in shortcuts.items() if value is not None}
    chosen, folder = settle(
        objectives, given | dict(settings or {}), start=config, out=out, resume=resume,
        begin=begin,
    )  # fmt: skip
    return run(chosen, folder, resume=resume, display=display)


def is_one(folder: str | Path | None) -> bool:
    """Whether a directory holds a tournament, begun or finished."""
    return folder is not None and bool(_planned(Path(folder)))


def settle(
    names: Sequence[str],
    given: Mapping[str, Any],
    *,
    start: Config | Mapping[str, Any] | str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    begin: bool = False,
) -> tuple[dict[str, Config], Path]:
    """The complete configuration of every run by objective, and the tournament's directory.

    Raises ConfigError for fewer than two objectives, one named twice, or an unknown one.
    """
    if from_environment("WORLD_SIZE", 1) > 1:
        raise ConfigError("a tournament has one process: start it without torchrun")
    first = api.settings_of(start) or Config()
    others = {key: value for key, value in given.items() if not key.startswith("objective.")}
    named = replace(config.override(first, {**others, "objective": "gan"}), objective="tournament")
    folder = Path(out) if out else api.latest_run(named) if resume else api.new_run(named)
    plans = _planned(folder) if resume else {}
    if resume and not plans:
        api.refuse_resume(folder, "a tournament", begin)
    names = [name.replace("-", "_") for name in names] or sorted(plans)
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"objective {name} is named twice: name each once")
    if len(names) < 2:
        raise ConfigError(f"a tournament needs at least two objectives, got {len(names)}")
    chosen = {}
    for name in names:
        plan = plans.get(name) or next(iter(plans.values()), None)
        base = start or (None if plan is None else api.kept_settings(plan))
        chosen[name], _ = api.settle({**given, "objective": name}, start=base, out=folder / name)
    return chosen, folder


def _planned(folder: Path) -> dict[str, Path]:
    """The configuration files that a tournament wrote at its beginning, by objective."""
    if (folder / "config.yaml").exists():
        return {}
    known = objectives.names()
    return {path.stem: path for path in sorted(folder.glob("*.yaml")) if path.stem in known}


def run(
    chosen: Mapping[str, Config],
    out: Path,
    *,
    resume: bool = False,
    display: Display | None = None,
    progress: Progress | None = None,
) -> Tournament:
    """Trains and judges what :func:`settle` returned; see :func:`tournament`.

    An objective that cannot be trained on these images is left out; where none can, that is
    raised.
    """
    display = display or Display()
    if not resume:
        api.refuse_occupied(out)
    runs: list[Run] = []
    failures: dict[str, GanvaeError] = {}
    try:
        for name, one in chosen.items():
            config.save(one, out / f"{name}.yaml")
        for name, one in chosen.items():  # hours before the last one's turn
            with _left_out(name, failures, display):
                api.rehearse(one, out / name, resume=True)
                api.refuse_images(one, _images(one, progress))
        for number, (name, one) in enumerate(chosen.items(), 1):
            if name in failures:
                continue
            display.message(f"{name}, {number} of {len(chosen)}")
            with _left_out(name, failures, display):
                runs.append(_one(one, out / name, _images(one, progress), display, progress))
                if runs[-1].status != "done":
                    return Tournament(out, runs, failures)
        if not runs:
            raise next(iter(failures.values()))
    finally:
        if not any(api.is_begun(out / name) for name in chosen):
            _forget(chosen, out)
    return _compared(Tournament(out, runs, failures), progress)


@contextmanager
def _left_out(name: str, failures: dict[str, GanvaeError], display: Display) -> Iterator[None]:
    """What an objective cannot do ends its own part alone."""
    try:
        yield
    except BusyError:
        raise
    except GanvaeError as error:
        failures[name] = error
        display.message(f"{name} is left out: {error}")


def _images(chosen: Config, progress: Progress | None) -> Data:
    paired = objectives.get(chosen.objective).paired
    return open_data(chosen.data, paired=paired, progress=api.packing(progress))


def _one(
    chosen: Config, path: Path, data: Data, display: Display, progress: Progress | None
) -> Run:
    known = _finished(chosen, path, data.fingerprint)
    if known is not None:
        display.message(f"{path} is finished")
        return known
    begun = (path / "config.yaml").exists()
    return api.start(chosen, path, resume=begun, display=display, progress=progress)


def _finished(chosen: Config, path: Path, fingerprint: str) -> Run | None:
    """A run that has spent its budget and was judged afterwards; None where work is left."""
    described = sorted((path / "checkpoints").glob("step-*/meta.json"))
    judged = path / "evaluation.json"
    if not described or not judged.exists():
        return None
    with gate(f"the checkpoint {described[-1].parent}", CheckpointError):
        meta = read_json(foreign.read(described[-1], MAX_META), str(described[-1]))
        kept = config.parse(meta["config"])
        same = not config.difference(kept, chosen) and kept.evaluation == chosen.evaluation
        since = judged.stat().st_mtime >= described[-1].stat().st_mtime
        at = meta["position"]
        if not (at["done"] and same and since and meta["fingerprint"] == fingerprint):
            return None
        step, seconds = int(at["step"]), float(at["seconds"])
    return Run(path, chosen, "done", step, seconds, api.load(path), scores.read(judged))


def _forget(chosen: Mapping[str, Config], out: Path) -> None:
    """Takes away what was written before it was known that nothing can be begun."""
    for name in chosen:
        (out / f"{name}.yaml").unlink(missing_ok=True)
        (out / name / ".lock").unlink(missing_ok=True)
    for folder in (*(out / name for name in chosen), out):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _compared(found: Tournament, progress: Progress | None) -> Tournament:
    if len(found.runs) < 2:
        return found
    sides = comparison.ranked(comparison.open_runs([run.path for run in found.runs]))
    files.write_text(found.path / PAGE, comparison.html(sides, progress=progress, own=True))
    by_path = {run.path: run for run in found.runs}
    ranked = [by_path[side.left.path] for side in sides]
    return replace(found, runs=ranked, verdict=comparison.verdict(sides))
