"""Objectives on Fashion-MNIST at 32 px for the demo's budget: the KID of each over its floor.

Those that start from a source learn to draw from edges, or to fill in holes. ``unit`` has no
floor: in three minutes it makes edges no better (KID 16.2) than they are (5.0).

``python -m benchmarks floors [NAMES]``: each must reach its floor, a KID that it was measured to
pass with room. ``ratio`` is the largest share of a floor that was needed (goal: at most 1).
``make test-all`` checks the same.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import RESULTS, machine, ours
from benchmarks.fetch import fetch
from benchmarks.race import Args, Race, Result, keep, known
from benchmarks.sections import show
from ganvae import objectives
from ganvae.runs.run import start

FLOORS = {
    "aae": 2.7, "aux_gan_vae": 4.2, "aux_vae": 6.0, "bicycle": 2.1, "bigan": 12.0,
    "completion": 0.8, "cvae_gan": 13.5, "gan": 8.0, "gan_vae": 2.9, "kl_gan": 3.0,
    "soft_intro_vae": 2.2, "vae": 2.1, "vae_gan": 13.5, "vqgan": 2.9,
}  # fmt: skip
"""KID after three minutes: one and a half times what one core of a busy machine reached."""


def train(name: str, budget: str, samples: int, seed: int = 0) -> dict[str, Any]:
    """The scores of an objective after so long a training."""
    kind = objectives.get(name)
    overrides = ours.FASHION | {
        "objective": name, "data.path": str(fetch("fashion-mnist")),
        "data.labels": str(kind.needs_classes), "training.budget": budget, "training.seed": seed,
        "training.evaluations": 0, "evaluation.samples": samples, "evaluation.importance": 5,
        "evaluation.priors": "false", "data.task": kind.task,
        "data.origin": "edges" if kind.task == "translate" else "given",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        run = start(ours.completed(overrides), Path(folder, "run"))
        generates, file = kind.task == "generate", run.path / "samples.png"
        show(name, run.model.generate(24, seed=seed) if generates else file, RESULTS, 12)
    scores = ours.values(run.evaluation, ("kid", "coverage", "mse", "perceptual"))
    return {**scores, "steps": run.step}


def measure(args: Args) -> Result:
    """Trains one objective after the other, and writes each one's result at once."""
    for name in args.names or sorted(FLOORS):
        scores = {**train(name, args.budget, args.samples), "budget": args.budget}
        every = {**known("floors").get("objectives", {}), name: scores}  # others add theirs, too
        print(json.dumps({name: scores}), flush=True)
        worst = round(max(one["kid"] / FLOORS[n] for n, one in every.items() if n in FLOORS), 4)
        result = {"name": "floors", "ratio": worst, "goal": 1.0, "objectives": every}
        keep({"machine": machine(), **result}, RESULTS / "floors.json")
    return result


RACE = Race(
    measure=measure, figure="KID over the floor, worst objective", better="lower",
    options={
        "names": {"nargs": "*", "help": "objectives; default: all"}, "--budget": "3m",
        "--samples": 2000,
    },
)  # fmt: skip
