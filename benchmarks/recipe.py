"""Compares settings of the default objective, on Fashion-MNIST unless told, round by round.

``python -m benchmarks recipe --budget 240s --variant "training.batch=64" --variant
"training.batch=32,objective.adversarial=20"`` trains each variant (the first is the defaults) in
every round with that round's seed, judges it on held-out images, and prints a JSON line for each
and a summary: ``ratio`` is the last variant's median KID as a share of the defaults'.
``--data emoji --base "data.size=64,data.test_share=.2"`` compares them on other images.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import ganvae
from benchmarks.fetch import PACKAGES, fetch

FIGURES = ("kid", "coverage", "recall", "mse")
BASE = "data.size=32,data.resize=pad,data.background=black"


def parse(variant: str) -> dict[str, str]:
    """``a=1,b=2`` as a mapping."""
    return dict(part.split("=", 1) for part in variant.split(",") if part)


def train(
    variant: dict[str, str], args: argparse.Namespace, seed: int, out: Path
) -> dict[str, Any]:
    """Trains and judges one variant; its scores and how far it came."""
    common = {"evaluation.samples": args.samples, "training.evaluations": 0}
    settings = {**parse(args.base), **common, **variant}
    if args.threads:
        settings["training.threads"] = args.threads
    data = fetch(args.data) if args.data in PACKAGES else Path(args.data)
    run = ganvae.train(data, budget=args.budget, seed=seed, out=out, settings=settings)
    figures = run.evaluation["figures"]
    scores = {name: figures[name]["value"] for name in FIGURES if name in figures}
    return {"variant": variant, "seed": seed, "steps": run.step, "seconds": run.seconds, **scores}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", action="append", default=[], help="settings: a=1,b=2")
    parser.add_argument("--budget", default="240s")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--data", default="fashion-mnist", help="a data set's name, or images")
    parser.add_argument("--base", default=BASE, help="settings of every variant: a=1,b=2")
    parser.add_argument("--json", type=Path, help="where all figures are written")
    args = parser.parse_args()
    variants = [{}, *map(parse, args.variant)]
    results = []
    for seed in range(args.rounds):
        for variant in variants:
            with tempfile.TemporaryDirectory() as folder:
                results.append(train(variant, args, seed, Path(folder) / "run"))
            print(json.dumps(results[-1]), flush=True)
    kids = [
        statistics.median(r["kid"] for r in results if r["variant"] == variant)
        for variant in variants
    ]
    summary = {"name": "recipe", "ratio": kids[-1] / kids[0], "budget": args.budget, "kid": kids}
    if args.json:
        args.json.write_text(json.dumps(summary | {"results": results}, indent=1) + "\n")
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
