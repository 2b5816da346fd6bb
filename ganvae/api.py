"""The verbs in Python: what the command line does, a notebook can do too."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ganvae import config, files, metrics, objectives, tasks
from ganvae.config import Config
from ganvae.data import Data, Manifest, open_data
from ganvae.data.check import Report
from ganvae.data.check import check as check_images
from ganvae.data.dataset import judged_by, refuse_contradictions, refuse_untold
from ganvae.data.pairs import paired as are_paired
from ganvae.errors import ConfigError
from ganvae.foreign import from_environment
from ganvae.metrics.judge import Judge
from ganvae.metrics.judge import load as load_judge
from ganvae.metrics.sampling import made_of_sources, spread
from ganvae.models import Model
from ganvae.models import load as load_model
from ganvae.models.images import enlarged, grid, save_png
from ganvae.pages import comparison, report
from ganvae.progress import Display, Progress
from ganvae.runs import pace as paces
from ganvae.runs import priors as fitted
from ganvae.telling import clock, name_of
from ganvae.training import build, checkpoint, lock, preflight
from ganvae.training.processes import Processes
from ganvae.training.resume import IMAGES
from ganvae.training.schedule import Budget, Every, seconds_of
from ganvae.training.trainer import Result, Trainer

RUNS = Path("runs")
_EMPTY = {lock.NAME}  # what a directory may hold and still be a new run's


@dataclass(frozen=True)
class Run:
    """A finished or interrupted training."""

    path: Path
    config: Config
    status: str
    """"done", "SIGINT" or "SIGTERM"."""
    step: int
    seconds: float
    model: Model
    evaluation: dict[str, Any] = field(default_factory=dict)
    """Held-out scores; empty where the training was interrupted."""

    @property
    def report(self) -> Path:
        """The self-contained page about the run."""
        return self.path / "report.html"


def train(
    data: str | Path | None = None,
    *,
    objective: str | None = None,
    task: str | None = None,
    size: int | None = None,
    budget: str | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    begin: bool = False,
    config: Config | Mapping[str, Any] | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    networks: Mapping[str, nn.Module] | None = None,
    judge: nn.Module | None = None,
    display: Display | None = None,
) -> Run:
    """Train a model on images, judge it on held-out ones, and write a report.

    data: a folder, an array file, tar shards, Parquet, a Hub name, or "digits"
    objective: its name
    task: "generate", "complete" or "translate", where the objective does not say it
    size: height and width in pixels
    budget: ``"30m"``, ``"500kimg"`` or ``"300steps"``
    seed: of everything random
    out: the run's directory; unset: ``runs/OBJECTIVE-DATA-NUMBER``
    resume: continue the run in ``out`` from its last checkpoint, with its settings
    begin: with ``resume``: begin the run where there is nothing to resume yet
    config: settings to start from: a Config, its nested form, or a YAML file
    settings: single settings by dotted name, for example ``{"training.batch": 32}``
    networks: modules of your own for some roles, for example ``{"encoder": ...}``
    judge: a module of your own from images (B, 3, S, S) to features (B, D)
    display: what shows the progress; unset: nothing

    Raises DataError, ConfigError, BusyError, CheckpointError or DivergedError: one sentence each.
    """
    shortcuts = {
        "data.path": None if data is None else str(data),
        "data.size": size,
        "training.budget": budget,
        "objective": objective,
        "data.task": task,
        "training.seed": seed,
    }
    given = {key: value for key, value in shortcuts.items() if value is not None}
    chosen, folder = settle(
        given | dict(settings or {}), start=config, out=out, resume=resume, begin=begin
    )
    return start(chosen, folder, resume=resume, networks=networks, judge=judge, display=display)


def kept_settings(path: Path) -> Config:
    """The settings that a run was begun with; ``allow_changes`` was for that time alone."""
    return config.override(config.load(path), {"training.allow_changes": False})


def settle(
    given: Mapping[str, Any],
    *,
    start: Config | Mapping[str, Any] | str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    begin: bool = False,
) -> tuple[Config, Path]:
    """The complete configuration of a run and its directory.

    Settings come from ``given`` first, then from ``start``, or, without one, when resuming, from
    the run.
    """
    folder = None if out is None else Path(out)
    base = settings_of(start)
    if resume and folder is None:
        folder = latest_run(config.override(base or Config(), given))
    if resume and folder is not None and not is_run(folder):
        new = _chosen(base or Config(), given)
        refuse_resume(folder, f"{new.objective} on {new.data.path}", begin)
    if base is None and resume and folder is not None and (folder / "config.yaml").exists():
        base = kept_settings(folder / "config.yaml")
    chosen = complete(_chosen(base or Config(), given))
    Budget.parse(chosen.training.budget)
    Every.parse(chosen.training.checkpoint_every)
    if chosen.evaluation.budget is not None:
        seconds_of("evaluation.budget", chosen.evaluation.budget)
    return chosen, folder or new_run(chosen)


def _chosen(base: Config, given: Mapping[str, Any]) -> Config:
    """``base`` with what was given; the options are those of the objective that the task got."""
    options = {key: value for key, value in given.items() if key.startswith("objective.")}
    others = {key: value for key, value in given.items() if key not in options}
    return config.override(_for_task(config.override(base, others), others), options)


def _for_task(chosen: Config, given: Mapping[str, Any]) -> Config:
    """Objective and data.task made to agree, where only one of them was asked for.

    Completion and translation get an objective where none was named.
    """
    task = objectives.get(chosen.objective).task
    if task == chosen.data.task:
        return chosen
    if "objective" in given:
        return chosen if "data.task" in given else config.override(chosen, {"data.task": task})
    if chosen.data.task == "generate":
        return chosen
    name = "completion"
    if chosen.data.task == "translate":
        pairs = chosen.data.origin != "given" or are_paired(chosen.data.path)
        name = "bicycle" if pairs else "unit"
    return config.override(chosen, {"objective": name})


def complete(chosen: Config) -> Config:
    """The same configuration with every field of its objective spelled out."""
    objective = objectives.build(chosen.objective, chosen.objective_options)
    return replace(chosen, objective_options=asdict(objective))


def refuse(chosen: Config) -> None:
    """Raises ConfigError for settings that cannot be, whatever the images are."""
    refuse_contradictions(chosen.data)
    if chosen.data.test_share == 1:
        raise ConfigError(
            "data.test_share 1 holds all images out, and none is left to learn from; choose less"
        )
    if chosen.data.labels and not objectives.get(chosen.objective).classes:
        objectives.refuse_classes(chosen.objective)


def rehearse(
    chosen: Config, out: Path, resume: bool = False, judge: nn.Module | None = None
) -> Judge:
    """Finds what could not work later, as far as no images are needed; returns the judge.

    Raises ConfigError, CheckpointError or BusyError. Writes nothing.
    """
    refuse(chosen)
    if not resume:
        refuse_occupied(out)
    return preflight.look(chosen, out, judge, Processes(chosen.training.device).device)


def refuse_images(chosen: Config, data: Data) -> None:
    """Raises ConfigError where the objective cannot learn from the images."""
    objective = objectives.build(chosen.objective, chosen.objective_options)
    build.plan(chosen, objective, data)


def settings_of(start: Config | Mapping[str, Any] | str | Path | None) -> Config | None:
    """What a configuration, its nested form or a YAML file holds."""
    if start is None or isinstance(start, Config):
        return start
    return config.parse(start) if isinstance(start, Mapping) else config.load(start)


def start(
    chosen: Config,
    out: Path,
    *,
    resume: bool = False,
    networks: Mapping[str, nn.Module] | None = None,
    judge: nn.Module | None = None,
    display: Display | None = None,
    progress: Progress | None = None,
) -> Run:
    """Trains what :func:`settle` returned, and judges it; see :func:`train`."""
    display = display or Display()
    eyes: Judge | None = None
    if is_first():
        eyes = rehearse(chosen, out, resume, judge)
    else:
        refuse(chosen)
    wanted = objectives.get(chosen.objective)
    data = open_data(chosen.data, paired=wanted.paired, progress=packing(progress))
    for note in data.notes:
        display.message(note)
    seconds = time_to_judge(chosen)
    if seconds is not None:
        display.message(
            f"after the training at most {clock(seconds)} for fitting priors and judging"
        )
    result = _train(chosen, data, out, resume, networks, display, eyes)
    at = result.position
    run = Run(out, chosen, result.status, at.step, at.seconds, result.model)
    if not is_first() or result.status != "done":
        return run
    evaluation = assess(
        run.model, data, chosen, out, judge=eyes, progress=progress,
        seconds=seconds, say=display.message,
    )  # fmt: skip
    return replace(run, evaluation=evaluation)


def time_to_judge(chosen: Config) -> float | None:
    """Seconds at most that fitting priors and judging may take after a training."""
    told, budget = chosen.evaluation.budget, Budget.parse(chosen.training.budget)
    if told is not None:
        return seconds_of("evaluation.budget", told)
    return None if budget.seconds is None else budget.seconds / 2 + 10


def _train(
    chosen: Config,
    data: Data,
    out: Path,
    resume: bool,
    networks: Mapping[str, nn.Module] | None,
    display: Display,
    judge: Judge | None = None,
) -> Result:
    objective = objectives.build(chosen.objective, chosen.objective_options)
    trainer = Trainer(
        chosen, objective, data, out, networks=networks, resume=resume, display=display,
        judge=judge,
    )  # fmt: skip
    kept = out / "config.yaml"
    fresh = is_first() and not kept.exists()
    if fresh:  # before the first step: a killed run is resumed with it
        config.save(chosen, kept)
    try:
        result = trainer.run()
    except BaseException:
        if fresh and not is_begun(out):
            kept.unlink(missing_ok=True)  # nothing was begun, so the next try is not refused
        raise
    if is_first():
        config.save(chosen, kept)
    return result


def assess(
    model: Model,
    data: Data,
    chosen: Config,
    out: Path,
    *,
    judge: nn.Module | None = None,
    progress: Progress | None = None,
    seconds: float | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Judges a model on held-out images; writes ``evaluation.json``, grids and the report.

    Before that the model gets other priors, and samples the best of them; see docs/priors.md.

    seconds: for both; what does not fit in is left out, and "shortened" says what
    say: gets a sentence on how long it will take
    """
    files.refuse_link(out / "model")
    allowance = metrics.Allowance(seconds)
    judge = load_judge(judge or chosen.evaluation.judge, chosen.evaluation.size, model.device)
    pace = paces.measure(model, data, judge, chosen.evaluation)
    expected = pace.forecast(model, data, chosen.evaluation)
    say(f"fitting priors and judging: about {clock(min(expected, allowance.left()))}")
    how: dict[str, Any] = {
        "judge": judge, "progress": progress, "seed": chosen.training.seed,
    }  # fmt: skip
    settings = pace.affordable(data, chosen.evaluation, allowance)
    priors: list[dict[str, Any]] = []
    if settings.priors:
        half = allowance.part(0.5)
        priors = fitted.choose(model, data, settings, allowance=half, **how)
    evaluation = metrics.evaluate(
        model, data, settings, allowance=allowance, flip=chosen.data.flip,
        name=name_of(chosen.data.path), **how,
    )  # fmt: skip
    if priors:
        evaluation["priors"] = priors
    evaluation["environment"] = environment()
    model.save(out / "model", scores=evaluation)
    pictures(model, data, out)
    # it says that the run is judged, and so comes after what was judged
    files.write_text(out / "evaluation.json", json.dumps(evaluation, indent=2, allow_nan=False))
    report.write(out)
    return evaluation


def evaluate(
    model: Model | str | Path,
    data: str | Path | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    judge: nn.Module | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Judge a model on images that it was not trained on.

    Of the images that it was trained on those held out are judged by, and a run that is judged so
    has its ``evaluation.json`` and report renewed. Of others all are, unless ``data.test_share``
    asks for the part that is held out of them.

    model: a model, a run's or a model's directory, or a Hub id
    data: the images; unset: those the run was trained on
    settings: by dotted name, for example ``{"evaluation.samples": 1000}``
    judge: a module of your own from images (B, 3, S, S) to features (B, D)
    device: where a model that is loaded goes
    progress: called with what is done, how much of it, and of how much
    """
    folder = None if isinstance(model, Model) else Path(model)
    own = folder is not None and (folder / "config.yaml").exists()
    loaded = model if isinstance(model, Model) else load(model, device=device)
    if data is None and not own:
        raise ConfigError("name the images to judge the model on: only a run knows its own")
    base = config.load(folder / "config.yaml") if own and folder is not None else Config()
    given = dict(settings or {}) | ({} if data is None else {"data.path": str(data)})
    refuse_untold(base.data, given, folder or "")
    if data is not None:  # what was said of the run's own files says nothing of others
        given = {"data.labels_file": None, "data.depth": loaded.info.data_depth} | given
    if not own:
        base = _as_trained(base, loaded)
    chosen = config.override(base, given)
    judge = load_judge(judge or chosen.evaluation.judge, chosen.evaluation.size, loaded.device)
    pairs, packed = loaded.info.paired, packing(progress)
    if data is not None and "data.test_share" not in given:
        trained = loaded.info.trained.fingerprint
        wanted = judged_by(chosen.data, trained, paired=pairs, progress=packed)
        chosen = replace(chosen, data=wanted)
    opened = open_data(chosen.data, paired=pairs, progress=packed)
    if opened.shape != loaded.shape:
        raise ConfigError(
            f"the images are {_size(opened.shape)}, the model makes {_size(loaded.shape)}: "
            f"set --data.size and --data.channels to the model's"
        )
    loaded.refuse_other_classes(opened.classes)
    told = chosen.evaluation.budget
    seconds = None if told is None else seconds_of("evaluation.budget", told)
    if own and folder is not None and opened.fingerprint == loaded.info.trained.fingerprint:
        return assess(
            loaded, opened, chosen, folder, judge=judge, progress=progress, seconds=seconds
        )
    allowance = metrics.Allowance(seconds)
    pace = paces.measure(loaded, opened, judge, chosen.evaluation)
    scores = metrics.evaluate(
        loaded, opened, pace.affordable(opened, chosen.evaluation, allowance), judge=judge,
        progress=progress, seed=chosen.training.seed, training=False, allowance=allowance,
        name=name_of(chosen.data.path),
    )  # fmt: skip
    listed = None if folder is None else folder / IMAGES
    if listed is not None and listed.exists():
        scores["known"] = Manifest.load(listed).count(opened.test)
    return scores


def check(
    data: str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Every defect, duplicate and leak of some images, found before any training.

    settings: by dotted name, for example ``{"data.size": 64}``
    """
    chosen = config.override(Config(), {"data.path": str(data)} | dict(settings or {}))
    return check_images(chosen.data, progress=packing(progress))


def compare(
    runs: Sequence[str | Path],
    out: str | Path = "comparison.html",
    *,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> Path:
    """Write one self-contained page about several runs: scores, samples, curves; its path.

    runs: their directories
    out: the page
    seed: of the samples, the same for every run

    Raises ConfigError for fewer than two runs or one named twice, DataError for what is no run.
    """
    return comparison.write(
        runs, out, seed=seed, device=Processes(device).device, progress=progress
    )


def load(
    path: str | Path, networks: Mapping[str, nn.Module] | None = None, device: str = "auto"
) -> Model:
    """The model of a model directory, a run directory, or a Hub id.

    networks: the modules that the model was trained with, where they were your own
    device: auto, cpu, cuda or mps

    Raises ConfigError or CheckpointError for anything but a whole, unchanged model.
    """
    return load_model(path, networks=networks, device=Processes(device).device)


def pictures(model: Model, data: Data, out: Path) -> None:
    """Grids beside the report: samples, and what the model makes of held-out images."""
    if model.info.task != "generate":
        return _translations(model, data, out / "samples.png")
    tasks.generate(model, 64, out / "samples.png", columns=8)
    _by_prior(model, out / "priors.png")
    if "encoder" in model.networks:
        x, label = _spread(model, data, 16)
        tasks.reconstruct(model, x, out / "reconstructions.png", label=label)
    if "encoder" in model.networks and len(data.test) > 1:
        x, label = _spread(model, data, 9)
        tasks.interpolate(model, x, out / "interpolation.png", label=label)
    else:
        tasks.interpolate(model, None, out / "interpolation.png")


def _spread(model: Model, data: Data, n: int) -> tuple[Tensor, Tensor | None]:
    """Held-out images from all over the set, and their classes where the model knows some."""
    rows, labels = spread(len(data.test), n), data.test.labels
    told = None
    if model.info.classes and labels is not None:
        told = torch.from_numpy(labels[rows].astype(np.int64))
    return data.test.images(rows), told


def _by_prior(model: Model, path: Path) -> None:
    """A row of samples for every prior, all from the same seed; nothing where there is one."""
    path.unlink(missing_ok=True)
    names = list(model.priors)
    if len(names) > 1:
        made = torch.cat([model.generate(12, seed=0, prior=name).cpu() for name in names])
        save_png(grid(made, 12, scale=enlarged(model.shape)), path)


def _translations(model: Model, data: Data, path: Path) -> None:
    """A sheet with a held-out source a row, four images that the model makes of it, its target."""
    rows = spread(len(data.test), 12)
    made = next(made_of_sources(model, data.test, rows, 0, variants=4))
    source, target = data.test.sources(rows).cpu(), data.test.images(rows)
    channels = model.shape[0]
    shown = source[:, :channels] if source.shape[1] >= channels else source[:, :1]
    shown = shown.expand(-1, channels, -1, -1)
    lines = torch.cat([shown[:, None], made.cpu(), target[:, None]], 1)
    save_png(grid(lines.flatten(0, 1), lines.shape[1], scale=enlarged(model.shape)), path)


def environment() -> dict[str, Any]:
    """What the scores were computed with: versions and machine, nothing personal."""
    names = ("ganvae", "torch", "numpy", "pillow", "safetensors")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "processes": from_environment("WORLD_SIZE", 1),
        "versions": {name: version(name) for name in names},
    }


def use_threads(threads: int | None) -> None:
    """Lets torch use so many CPU threads; None leaves it as it is."""
    if threads is not None:
        if not 1 <= threads <= config.MAX_THREADS:
            raise ConfigError(f"--threads must be from 1 to {config.MAX_THREADS}, got {threads}")
        torch.set_num_threads(threads)


def is_first() -> bool:
    """Whether this process speaks and writes for all of torchrun's."""
    return from_environment("RANK", 0) == 0


def packing(progress: Progress | None) -> Callable[[int, int | None], None] | None:
    """What the data reports its packing to."""
    if progress is None:
        return None
    return lambda done, total: progress("images packed", done, total)


# -- run directories ------------------------------------------------------------------------------


def is_begun(out: Path) -> bool:
    """Whether there is a checkpoint of ours to continue from."""
    return any((out / "checkpoints").glob(f"step-*/{checkpoint.MANIFEST}"))


def is_run(out: Path) -> bool:
    """Whether a directory is a run of ours: by a checkpoint, or by the settings that it has."""
    if is_begun(out):
        return True
    try:
        config.load(out / "config.yaml")
    except ConfigError:
        return False
    return True


def refuse_resume(out: Path, what: str, begin: bool) -> None:
    """Raises ConfigError: in ``out`` is nothing of ours to resume.

    what: would be begun there
    begin: whether it may be begun where there is nothing at all
    """
    if out.is_dir() and {path.name for path in out.iterdir()} - _EMPTY:
        raise ConfigError(
            f"{out} holds files and no run of ganvae: name the run's directory, or leave out "
            f"--resume and choose a new --out for {what}"
        )
    if not begin:
        raise ConfigError(
            f"there is nothing to resume in {out}: name the run's directory, or give --begin "
            f"to begin {what} there"
        )


def refuse_occupied(out: Path) -> None:
    """Raises unless a new run may have the directory ``out``."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file: choose another run directory with --out")
    if not out.exists() or not {path.name for path in out.iterdir()} - _EMPTY:
        return
    lock.refuse_busy(out)
    raise ConfigError(
        f"{out} already holds files: continue that run with --resume, or choose another --out"
    )


def _stem(chosen: Config) -> str:
    name = re.sub(r"[^\w.-]+", "-", name_of(chosen.data.path)).strip("-.") or "data"
    return f"{chosen.objective}-{name[:60]}"


def new_run(chosen: Config) -> Path:
    """The first free ``runs/OBJECTIVE-DATA-NUMBER``; many processes agree on torchrun's id."""
    if from_environment("WORLD_SIZE", 1) > 1:
        launched = os.environ.get("TORCHELASTIC_RUN_ID", "none")
        if launched == "none":
            raise ConfigError("name the run's directory with --out where many processes train")
        return RUNS / f"{_stem(chosen)}-{launched[:8]}"
    taken = [number for number, _ in _numbered(chosen)]
    return RUNS / f"{_stem(chosen)}-{max(taken, default=0) + 1}"


def latest_run(chosen: Config) -> Path:
    """The newest run that :func:`new_run` named for the same objective and data."""
    found = _numbered(chosen)
    if not found:
        raise ConfigError(f"there is no {RUNS / _stem(chosen)}-* to resume: name it with --out")
    return max(found)[1]


def _numbered(chosen: Config) -> list[tuple[int, Path]]:
    stem = f"{_stem(chosen)}-"
    parts = [(path.name.removeprefix(stem), path) for path in RUNS.glob(f"{stem}*")]
    return [(int(number), path) for number, path in parts if number.isdecimal()]


def _as_trained(base: Config, model: Model) -> Config:
    """The preparation of the images that the model was trained on."""
    channels, height, _ = model.shape
    prepared = {"size": height, "channels": channels, "labels": bool(model.info.classes)}
    kept = {"resize": model.info.resize, "background": model.info.background}
    depth = {"depth": model.info.data_depth}
    return config.parse({"data": prepared | kept | depth}, start=base)


def _size(shape: tuple[int, int, int]) -> str:
    return f"{shape[1]}x{shape[2]} {'grey' if shape[0] == 1 else 'RGB'}"
