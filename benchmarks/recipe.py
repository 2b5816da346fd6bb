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
from benchmarks.ours import parsed
from benchmarks.race import Args, Race, Result

FIGURES = ("kid", "coverage", "recall", "mse")
BASE = "data.size=32,data.resize=pad,data.background=black"


def train(variant: Mapping[str, str], args: Args, seed: int) -> dict[str, Any]:
    """Trains and judges one variant; its scores and how far it came."""
    settings = {
        **parsed(args.base), "evaluation.samples": args.samples, "training.evaluations": 0,
        **variant,
    }  # fmt: skip
    if args.threads:
        settings["training.threads"] = args.threads
    data = fetch(args.data) if args.data in PACKAGES else Path(args.data)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        run = ganvae.train(data, budget=args.budget, seed=seed, out=out, settings=settings)
    figures = run.evaluation["figures"]
    scores = {name: figures[name]["value"] for name in FIGURES if name in figures}
    return {"variant": variant, "seed": seed, "steps": run.step, "seconds": run.seconds, **scores}


def measure(args: Args) -> Result:
    """Trains all variants in every round."""
    variants = [{}, *map(parsed, args.variant)]
    results = []
    for seed in range(args.rounds):
        for variant in variants:
            results.append(train(variant, args, seed))
            print(json.dumps(results[-1]), flush=True)
    kids = [statistics.median(r["kid"] for r in results if r["variant"] == v) for v in variants]
    ratio = kids[-1] / kids[0]
    return {"ratio": ratio, "budget": args.budget, "kid": kids, "results": results}


RACE = Race(
    name="recipe",
    measure=measure,
    options={
        "--variant": {"action": "append", "default": [], "help": "settings: a=1,b=2"},
        "--budget": "240s",
        "--rounds": 1,
        "--samples": 5000,
        "--threads": {"type": int},
        "--data": {"default": "fashion-mnist", "help": "a data set's name, or images"},
        "--base": {"default": BASE, "help": "settings of every variant: a=1,b=2"},
        "--json": {"type": Path, "help": "where all figures are written"},
    },
    kept=False,
)
