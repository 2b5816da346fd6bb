"""The article's claim: with equal networks and time, does the hybrid beat the VAE and the GAN?

``python -m benchmarks claim`` compares coverage, KID and seconds on Fashion-MNIST at 32 px.
"""

from __future__ import annotations

import base64
import io
import statistics
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks import machine, ours
from benchmarks.ours import FASHION, KEPT, Plan
from benchmarks.race import Args, Race, Result, by_name, goal, minutes
from benchmarks.sections import Chart, Pictures, plain, shown, table, threads
from ganvae import files

GOAL = 1.0
HYBRIDS = ("gan_vae", "vae_gan", "soft_intro_vae")
MARKS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4)
"""Shares of the budget after which a training is judged, beside its end."""
HIGHER = {"coverage", "recall", "precision", "density", "diversity", "psnr", "ssim"}
SCORES = {
    "kid": "KID", "fid": "FID", "precision": "precision", "recall": "recall",
    "coverage": "coverage", "mse": "MSE", "perceptual": "perceptual", "steps": "steps",
}  # fmt: skip
"""The scores that the page shows, and their names there."""

cell = ours.train

OPTIONS = {
    "--budget": "10m", "--seeds": 3, "--samples": 5000, "--threads": torch.get_num_threads(),
}  # fmt: skip
QUICK = {"budget": "1s", "seeds": 1, "samples": 64, "threads": 1}


def planned(args: Args, marks: Sequence[float]) -> Plan:
    """The plan that the options make; raises SystemExit for a budget that is no time."""
    ours.seconds(args.budget)
    more: dict[str, Any] = {"marks": (0.5,), "fit": 500} if args.quick else {"marks": tuple(marks)}
    return Plan(args.budget, args.seeds, args.samples, args.threads, **more)


def median(runs: Sequence[Result], score: str) -> float | None:
    """A score's median over seeds; None where a run has none."""
    values = [one.get(score) for one in runs]
    return None if None in values or not values else statistics.median(values)  # type: ignore[type-var]


def typical(runs: Sequence[Result]) -> dict[str, Any]:
    """Medians of every score over seeds, the KID of each, and the median course."""
    courses = [{point["share"]: point for point in one["course"]} for one in runs]
    points = [[one.get(share) for one in courses] for share in courses[0]]
    course = [{n: median(some, n) for n in some[0]} for some in points if None not in some]
    return {
        **{name: median(runs, name) for name in (*KEPT, "steps", "seconds") if name in runs[0]},
        "kids": [one["kid"] for one in runs], "parameters": runs[0]["parameters"],
        "course": course,
    }  # fmt: skip


def reached(course: Sequence[Result], score: str, target: float | None) -> float | None:
    """Seconds after which a score first was as good as ``target``; None if it never was."""
    sign = -1 if score in HIGHER else 1
    points = [point for point in course if None not in (target, point.get(score))]
    good = [point["seconds"] for point in points if sign * point[score] <= sign * target]
    return min(good, default=None)


def about(plan: Plan, cells: Sequence[Result]) -> dict[str, Any]:
    """The conditions that a race ran under."""
    return {
        "budget": plan.budget, "seeds": plan.seeds, "samples": plan.samples,
        "threads": plan.threads, "machine": machine(),
        "load": [min(one["load"][0] for one in cells), max(one["load"][1] for one in cells)],
        "minutes": minutes(cells),
    }  # fmt: skip


def sheet(name: str, strips: Sequence[str], folder: Path | None) -> None:
    """Writes rows of samples below each other as one picture, ``pictures/NAME.png``."""
    if folder is not None:
        rows = [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in strips]
        whole, path = Image.fromarray(np.concatenate(rows)), folder / "pictures" / f"{name}.png"
        files.write(path, lambda draft: whole.save(draft, optimize=True))


def conditions(result: Result) -> str:
    """Budget, seeds and so on, in a sentence."""
    seeds, (low, high) = result["seeds"], result["load"]
    runs = "seed 0 alone" if seeds == 1 else f"medians over {seeds} seeds"
    return (
        f"{result['budget']} of training each, {runs}, {result['samples']:,} samples against as "
        f"many held-out images, {threads(result)}; the machine's load was between "
        f"{plain(low)} and {plain(high)}.\n\n"
    )


def scores(typical: Mapping[str, Result], names: Mapping[str, str]) -> str:
    """A table of scores, a contestant a line; KID with its range over seeds."""
    rows = []
    for name, one in typical.items():
        cells = [shown(one.get(key)) for key in SCORES]
        kids = [kid for kid in one["kids"] if kid is not None]
        if len(kids) > 1:
            cells[0] += f" ({shown(min(kids))} to {shown(max(kids))})"
        rows.append([names.get(name, f"`{name}`"), *cells])
    return table(["", *SCORES.values()], rows)


def curves(
    typical: Mapping[str, Result], names: Mapping[str, str], score: str, title: str
) -> Chart:
    """A score of several contestants against training time, as far as there is one."""
    lines = {}
    for name, one in typical.items():
        points = [(point["seconds"], point.get(score)) for point in one["course"]]
        if defined := [(x, y) for x, y in points if y is not None]:
            lines[names.get(name, name)] = defined
    positive = all(y > 0 for points in lines.values() for _, y in points)
    log = "y" if score == "kid" and positive else ""
    return Chart(title, "seconds of training", SCORES[score], lines, log)


def measure(args: Args) -> Result:
    """Trains and judges everybody with every seed."""
    plan, names = planned(args, MARKS), ("vae", "gan", "gan_vae", *args.hybrids)
    cells = {
        (name, seed): ours.cell("claim", name, "fashion-mnist", FASHION, plan, seed)
        for seed in range(plan.seeds)
        for name in names
    }
    results = by_name(cells, args.results)
    sheet("claim", [results[name, 0]["strip"] for name in names], args.results)
    return summary({n: [results[n, seed] for seed in range(plan.seeds)] for n in names}, plan)


def summary(results: Mapping[str, Sequence[Result]], plan: Plan) -> Result:
    """The race's result from its cells' results by objective."""
    objective_scores = {name: typical(runs) for name, runs in results.items()}
    hybrids = {
        name: compare(objective_scores, name) for name in HYBRIDS if name in objective_scores
    }
    first = hybrids["gan_vae"]
    shares = first["share_of_time_to_final"].values()
    slowest = None if None in shares else max(shares)
    what = "share of the time in which gan_vae passes every final score of VAE and GAN"
    return {
        "ratio": min(first["coverage_over_gan"], first["vae_kid_over_kid"]), "goal": GOAL,
        "goals": [
            goal("coverage of gan_vae over the GAN's", first["coverage_over_gan"], GOAL),
            goal("KID of the VAE over gan_vae's", first["vae_kid_over_kid"], GOAL),
            goal(what, slowest, 1.0, "lower"),
        ],
        "hybrids": hybrids, "objectives": objective_scores,
        **about(plan, [one for runs in results.values() for one in runs]),
    }  # fmt: skip


def compare(typical: Mapping[str, Result], hybrid: str) -> dict[str, Any]:
    """A hybrid against the VAE and the GAN: both figures of the claim, and times to their scores.

    typical: by objective
    """
    mine, times = typical[hybrid], {}
    for other, score in product(("vae", "gan"), ("kid", "coverage")):
        seconds, whole = reached(mine["course"], score, typical[other][score]), typical[other]
        share = None if seconds is None else round(seconds / whole["seconds"], 4)
        times[f"{other}_{score}"] = share
    return {
        "coverage_over_gan": round(mine["coverage"] / max(typical["gan"]["coverage"], 1e-4), 4),
        "vae_kid_over_kid": round(typical["vae"]["kid"] / max(mine["kid"], 1e-4), 4),
        "share_of_time_to_final": times,
    }


REACHED = {
    "vae_kid": "VAE's final KID after", "vae_coverage": "VAE's coverage",
    "gan_kid": "GAN's final KID", "gan_coverage": "GAN's coverage",
}  # fmt: skip
TEXT = """
The hybrids against the VAE and the GAN, and the share of the other's time in which they first \
were as good as it was in the end:

"""


def section(result: Result, pictures: Pictures) -> str:
    """Scores of all, the hybrids against the others, two charts and the samples."""
    typical, rows = result["objectives"], []
    for name, one in result["hybrids"].items():
        times = one["share_of_time_to_final"]
        shares = ["never" if times[key] is None else shown(times[key]) for key in REACHED]
        figures = [shown(one["coverage_over_gan"]), shown(one["vae_kid_over_kid"])]
        rows.append([f"`{name}`", *figures, *shares])
    text = "The same networks, data and time, Fashion-MNIST at 32 px. " + conditions(result)
    head = ["", "coverage over the GAN's", "the VAE's KID over its own", *REACHED.values()]
    text += scores(typical, {}) + TEXT + table(head, rows) + "\n"
    for score, what in (("kid", "KID (lower is better)"), ("coverage", "Coverage (higher)")):
        text += pictures.chart(f"claim-{score}", curves(typical, {}, score, what)) + "\n"
    caption = f"Samples after the whole time, row by row: {', '.join(typical)}."
    return text + pictures.copy("claim", caption)


HYBRID = {"nargs": "*", "choices": HYBRIDS[1:], "default": HYBRIDS[1:], "help": "beside gan_vae"}
RACE = Race(
    measure=measure, options=OPTIONS | {"--hybrids": HYBRID}, quick=QUICK,
    title="The article's claim", section=section,
)  # fmt: skip
