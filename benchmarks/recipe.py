"""Compares settings of the default objective, on Fashion-MNIST unless told, round by round.

``python -m benchmarks recipe --budget 240s --variant "training.batch=64" --variant
"training.batch=32,objective.adversarial=20"`` trains each variant (the first is the defaults) in
every round with that round's seed, judges it on held-out images, and prints a JSON line for each
and a summary: ``ratio`` is the last variant's median KID as a share of the defaults'.
``--data emoji --base "data.size=64,data.test_share=.2"`` compares them on other images.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ganvae
from benchmarks.fetch import PACKAGES, fetch
from benchmarks.ours import parsed, values
from benchmarks.race import Args, Race, Result

FIGURES = ("kid", "coverage", "recall", "mse")
BASE = "data.size=32,data.resize=pad,data.background=black"


def train(variant: Mapping[str, str], args: Args, seed: int) -> dict[str, Any]:
    """Trains and judges one variant; its scores and how far it came."""
    settings = {"evaluation.samples": args.samples, "training.evaluations": 0}
    threads = {"training.threads": args.threads} if args.threads else {}
    data = fetch(args.data) if args.data in PACKAGES else Path(args.data)
    with tempfile.TemporaryDirectory() as folder:
        run = ganvae.train(
            data, budget=args.budget, seed=seed, out=Path(folder, "run"),
            settings={**parsed(args.base), **settings, **variant, **threads},
        )  # fmt: skip
    about = {"variant": variant, "seed": seed, "steps": run.step, "seconds": run.seconds}
    return {**about, **values(run.evaluation, FIGURES)}


def measure(args: Args) -> Result:
    """Trains all variants in every round."""
    variants = [{}, *map(parsed, args.variant)]
    results = []
    for seed in range(args.rounds):
        for variant in variants:
            results.append(train(variant, args, seed))
            print(json.dumps(results[-1]), flush=True)
    kids = [statistics.median(r["kid"] for r in results if r["variant"] == v) for v in variants]
    return {"ratio": kids[-1] / kids[0], "budget": args.budget, "kid": kids, "results": results}


RACE = Race(
    measure=measure, kept=False,
    options={
        "--variant": ([], "settings: a=1,b=2"), "--budget": "240s", "--rounds": 1,
        "--samples": 5000, "--threads": {"type": int},
        "--data": ("fashion-mnist", "a data set's name, or images"),
        "--base": (BASE, "settings of every variant: a=1,b=2"),
        "--json": {"type": Path, "help": "where all figures are written"},
    },
)  # fmt: skip
