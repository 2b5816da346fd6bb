"""The article's claim: with equal networks and time, does the hybrid beat the VAE and the GAN?

``vae``, ``gan``, ``gan_vae``, ``vae_gan`` and ``soft_intro_vae`` train for the same time on
Fashion-MNIST at 32 px with their defaults, and are judged along the way while the clock stands
still. ``ratio`` is the smaller of two figures of ``gan_vae``, medians over seeds: its coverage
over the GAN's, and the VAE's KID over its own (goal: above 1).
"""

from __future__ import annotations

import argparse
import base64
import copy
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks import PICTURES, RESULTS, machine
from benchmarks.cells import Cell, finish, measure, missed
from benchmarks.fetch import fetch
from ganvae import api, config, metrics, objectives
from ganvae.config import Config
from ganvae.data import Data, open_data
from ganvae.metrics import judge as judges
from ganvae.metrics.sampling import levels
from ganvae.models import Model
from ganvae.models.images import grid
from ganvae.objectives.base import Objective
from ganvae.training.schedule import Budget
from ganvae.training.trainer import Trainer

GOAL = 1.0
HYBRIDS = ("gan_vae", "vae_gan", "soft_intro_vae")
MARKS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4)
"""Shares of the budget after which a training is judged, beside its end."""
KEPT = (
    "kid", "kid_error", "fid", "precision", "recall", "density", "coverage", "diversity", "mse",
    "psnr", "ssim", "perceptual",
)  # fmt: skip
STRIP = 16
"""Samples in a row that is kept."""
FITTED = dict.fromkeys(("vae", "vae_gan"), "objective.fit")
FITTED |= dict.fromkeys(("gan_vae", "soft_intro_vae"), "objective.representation.fit")
HIGHER = {"coverage", "recall", "precision", "density", "diversity", "psnr", "ssim"}


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


class Judged(Trainer):
    """A trainer that is judged along the way; what its objective does at an end is in its time.

    after: shares of the budget after which it is judged, beside its end
    judge: of :mod:`ganvae.metrics.judge`
    """

    def __init__(
        self,
        config: Config,
        objective: Objective,
        data: Data,
        out: Path,
        after: Sequence[float],
        judge: judges.Judge,
    ):
        super().__init__(config, objective, data, out)
        self.after, self.judge = after, judge
        self.course: list[dict[str, Any]] = []

    def _passed(self) -> list[float]:
        at = self.at
        progress = self.budget.progress(at.step, at.images, at.seconds)
        return [share for share in self.after if share <= progress]

    def _due_marks(self) -> dict[str, int]:
        return super()._due_marks() | {"evaluation": len(self._passed())}

    def _evaluate(self) -> None:
        """Scores of what the run would leave if it ended here, its prior fitted."""
        start, kept = time.perf_counter(), self.average
        self.average = copy.copy(kept)
        self.average.nets = copy.deepcopy(kept.nets)
        stage = self.stages[self.at.stage].objective
        stage.conclude(self.average.nets, self._stream(103))
        seconds = self.at.seconds + time.perf_counter() - start
        self.note(self.model(), max(self._passed()), seconds)
        self.average = kept

    def note(self, model: Model, share: float, seconds: float) -> None:
        """Adds a model's scores to the course: after a share of the budget, and so long."""
        scores = judged(model, self.data, self.config, self.judge)
        at = {"share": share, "seconds": round(seconds, 2), "step": self.at.step}
        self.course.append(at | scores)


def judged(model: Any, data: Any, chosen: Config, judge: Any) -> dict[str, float | None]:
    """The scores that races over quality are about, on held-out images."""
    found = metrics.evaluate(
        model, data, chosen.evaluation, judge=judge, training=False, seed=chosen.training.seed
    )["figures"]
    values = {name: figure["value"] for name, figure in found.items()}
    values["kid_error"] = found["kid"]["error"]
    return {name: values[name] for name in KEPT if name in values}


def strip(model: Any) -> str:
    """A row of samples as a PNG in base 64, to be looked at."""
    file = io.BytesIO()
    grid(levels(model.generate(STRIP, seed=0)), STRIP).save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def sheet(name: str, strips: Sequence[str]) -> None:
    """Keeps rows of samples as one picture below each other, ``results/pictures/NAME.png``."""
    rows = [Image.open(io.BytesIO(base64.b64decode(one))) for one in strips]
    whole = Image.new(rows[0].mode, (rows[0].width, sum(row.height for row in rows)))
    for number, row in enumerate(rows):
        whole.paste(row, (0, sum(above.height for above in rows[:number])))
    PICTURES.mkdir(parents=True, exist_ok=True)
    whole.save(PICTURES / f"{name}.png", optimize=True)


def complete(objective: str, data: Mapping[str, Any], plan: Plan, seed: int) -> dict[str, Any]:
    """The settings of a training of ours, every default spelled out: they decide a cell's file.

    data: of the section ``data``, its path left out
    """
    given = {f"data.{name}": value for name, value in data.items()} | {
        "objective": objective, "training.budget": plan.budget, "training.seed": seed,
        "training.threads": plan.threads, "training.previews": 0, "training.evaluations": 0,
        "training.checkpoint_every": "24h", "training.tensorboard": "false",
        "evaluation.samples": plan.samples, "evaluation.importance": 1,
        "evaluation.priors": "false",  # chosen by held-out images, which are the judges here
    }  # fmt: skip
    if plan.fit and objective in FITTED:
        given[FITTED[objective]] = plan.fit
    return config.as_dict(api.complete(config.override(Config(), given)))


def train(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Trains and judges one of ours.

    settings: ``data``, a data set's name; ``config``; ``marks``
    """
    path = {"data.path": str(fetch(settings["data"]))}
    chosen = config.override(config.parse(settings["config"]), path)
    objective = objectives.build(chosen.objective, chosen.objective_options)
    data = open_data(chosen.data)
    judge = judges.load(chosen.evaluation.judge, chosen.evaluation.size)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Judged(chosen, objective, data, Path(folder, "run"), settings["marks"], judge)
        result = trainer.run()
        trainer.note(result.model, 1.0, result.position.seconds)
    return {
        "steps": result.position.step,
        "parameters": result.model.parameters,
        "strip": strip(result.model),
        "course": trainer.course,
        **trainer.course[-1],
    }


cell = train


def ours(race: str, name: str, data: str, prepared: Mapping[str, Any], plan: Plan, seed: int,
         label: str = "") -> Cell:  # fmt: skip
    """The cell of one training of ours.

    data, prepared: a data set's name and how its images are prepared
    """
    settings = {
        "data": data,
        "config": complete(name, prepared, plan, seed),
        "marks": list(plan.marks),
        "threads": plan.threads,
    }
    return Cell(race, label or f"{name}-{plan.budget}-{seed}", settings)


# -- what it came to --------------------------------------------------------------------------


def median(found: Sequence[Mapping[str, Any]], score: str) -> float | None:
    """A score's median over seeds; None where a run has none."""
    values = [one.get(score) for one in found]
    return None if None in values or not values else statistics.median(values)  # type: ignore[type-var]


def typical(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Medians of every score over seeds, the KID of each, and the median course."""
    courses = [{point["share"]: point for point in one["course"]} for one in found]
    shares = [share for share in courses[0] if all(share in one for one in courses)]
    return {
        **{name: median(found, name) for name in KEPT if name in found[0]},
        "kids": [one["kid"] for one in found],
        "steps": median(found, "steps"),
        "seconds": median(found, "seconds"),
        "parameters": found[0]["parameters"],
        "course": [
            {name: median([one[share] for one in courses], name) for name in courses[0][share]}
            for share in shares
        ],
    }


def reached(course: Sequence[Mapping[str, Any]], score: str, target: float | None) -> float | None:
    """Seconds after which a score first was as good as ``target``; None if it never was."""
    if target is None:
        return None
    sign = -1 if score in HIGHER else 1
    good = [
        point["seconds"]
        for point in course
        if point.get(score) is not None and sign * point[score] <= sign * target
    ]
    return min(good, default=None)


def compare(found: Mapping[str, Mapping[str, Any]], hybrid: str) -> dict[str, Any]:
    """A hybrid against the VAE and the GAN: both figures of the claim, and times to their scores.

    found: :func:`typical` by objective
    """
    mine, vae, gan = found[hybrid], found["vae"], found["gan"]
    times = {}
    for other in ("vae", "gan"):
        for score in ("kid", "coverage"):
            seconds = reached(mine["course"], score, found[other][score])
            share = None if seconds is None else round(seconds / found[other]["seconds"], 4)
            times[f"{other}_{score}"] = share
    return {
        "coverage_over_gan": round(mine["coverage"] / max(gan["coverage"], 1e-4), 4),
        "vae_kid_over_kid": round(vae["kid"] / max(mine["kid"], 1e-4), 4),
        "share_of_time_to_final": times,
    }


def goals(hybrid: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the claim says, line by line."""
    shares = hybrid["share_of_time_to_final"].values()
    slowest = None if None in shares else max(shares)
    return [
        {"what": "coverage of gan_vae over the GAN's", "measured": hybrid["coverage_over_gan"],
         "goal": GOAL, "better": "higher"},
        {"what": "KID of the VAE over gan_vae's", "measured": hybrid["vae_kid_over_kid"],
         "goal": GOAL, "better": "higher"},
        {"what": "share of the time in which gan_vae passes every final score of VAE and GAN",
         "measured": slowest, "goal": 1.0, "better": "lower"},
    ]  # fmt: skip


def summary(results: Mapping[str, Sequence[Mapping[str, Any]]], plan: Plan) -> dict[str, Any]:
    """The race's result from its cells' results by objective."""
    found = {name: typical(runs) for name, runs in results.items()}
    hybrids = {name: compare(found, name) for name in HYBRIDS if name in found}
    first = hybrids["gan_vae"]
    return {
        "name": "claim",
        "ratio": min(first["coverage_over_gan"], first["vae_kid_over_kid"]),
        "goal": GOAL,
        "goals": goals(first),
        "hybrids": hybrids,
        "objectives": found,
        **about(plan, [one for runs in results.values() for one in runs]),
    }


def about(plan: Plan, cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The conditions that a race ran under."""
    return {
        "budget": plan.budget,
        "seeds": plan.seeds,
        "samples": plan.samples,
        "threads": plan.threads,
        "machine": machine(),
        "load": [min(one["load"][0] for one in cells), max(one["load"][1] for one in cells)],
        "minutes": round(sum(one["wall_s"] for one in cells) / 60, 1),
    }


FASHION = {"size": 32, "resize": "pad", "background": "black"}


def arguments(text: str | None) -> argparse.ArgumentParser:
    """The options of a race over seeds."""
    parser = argparse.ArgumentParser(description=(text or "").partition("\n")[0])
    parser.add_argument("--budget", default="10m", help="time of each training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--threads", type=int, help="of every training; default: the cores")
    parser.add_argument("--quick", action="store_true", help="seconds: shows that it runs")
    return parser


def planned(args: argparse.Namespace, marks: Sequence[float]) -> tuple[Plan, Path | None]:
    """The plan that the options make, and where its cells are kept, as :func:`measure` has it.

    Raises SystemExit for a budget that is no time.
    """
    if not Budget.parse(args.budget).seconds:
        raise SystemExit(f"the race is over time: {args.budget!r} is none")
    if args.quick:
        return Plan("1s", 1, 64, args.threads or 1, marks=(0.5,), fit=500), None
    threads = args.threads or torch.get_num_threads()
    return Plan(args.budget, args.seeds, args.samples, threads, tuple(marks)), RESULTS


def main() -> int:
    """Prints and keeps the result; 1 where the claim does not hold."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--hybrids", nargs="*", choices=HYBRIDS[1:], default=HYBRIDS[1:], help="beside gan_vae"
    )
    args = parser.parse_args()
    plan, folder = planned(args, MARKS)
    names = ("vae", "gan", "gan_vae", *args.hybrids)
    wanted = {
        (name, seed): ours("claim", name, "fashion-mnist", FASHION, plan, seed)
        for seed in range(plan.seeds)
        for name in names
    }
    found = dict(zip(wanted, measure(list(wanted.values()), folder)))
    results = {name: [found[name, seed] for seed in range(plan.seeds)] for name in names}
    result = summary(results, plan)
    if not args.quick:
        sheet("claim", [found[name, 0]["strip"] for name in names])
    finish(result, args.quick)
    return int(not args.quick and any(map(missed, result["goals"])))


if __name__ == "__main__":
    sys.exit(main())
