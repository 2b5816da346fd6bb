"""Trainings of ours in races: how they are set, watched and judged.

The one place that knows what the trainer keeps to itself.
"""

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
from ganvae import api, config, metrics, objectives
from ganvae.config import Config
from ganvae.data import Data, open_data
from ganvae.errors import DivergedError
from ganvae.metrics import judge as judges
from ganvae.metrics.sampling import levels
from ganvae.models.images import grid
from ganvae.objectives.base import Objective
from ganvae.progress import Display
from ganvae.training import guard, log
from ganvae.training.schedule import Budget
from ganvae.training.trainer import Trainer

QUIET = {
    "training.previews": 0, "training.evaluations": 0, "training.checkpoint_every": "24h",
    "training.tensorboard": "false",
}  # fmt: skip
"""Settings that leave nothing beside the training."""
SCORED = QUIET | {"evaluation.importance": 1, "evaluation.priors": "false"}
"""The same for a training that is judged: priors would be chosen by the judge's own images."""
FASHION = {"data.size": 32, "data.resize": "pad", "data.background": "black"}
"""How Fashion-MNIST comes to 32 px."""
KEPT = (
    "kid", "kid_error", "fid", "precision", "recall", "density", "coverage", "diversity", "mse",
    "psnr", "ssim", "perceptual",
)  # fmt: skip
STRIP = 16
"""Samples in a row that is kept."""
FITTED = dict.fromkeys(("vae", "vae_gan"), "objective.fit")
FITTED |= dict.fromkeys(("gan_vae", "soft_intro_vae"), "objective.representation.fit")
ALARMS = (guard._DIVERGED, guard._BLIND, guard._SATURATED, guard._LOGITS, guard._COLLAPSED,
          guard._UNMOVED)  # fmt: skip


def completed(given: Mapping[str, Any]) -> Config:
    """The defaults with some settings by dotted name, and all of the objective's spelled out."""
    return api.complete(config.override(Config(), given))


def parsed(text: str | Sequence[str]) -> dict[str, str]:
    """Settings as options have them, ``a=1,b=2`` or a list of ``a=1``, by dotted name."""
    parts = text.split(",") if isinstance(text, str) else text
    return dict(part.split("=", 1) for part in parts if part)


def seconds(budget: str) -> float:
    """Of a budget; raises SystemExit for one that is no time."""
    found = Budget.parse(budget).seconds
    if not found:
        raise SystemExit(f"the race is over time: {budget!r} is none")
    return found


def application(args: Args, given: Mapping[str, Any], picture: str = "") -> tuple[api.Run, Data]:
    """A whole run by ``--budget``, ``--seed`` and ``--set``, and its data.

    picture: the name by which the run's samples are kept
    """
    common = {"training.budget": args.budget, "training.seed": args.seed}
    extra = parsed(getattr(args, "set", ()))
    chosen = completed({**common, "training.evaluations": 0, **given, **extra})
    with tempfile.TemporaryDirectory() as folder:
        run = api.start(chosen, Path(folder, "run"))
        if picture:
            show(picture, run.path / "samples.png", args.kept)
    return run, open_data(chosen.data)


def stages(steps: int, threads: int, **more: Any) -> Config:
    """The default for ``steps`` steps of each of its two stages, with nothing beside them.

    more: further settings by dotted name, with "__" for the dot
    """
    given = QUIET | {
        "objective.share": 0.5, "objective.representation.fit": 500, "training.device": "cpu",
        "training.budget": f"{2 * steps}steps", "training.threads": threads,
    }  # fmt: skip
    return completed(given | {name.replace("__", "."): value for name, value in more.items()})


def shares(size: int = 32) -> dict[str, float]:
    """How the default shares its time out among its stages, by the name of each objective."""
    objective = objectives.build(Config().objective).suited(size)
    return {type(stage.objective).__name__: stage.share for stage in objective.stages()}


class Watched(Trainer):
    """A trainer with somebody who looks at it between two steps, while its clocks stand still.

    watcher: is called with this trainer and what its last step took; None: a stage begins
    """

    watcher: Callable[[Watched, Watch | None], None] | None = None
    since = Watch()

    def _stop(self) -> str | None:
        """Called at the top of the loop: between two calls lies one whole step."""
        now = Watch.now()
        if self.watcher:
            self.watcher(self, now - self.since if self.at.stage_step else None)
        self.since = Watch.now()
        self.shown_at += self.since.wall - now.wall  # it shows and logs by the clock
        return super()._stop()

    @property
    def stage(self) -> Objective:
        """The objective of the stage it is in."""
        return self.stages[self.at.stage].objective

    def seldom(self) -> dict[str, Callable[[], object]]:
        """What it does seldom, to be timed alone."""
        return {"preview_s": lambda: self._look({"preview"}), "checkpoint_s": self._save}

    def name_ranges(self, prefix: str) -> None:
        """Makes ranges of the profiler of its parts, with names that begin so."""
        parts: dict[str, list[tuple[Any, str]]] = {
            "undo": [(self.engine._undo, "remember")],
            "clipping": [(self.engine, "_norm"), (self.engine, "_clip")],
            "average": [(self.average, "update")],
            "batches": [(self.batches, "at")],
            "watching and showing": [(self, "_watch"), (self, "_report"), (self, "_do_due")],
        }
        for name, methods in parts.items():
            for owner, method in methods:
                ranged = record_function(prefix + name)(getattr(owner, method))
                setattr(owner, method, ranged)

    def as_if_ended(self) -> Any:
        """The model that the run would leave if it ended here, its prior fitted."""
        kept = self.average
        self.average = copy.copy(kept)
        self.average.nets = copy.deepcopy(kept.nets)
        self.stage.conclude(self.average.nets, self._stream(103))
        model, self.average = self.model(), kept
        return model


def trainer(
    chosen: Config,
    out: Path,
    watcher: Callable[[Watched, Watch | None], None] | None = None,
    *,
    data: Data | None = None,
    objective: Objective | None = None,
    display: Display | None = None,
) -> Watched:
    """A trainer by its settings, which also name its data and its objective unless given."""
    objective = objective or objectives.build(chosen.objective, chosen.objective_options)
    made = Watched(chosen, objective, data or open_data(chosen.data), out, display=display)
    made.watcher = watcher
    return made


@dataclass(frozen=True)
class Plan:
    """What a race over seeds was asked for.

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


class Course:
    """Scores of a training along the way: a watcher.

    after: shares of the budget after which it is judged, beside its end
    judge: of :mod:`ganvae.metrics.judge`
    """

    def __init__(self, after: Sequence[float], judge: judges.Judge):
        self.after, self.judge, self.passed = after, judge, 0
        self.points: list[dict[str, Any]] = []

    def __call__(self, trainer: Watched, taken: Watch | None) -> None:
        at = trainer.at
        progress = trainer.budget.progress(at.step, at.images, at.seconds)
        passed = [share for share in self.after if share <= progress]
        if len(passed) > self.passed and progress < 1:
            start = time.perf_counter()
            model = trainer.as_if_ended()
            self.note(trainer, model, max(passed), at.seconds + time.perf_counter() - start)
        self.passed = len(passed)

    def note(self, trainer: Watched, model: Any, share: float, seconds: float) -> None:
        """Adds a model's scores: after a share of the budget, and so long."""
        scores = judged(model, trainer.data, trainer.config, self.judge)
        at = {"share": share, "seconds": round(seconds, 2), "step": trainer.at.step}
        self.points.append(at | scores)


def values(evaluation: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Some figures of an evaluation, as far as it has them."""
    figures = evaluation["figures"]
    return {name: figures[name]["value"] for name in names if name in figures}


def judged(model: Any, data: Any, chosen: Config, judge: Any) -> dict[str, float | None]:
    """The scores that races over quality are about, on held-out images."""
    evaluation = metrics.evaluate(
        model, data, chosen.evaluation, judge=judge, training=False, seed=chosen.training.seed
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
    """The settings of a training of ours, every default spelled out: they decide a cell's file.

    data: how images are prepared, by dotted name
    training: further settings of that section
    """
    given = {
        **SCORED, **data, "training.budget": plan.budget, "training.seed": seed,
        "training.threads": plan.threads, "evaluation.samples": plan.samples,
        **{f"training.{name}": value for name, value in training.items()},
    }  # fmt: skip
    if objective:
        given["objective"] = objective
    if plan.fit and objective in FITTED:
        given[FITTED[objective]] = plan.fit
    return config.as_dict(completed(given))


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
    chosen = config.override(config.parse(settings["config"]), {"data.path": path})
    judge = judges.load(chosen.evaluation.judge, chosen.evaluation.size)
    course = Course(settings.get("marks", ()), judge)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        made = trainer(chosen, out, course)
        try:
            result = made.run()
        except DivergedError as error:
            if "marks" in settings:
                raise
            return {"diverged": str(error).replace(str(out), "the run"), **told(out)}
        course.note(made, result.model, 1.0, result.position.seconds)
        found = {
            "diverged": None, "rollbacks": result.position.rollbacks, **told(out),
            "steps": result.position.step, "parameters": result.model.parameters,
            **course.points[-1],
        }  # fmt: skip
    if "marks" in settings:
        found |= {"strip": strip(result.model), "course": course.points}
    return found


def is_alarm(text: str) -> bool:
    """Whether an event of a run's log is one of the guard's alarms."""
    return any(text.rstrip().endswith(alarm.rpartition("}")[2].strip()) for alarm in ALARMS)


def told(out: Path) -> dict[str, list[str]]:
    """Alarms and skipped steps in a run's log."""
    events = [line["event"] for line in log.read(out / "metrics.jsonl") if "event" in line]
    return {
        "alarms": [text for text in events if is_alarm(text)],
        "skipped": [text for text in events if "skipped: not finite" in text],
    }
