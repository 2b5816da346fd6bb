"""A tournament: several objectives on the same images, each under the same budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ganvae import config, files, foreign, objectives
from ganvae.config import Config
from ganvae.errors import BusyError, CheckpointError, ConfigError, GanvaeError
from ganvae.foreign import from_environment, gate, read_json
from ganvae.metrics.judge import Judge
from ganvae.models import load
from ganvae.pages import comparison, scores
from ganvae.pages.record import open_runs
from ganvae.progress import Display, Progress
from ganvae.runs import folder as folders
from ganvae.runs.run import Run, images, refuse_images, rehearse, start
from ganvae.runs.settings import Settings, read, resolve
from ganvae.training.processes import Processes

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


def is_one(folder: str | Path | None) -> bool:
    """Whether a directory holds a tournament, begun or finished."""
    return folder is not None and bool(_planned(Path(folder)))


def settle(
    names: Sequence[str],
    given: Mapping[str, Any],
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
    folder = Path(out) if out else _place(first or Config(), given, resume)
    plans = _planned(folder) if resume else {}
    if resume and not plans:
        folders.refuse_resume(folder, "a tournament", begin)
    names = [name.replace("-", "_") for name in names] or sorted(plans)
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"objective {name} is named twice: name each once")
    if len(names) < 2:
        raise ConfigError(f"a tournament needs at least two objectives, got {len(names)}")
    chosen = {}
    for name in names:
        plan = plans.get(name) or next(iter(plans.values()), None)
        own = first or (Config() if plan is None else folders.kept_settings(plan))
        chosen[name] = resolve(own, {**given, "objective": name})
    return chosen, folder


def _place(first: Config, given: Mapping[str, Any], resume: bool) -> Path:
    """The directory of a tournament on these images that named none."""
    others = {key: value for key, value in given.items() if not key.startswith("objective.")}
    data = config.override(first, others).data.path
    return (folders.latest_run if resume else folders.new_run)("tournament", data)


def _planned(folder: Path) -> dict[str, Path]:
    """The configuration files that a tournament wrote at its beginning, by objective."""
    if (folder / folders.SETTINGS).exists():
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
    """Trains and judges what :func:`settle` returned; see :func:`ganvae.tournament`.

    An objective that cannot be trained on these images is left out; where none can, that is
    raised.
    """
    display = display or Display()
    if not resume:
        folders.refuse_occupied(out)
    runs: list[Run] = []
    failures: dict[str, GanvaeError] = {}
    try:
        for name, one in chosen.items():
            config.save(one, out / f"{name}.yaml")
        ready = _rehearse(chosen, out, failures, display, progress)  # hours before the last turn
        for number, (name, one) in enumerate(chosen.items(), 1):
            if name not in ready:
                continue
            display.message(f"{name}, {number} of {len(chosen)}")
            with _left_out(name, failures, display):
                runs.append(_one(one, out / name, *ready[name], display, progress))
                if runs[-1].status != "done":
                    return Tournament(out, runs, failures)
        if not runs:
            raise next(iter(failures.values()))
    finally:
        if not any(folders.is_begun(out / name) for name in chosen):
            _forget(chosen, out)
    return _compared(Tournament(out, runs, failures), progress)


def _rehearse(
    chosen: Mapping[str, Config],
    out: Path,
    failures: dict[str, GanvaeError],
    display: Display,
    progress: Progress | None,
) -> dict[str, tuple[str, Judge]]:
    """The images' fingerprint and the judge of each objective that can take part.

    failures: gets the errors of the others
    """
    ready: dict[str, tuple[str, Judge]] = {}
    judges: dict[tuple[str, int, str], Judge] = {}
    for name, one in chosen.items():
        with _left_out(name, failures, display):
            key = (one.evaluation.judge, one.evaluation.size, one.training.device)
            judges[key] = rehearse(one, out / name, resume=True, judge=judges.get(key))
            data = images(one, progress)
            refuse_images(one, data)
            ready[name] = data.fingerprint, judges[key]
    return ready


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


def _one(
    chosen: Config,
    path: Path,
    fingerprint: str,
    judge: Judge,
    display: Display,
    progress: Progress | None,
) -> Run:
    known = _finished(chosen, path, fingerprint)
    if known is not None:
        display.message(f"{path} is finished")
        return known
    begun = (path / folders.SETTINGS).exists()
    return start(chosen, path, resume=begun, judge=judge, display=display, progress=progress)


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
    model = load(path, device=Processes().device)
    return Run(path, chosen, "done", step, seconds, model, scores.read(judged))


def _forget(chosen: Mapping[str, Config], out: Path) -> None:
    """Takes away what was written before it was known that nothing can be begun."""
    for name in chosen:
        (out / f"{name}.yaml").unlink(missing_ok=True)
        (out / name / ".lock").unlink(missing_ok=True)
    for folder in (*(out / name for name in chosen), out):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _compared(done: Tournament, progress: Progress | None) -> Tournament:
    """The tournament with its page and its verdict, the best first, where there are several."""
    if len(done.runs) < 2:
        return done
    ranked = comparison.ranked(open_runs([run.path for run in done.runs]))
    files.write_text(done.path / PAGE, comparison.html(ranked, progress=progress, own=True))
    by_path = {run.path: run for run in done.runs}
    runs = [by_path[side.record.path] for side in ranked]
    return replace(done, runs=runs, verdict=comparison.verdict(ranked))
