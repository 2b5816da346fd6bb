"""Our trainings in races: their settings, watchers and scores."""

from __future__ import annotations

import base64
import copy
import io
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.profiler import record_function

from benchmarks.fetch import fetch
from benchmarks.race import Args, Cell
from benchmarks.sections import show
from benchmarks.timing import Watch
from ganvae import config as configuration
from ganvae import metrics, objectives
from ganvae.config import Config
from ganvae.data import Data, open_data
from ganvae.errors import DivergedError
from ganvae.metrics import judge as judges
from ganvae.metrics.sampling import levels
from ganvae.models import Model
from ganvae.models.images import grid
from ganvae.objectives.base import Objective
from ganvae.progress import Display
from ganvae.runs import settings
from ganvae.runs.run import Run, start
from ganvae.training import guard, log
from ganvae.training.engine import Outcome
from ganvae.training.schedule import Budget
from ganvae.training.trainer import Trainer, Watcher

QUIET = {
    "training.previews": 0, "training.evaluations": 0, "training.checkpoint_every": "24h",
    "training.tensorboard": "false",
}  # fmt: skip
"""Settings for a training without previews, scores, logs and checkpoints."""
SCORED = QUIET | {"evaluation.importance": 1, "evaluation.priors": "false"}
"""The same where models are judged; other priors would be chosen by the images that judge them."""
FASHION = {"data.size": 32, "data.resize": "pad", "data.background": "black"}
"""Settings that pad Fashion-MNIST to 32 px."""
KEPT = (
    "kid", "kid_error", "fid", "precision", "recall", "density", "coverage", "diversity", "mse",
    "psnr", "ssim", "perceptual",
)  # fmt: skip
STRIP = 16
"""How many samples a result holds."""
FITTED = dict.fromkeys(("vae", "vae_gan"), "objective.fit")
FITTED |= dict.fromkeys(("gan_vae", "soft_intro_vae"), "objective.representation.fit")


def completed(overrides: Mapping[str, Any]) -> Config:
    """The defaults with some settings by dotted name, and all of the objective's spelled out."""
    return settings.complete(configuration.override(Config(), overrides))


def parsed(text: str | Sequence[str]) -> dict[str, str]:
    """Settings as options have them, ``a=1,b=2`` or a list of ``a=1``, by dotted name."""
    parts = text.split(",") if isinstance(text, str) else text
    return dict(part.split("=", 1) for part in parts if part)


def seconds(budget: str) -> float:
    """The seconds of a budget; raises SystemExit for one that is no time."""
    length = Budget.parse(budget).seconds
    if not length:
        raise SystemExit(f"the race is over time: {budget!r} is none")
    return length


def application(args: Args, overrides: Mapping[str, Any], picture: str = "") -> tuple[Run, Data]:
    """A whole run by ``--budget``, ``--seed`` and ``--set``, and its data.

    picture: the name of the file that the run's samples are written to; empty: none
    """
    common = {"training.budget": args.budget, "training.seed": args.seed}
    extra = parsed(getattr(args, "set", ()))
    config = completed({**common, "training.evaluations": 0, **overrides, **extra})
    with tempfile.TemporaryDirectory() as folder:
        run = start(config, Path(folder, "run"))
        if picture:
            show(picture, run.path / "samples.png", args.results)
    return run, open_data(config.data)


def stages(steps: int, threads: int, **more: Any) -> Config:
    """The default objective for ``steps`` steps of each of its two stages, and :data:`QUIET`.

    more: further settings by dotted name, with "__" for the dot
    """
    overrides = QUIET | {
        "objective.share": 0.5, "objective.representation.fit": 500, "training.device": "cpu",
        "training.budget": f"{2 * steps}steps", "training.threads": threads,
    }  # fmt: skip
    return completed(overrides | {name.replace("__", "."): value for name, value in more.items()})


def shares(size: int = 32) -> dict[str, float]:
    """The default objective's share of time for each of its stages, by their names."""
    objective = objectives.build(Config().objective).suited(size)
    return {type(stage.objective).__name__: stage.share for stage in objective.stages()}


class Timed(Watcher):
    """Reports after each step how long it took, with everything that the trainer does around it.

    report: called with the trainer and the time of the step
    """

    def __init__(self, report: Callable[[Trainer, Watch], None]):
        self.report, self.since = report, Watch()

    def before_step(self, trainer: Trainer) -> None:
        """Starts the clock."""
        self.since = Watch.now()

    def after_step(self, trainer: Trainer, outcome: Outcome) -> None:
        """Reports."""
        self.report(trainer, Watch.now() - self.since)


def seldom(trainer: Trainer) -> dict[str, Callable[[], object]]:
    """A trainer's rare work, previews and checkpoints, to be timed on its own."""
    return {"preview_s": lambda: trainer.look({"preview"}), "checkpoint_s": trainer.save}


def name_ranges(trainer: Trainer, prefix: str) -> None:
    """Wraps a trainer's parts in ranges of the profiler, whose names have a prefix."""
    learner = trainer.learner
    parts: dict[str, list[tuple[Any, str]]] = {
        "undo": [(learner.engine.undo, "remember")],
        "clipping": [(learner.engine, "norm"), (learner.engine, "clip")],
        "average": [(learner.average, "update")],
        "batches": [(learner.batches, "at")],
        "watching and showing": [
            (learner, "sample"), (trainer.watch, "after"), (trainer.watch, "due")
        ],
    }  # fmt: skip
    for name, methods in parts.items():
        for owner, method in methods:
            ranged = record_function(prefix + name)(getattr(owner, method))
            setattr(owner, method, ranged)


def as_if_ended(trainer: Trainer) -> Model:
    """The model of a run as if it ended now, with its prior fitted."""
    nets = copy.deepcopy(trainer.learner.average.nets)
    trainer.stage.conclude(nets, trainer.learner.images(trainer.at, 103))
    return trainer.learner.model(trainer.at, nets)


def trainer(
    config: Config,
    out: Path,
    *watchers: Watcher,
    data: Data | None = None,
    objective: Objective | None = None,
    display: Display | None = None,
) -> Trainer:
    """A trainer by its settings; data and objective are theirs unless given."""
    objective = objective or objectives.build(config.objective, config.objective_options)
    data = data or open_data(config.data)
    return Trainer(config, objective, data, out, display=display, watchers=watchers)


@dataclass(frozen=True)
class Plan:
    """The options of a race over seeds.

    budget: of each training
    marks: shares of it after which ours are judged
    fit: latents that priors are fitted to; None: as many as by default
    """

    budget: str
    seeds: int
    samples: int
    threads: int
    marks: tuple[float, ...]
    fit: int | None = None


class Course(Watcher):
    """Judges a training at some points of its budget.

    after: shares of the budget after which it is judged, beside its end
    judge: of :mod:`ganvae.metrics.judge`
    """

    def __init__(self, after: Sequence[float], judge: judges.Judge):
        self.after, self.judge, self.passed = after, judge, 0
        self.points: list[dict[str, Any]] = []

    def before_step(self, trainer: Trainer) -> None:
        """Judges the model where another share of the budget is spent."""
        at = trainer.at
        progress = trainer.budget.progress(*at.spent)
        passed = [share for share in self.after if share <= progress]
        if len(passed) > self.passed and progress < 1:
            start = time.perf_counter()
            model = as_if_ended(trainer)
            self.note(trainer, model, max(passed), at.seconds + time.perf_counter() - start)
        self.passed = len(passed)

    def note(self, trainer: Trainer, model: Model, share: float, seconds: float) -> None:
        """Adds a model's scores after a share of the budget and some seconds."""
        scores = judged(model, trainer.data, trainer.config, self.judge)
        at = {"share": share, "seconds": round(seconds, 2), "step": trainer.at.step}
        self.points.append(at | scores)


def values(evaluation: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Some figures of an evaluation, as far as it has them."""
    figures = evaluation["figures"]
    return {name: figures[name]["value"] for name in names if name in figures}


def judged(model: Any, data: Any, config: Config, judge: Any) -> dict[str, float | None]:
    """The scores that races over quality are about, on held-out images."""
    evaluation = metrics.evaluate(
        model, data, config.evaluation, judge=judge, training=False, seed=config.training.seed
    )
    scores, error = values(evaluation, KEPT), evaluation["figures"]["kid"]["error"]
    return {"kid": scores.pop("kid"), "kid_error": error, **scores}


def strip(model: Any) -> str:
    """A row of samples as a PNG in base 64, to be looked at."""
    file = io.BytesIO()
    grid(levels(model.generate(STRIP, seed=0)), STRIP).save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def complete(
    objective: str | None, data: Mapping[str, Any], plan: Plan, seed: int, **training: Any
) -> dict[str, Any]:
    """The complete settings of a training of ours; the name of a cell's file is a digest of them.

    data: how images are prepared, by dotted name
    training: further settings of that section
    """
    overrides = {
        **SCORED, **data, "training.budget": plan.budget, "training.seed": seed,
        "training.threads": plan.threads, "evaluation.samples": plan.samples,
        **{f"training.{name}": value for name, value in training.items()},
    }  # fmt: skip
    if objective:
        overrides["objective"] = objective
    if plan.fit and objective in FITTED:
        overrides[FITTED[objective]] = plan.fit
    return configuration.as_dict(completed(overrides))


def cell(race: str, name: str, data: str, prepared: Mapping[str, Any], plan: Plan, seed: int,
         label: str = "") -> Cell:  # fmt: skip
    """The cell of one training of ours.

    data, prepared: a data set's name and how its images are prepared
    """
    settings = {
        "data": data, "config": complete(name, prepared, plan, seed), "marks": list(plan.marks),
        "threads": plan.threads,
    }  # fmt: skip
    return Cell(race, label or f"{name}-{plan.budget}-{seed}", settings)


def train(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Trains and judges one of ours.

    settings: ``data``, a data set's name; ``config``; ``marks``, without which no samples are
        kept, and a run that diverges is a result: ``diverged`` says how
    """
    name = settings["data"]
    path = name if name == "digits" else str(fetch(name))
    config = configuration.override(configuration.parse(settings["config"]), {"data.path": path})
    judge = judges.load(config.evaluation.judge, config.evaluation.size)
    course = Course(settings.get("marks", ()), judge)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        training = trainer(config, out, course)
        try:
            result = training.run()
        except DivergedError as error:
            if "marks" in settings:
                raise
            return {"diverged": str(error).replace(str(out), "the run"), **warnings(out)}
        course.note(training, result.model, 1.0, result.position.seconds)
        figures = {
            "diverged": None, "rollbacks": result.position.rollbacks, **warnings(out),
            "steps": result.position.step, "parameters": result.model.parameters,
            **course.points[-1],
        }  # fmt: skip
    if "marks" in settings:
        figures |= {"strip": strip(result.model), "course": course.points}
    return figures


def is_alarm(text: str) -> bool:
    """Whether an event of a run's log is one of the guard's alarms."""
    return any(text.rstrip().endswith(alarm.rpartition("}")[2].strip()) for alarm in guard.ALARMS)


def warnings(out: Path) -> dict[str, list[str]]:
    """Alarms and skipped steps in a run's log."""
    events = [line["event"] for line in log.read(out / "metrics.jsonl") if "event" in line]
    return {
        "alarms": [text for text in events if is_alarm(text)],
        "skipped": [text for text in events if "skipped: not finite" in text],
    }
