"""Every objective that makes images alone, on Fashion-MNIST at 32 px for the demo's budget.

Each must reach its floor, a KID that it was measured to pass with room. ``ratio`` is the largest
share of a floor that was needed (goal: at most 1). ``make test-all`` checks the same.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import RESULTS, record
from benchmarks.fetch import fetch
from ganvae import api, config, objectives

FLOORS: dict[str, float] = {}
"""KID of 2,000 samples against 2,000 held-out images after three minutes on two cores."""


def train(name: str, budget: str, samples: int, seed: int = 0) -> dict[str, Any]:
    """The scores of an objective after so long a training."""
    kind = objectives.get(name)
    given = {
        "objective": name, "data.path": str(fetch("fashion-mnist")), "data.size": 32,
        "data.resize": "pad", "data.background": "black", "data.labels": str(kind.needs_classes),
        "training.budget": budget, "training.seed": seed, "training.evaluations": 0,
        "evaluation.samples": samples, "evaluation.importance": 5, "evaluation.priors": "false",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        chosen = api.complete(config.override(config.Config(), given))
        run = api.start(chosen, Path(folder, "run"))
    figures = run.evaluation["figures"]
    told = ("kid", "coverage", "mse", "perceptual")
    scores = {key: figures[key]["value"] for key in told if key in figures}
    return {**scores, "steps": run.step}


def kept() -> dict[str, Any]:
    """What is known of each objective so far."""
    file = RESULTS / "floors.json"
    known: dict[str, Any] = json.loads(file.read_text())["objectives"] if file.exists() else {}
    return known


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="objectives; default: all")
    parser.add_argument("--budget", default="3m")
    parser.add_argument("--samples", type=int, default=2000)
    args = parser.parse_args()
    names = args.names or [n for n in objectives.names() if objectives.get(n).task == "generate"]
    for name in names:
        found = {**train(name, args.budget, args.samples), "budget": args.budget}
        known = {**kept(), name: found}  # other processes may have added theirs meanwhile
        print(json.dumps({name: found}), flush=True)
        shares = [known[n]["kid"] / floor for n, floor in FLOORS.items() if n in known]
        worst = round(max(shares), 4) if shares else None
        record({"name": "floors", "ratio": worst, "goal": 1.0, "objectives": known})


if __name__ == "__main__":
    main()
