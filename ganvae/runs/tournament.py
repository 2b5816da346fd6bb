"""A tournament: several objectives on the same images, each under the same budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ganvae import config as configuration
from ganvae import files, foreign, objectives
from ganvae.config import Config
from ganvae.errors import BusyError, CheckpointError, ConfigError, GanvaeError
from ganvae.foreign import from_environment, gate, read_json
from ganvae.metrics.judge import Judge
from ganvae.models import load
from ganvae.pages import comparison, scores
from ganvae.pages.record import open_runs
from ganvae.progress import Display, Progress
from ganvae.runs import place
from ganvae.runs.run import Run, images, refuse_images, rehearse, start
from ganvae.runs.settings import Settings, read, resolve
from ganvae.training.processes import Processes

PAGE = "comparison.html"
MAX_META = 2**26


@dataclass(frozen=True)
class Tournament:
    """The outcome of several trainings under the same budget."""

    path: Path
    runs: list[Run]
    """Those that were trained, the best by held-out KID first."""
    failures: dict[str, GanvaeError] = field(default_factory=dict)
    """The errors of the others, by objective."""
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


def is_one(folder: str | Path | None) -> bool:
    """Whether a directory holds a tournament, begun or finished."""
    return folder is not None and bool(_planned(Path(folder)))


def settle(
    names: Sequence[str],
    overrides: Mapping[str, Any],
    *,
    base: Settings | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    begin: bool = False,
) -> tuple[dict[str, Config], Path]:
    """The complete configuration of every run by objective, and the tournament's directory.

    Raises ConfigError for fewer than two objectives, one named twice, or an unknown one.
    """
    if from_environment("WORLD_SIZE", 1) > 1:
        raise ConfigError("a tournament has one process: start it without torchrun")
    first = read(base or None)
    folder = Path(out) if out else _directory(first or Config(), overrides, resume)
    plans = _planned(folder) if resume else {}
    if resume and not plans:
        place.refuse_resume(folder, "a tournament", begin)
    names = [name.replace("-", "_") for name in names] or sorted(plans)
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"objective {name} is named twice: name each once")
    if len(names) < 2:
        raise ConfigError(f"a tournament needs at least two objectives, got {len(names)}")
    configs = {}
    for name in names:
        plan = plans.get(name) or next(iter(plans.values()), None)
        own = first or (Config() if plan is None else place.saved_settings(plan))
        configs[name] = resolve(own, {**overrides, "objective": name})
    return configs, folder


def _directory(first: Config, overrides: Mapping[str, Any], resume: bool) -> Path:
    """The directory of a tournament for which none was named."""
    others = {key: value for key, value in overrides.items() if not key.startswith("objective.")}
    data = configuration.override(first, others).data.path
    return (place.latest_run if resume else place.new_run)("tournament", data)


def _planned(folder: Path) -> dict[str, Path]:
    """The configuration files that a tournament wrote at its beginning, by objective."""
    if (folder / place.SETTINGS).exists():
        return {}
    known = objectives.names()
    return {path.stem: path for path in sorted(folder.glob("*.yaml")) if path.stem in known}


def run(
    configs: Mapping[str, Config],
    out: Path,
    *,
    resume: bool = False,
    display: Display | None = None,
    progress: Progress | None = None,
) -> Tournament:
    """Trains and judges what :func:`settle` returned; see :func:`ganvae.tournament`.

    An objective that cannot be trained on these images is left out; where none can, that is
    raised.
    """
    display = display or Display()
    if not resume:
        place.refuse_occupied(out)
    runs: list[Run] = []
    failures: dict[str, GanvaeError] = {}
    try:
        for name, config in configs.items():
            configuration.save(config, out / f"{name}.yaml")
        entrants = _rehearse(configs, out, failures, display, progress)  # before any trains
        for number, (name, config) in enumerate(configs.items(), 1):
            if name not in entrants:
                continue
            display.message(f"{name}, {number} of {len(configs)}")
            with _skipping_failures(name, failures, display):
                runs.append(_run_one(config, out / name, *entrants[name], display, progress))
                if runs[-1].status != "done":
                    return Tournament(out, runs, failures)
        if not runs:
            raise next(iter(failures.values()))
    finally:
        if not any(place.is_begun(out / name) for name in configs):
            _remove_traces(configs, out)
    return _compare(Tournament(out, runs, failures), progress)


def _rehearse(
    configs: Mapping[str, Config],
    out: Path,
    failures: dict[str, GanvaeError],
    display: Display,
    progress: Progress | None,
) -> dict[str, tuple[str, Judge]]:
    """The images' fingerprint and the judge of each objective that can be trained.

    failures: the errors of the others are added to it
    """
    entrants: dict[str, tuple[str, Judge]] = {}
    judges: dict[tuple[str | None, int, str], Judge] = {}
    for name, config in configs.items():
        with _skipping_failures(name, failures, display):
            key = (config.evaluation.judge, config.evaluation.size, config.training.device)
            judges[key] = rehearse(config, out / name, resume=True, judge=judges.get(key))
            data = images(config, progress)
            refuse_images(config, data)
            entrants[name] = data.fingerprint, judges[key]
    return entrants


@contextmanager
def _skipping_failures(
    name: str, failures: dict[str, GanvaeError], display: Display
) -> Iterator[None]:
    """Records an objective's error instead of raising it, so that the others go on."""
    try:
        yield
    except BusyError:
        raise
    except GanvaeError as error:
        failures[name] = error
        display.message(f"{name} is left out: {error}")


def _run_one(
    config: Config,
    path: Path,
    fingerprint: str,
    judge: Judge,
    display: Display,
    progress: Progress | None,
) -> Run:
    finished = _finished(config, path, fingerprint)
    if finished is not None:
        display.message(f"{path} is finished")
        return finished
    resume = (path / place.SETTINGS).exists()
    return start(config, path, resume=resume, judge=judge, display=display, progress=progress)


def _finished(config: Config, path: Path, fingerprint: str) -> Run | None:
    """A run that is trained and judged already; None where something is left to do."""
    metas = sorted((path / "checkpoints").glob("step-*/meta.json"))
    evaluation = path / "evaluation.json"
    if not metas or not evaluation.exists():
        return None
    with gate(f"the checkpoint {metas[-1].parent}", CheckpointError):
        meta = read_json(foreign.read(metas[-1], MAX_META), str(metas[-1]))
        before = configuration.parse(meta["config"])
        same = (
            not configuration.difference(before, config) and before.evaluation == config.evaluation
        )
        is_newer = evaluation.stat().st_mtime >= metas[-1].stat().st_mtime
        at = meta["position"]
        if not (at["done"] and same and is_newer and meta["fingerprint"] == fingerprint):
            return None
        step, seconds = int(at["step"]), float(at["seconds"])
    model = load(path, device=Processes().device)
    return Run(path, config, "done", step, seconds, model, scores.read(evaluation))


def _remove_traces(configs: Mapping[str, Config], out: Path) -> None:
    """Removes what was written for a tournament in which no training began."""
    for name in configs:
        (out / f"{name}.yaml").unlink(missing_ok=True)
        (out / name / ".lock").unlink(missing_ok=True)
    for folder in (*(out / name for name in configs), out):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _compare(tournament: Tournament, progress: Progress | None) -> Tournament:
    """The tournament with its runs ranked, its page written, and a verdict, if it has several."""
    if len(tournament.runs) < 2:
        return tournament
    ranked = comparison.ranked(open_runs([run.path for run in tournament.runs]))
    files.write_text(tournament.path / PAGE, comparison.html(ranked, progress=progress, own=True))
    by_path = {run.path: run for run in tournament.runs}
    runs = [by_path[side.record.path] for side in ranked]
    return replace(tournament, runs=runs, verdict=comparison.verdict(ranked))
