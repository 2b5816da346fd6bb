"""Does the default train whatever the seed? Short runs on three data sets, judged one by one.

Twenty seeds of the default objective on Fashion-MNIST at its own 28 px, the embedded digits and
CIFAR-10 at 32 px, and a few at three times and a third of the learning rate. Budgets are best
given in steps: by the clock a busy machine decides how far each gets. A run is healthy if no
step was skipped for not being finite, nothing was rolled back, no alarm was given, its held-out
KID is below that of the untrained networks, and its samples are various. ``ratio`` is the share
of healthy runs (goal: 1).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import RESULTS, machine
from benchmarks.cells import Cell, measure
from benchmarks.claim import finish
from benchmarks.fetch import fetch
from ganvae import api, config, metrics, objectives
from ganvae.data import open_data
from ganvae.errors import DivergedError
from ganvae.training import guard, log
from ganvae.training.trainer import Trainer

GOAL = 1.0
SETS: dict[str, dict[str, Any]] = {"fashion-mnist": {}, "digits": {}, "cifar10": {"flip": True}}
"""Data sets, and how their images are prepared where that is not the default."""
RATES = {"3": 3.0, "1/3": 1 / 3}
"""What the learning rate is multiplied by."""
VARIOUS = 0.2
"""Mean distance between two samples over that of held-out images, below which they are alike."""
ALARMS = (guard._DIVERGED, guard._BLIND, guard._SATURATED, guard._LOGITS, guard._COLLAPSED,
          guard._UNMOVED)  # fmt: skip


def is_alarm(text: str) -> bool:
    """Whether an event of a run's log is one of the guard's alarms."""
    return any(text.rstrip().endswith(alarm.rpartition("}")[2].strip()) for alarm in ALARMS)


def cell(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Trains and judges one run.

    settings: ``data``, a data set's name; ``config``
    """
    name = settings["data"]
    path = {"data.path": name if name == "digits" else str(fetch(name))}
    chosen = config.override(config.parse(settings["config"]), path)
    data = open_data(chosen.data)
    objective = objectives.build(chosen.objective, chosen.objective_options)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        try:
            result = Trainer(chosen, objective, data, out).run()
        except DivergedError as error:
            return {"diverged": str(error).replace(str(out), "the run"), **told(out)}
        found = metrics.evaluate(
            result.model, data, chosen.evaluation, training=False, seed=chosen.training.seed
        )["figures"]
        kept = ("kid", "coverage", "diversity", "mse")
        return {
            "diverged": None,
            "steps": result.position.step,
            "rollbacks": result.position.rollbacks,
            "kid_error": found["kid"]["error"],
            **{key: found[key]["value"] for key in kept if key in found},
            **told(out),
        }


def told(out: Path) -> dict[str, list[str]]:
    """Alarms and skipped steps in a run's log."""
    events = [line["event"] for line in log.read(out / "metrics.jsonl") if "event" in line]
    return {
        "alarms": [text for text in events if is_alarm(text)],
        "skipped": [text for text in events if "skipped: not finite" in text],
    }


def ailments(run: Mapping[str, Any], untrained: float | None) -> list[str]:
    """What is wrong with a run; nothing with a healthy one.

    run: what :func:`cell` returned
    untrained: the KID of the same networks as they begin
    """
    if run["diverged"]:
        return ["diverged"]
    found = []
    if run["rollbacks"] or run["skipped"]:
        found.append("not finite")
    if run["alarms"]:
        found.append("alarm")
    kid = run["kid"]
    if kid is None or untrained is None or not kid < untrained:
        found.append("no better than untrained")
    if run["diversity"] is None or run["diversity"] < VARIOUS:
        found.append("collapsed")
    return found


# -- the grid and its result -------------------------------------------------------------------


def one(data: str, label: str, seed: int, args: argparse.Namespace, **training: Any) -> Cell:
    """The cell of one run.

    training: settings of the section ``training``
    """
    given = {f"data.{name}": value for name, value in SETS[data].items()} | {
        "training.budget": args.budget, "training.seed": seed, "training.threads": args.threads,
        "training.previews": 0, "training.evaluations": 0, "training.checkpoint_every": "24h",
        "training.tensorboard": "false", "evaluation.samples": args.samples,
        "evaluation.importance": 1, "evaluation.priors": "false",
    }  # fmt: skip
    given |= {f"training.{name}": value for name, value in training.items()}
    chosen = config.as_dict(api.complete(config.override(config.Config(), given)))
    settings = {"data": data, "config": chosen, "threads": args.threads}
    return Cell("stability", f"{data}-{label}-{seed}", settings)


def grid(args: argparse.Namespace) -> dict[tuple[str, str, int], Cell]:
    """All cells by data set, kind (a learning rate's factor, or "untrained") and seed."""
    found = {}
    for data in args.data:
        still = one(data, "untrained", 0, args, lr_scale=0.0, budget="4steps")
        found[data, "untrained", 0] = still
        for seed in range(args.seeds):
            found[data, "1", seed] = one(data, "default", seed, args)
        for factor, scale in RATES.items():
            for seed in range(args.rates):
                label = f"lr-{'up' if scale > 1 else 'down'}"
                found[data, factor, seed] = one(data, label, seed, args, lr_scale=scale)
    return found


def spread(kids: Sequence[float]) -> dict[str, Any]:
    """The median and how the others lie about it."""
    middle = statistics.median(kids)
    quartiles = statistics.quantiles(kids, method="inclusive") if len(kids) > 1 else [middle] * 3
    return {
        "median": middle,
        "least": min(kids),
        "largest": max(kids),
        "between_quartiles": round(quartiles[2] - quartiles[0], 5),
        "largest_over_median": round(max(kids) / middle, 3) if middle > 0 else None,
    }


def group(
    runs: Sequence[tuple[int, Mapping[str, Any]]], untrained: float | None
) -> dict[str, Any]:
    """What some runs of a data set came to."""
    sick = {str(seed): ailments(run, untrained) for seed, run in runs}
    kids = [run["kid"] for _, run in runs if run.get("kid") is not None]
    various = [run["diversity"] for _, run in runs if run.get("diversity") is not None]
    return {
        "runs": len(runs),
        "healthy": sum(not why for why in sick.values()),
        "ailments": {seed: why for seed, why in sick.items() if why},
        "divergences": sum(bool(run["diverged"] or run["rollbacks"]) for _, run in runs),
        "alarms": [text for _, run in runs for text in run["alarms"]],
        "kid": spread(kids) if kids else None,
        "kids": [round(kid, 4) for kid in kids],
        "least_diversity": round(min(various), 4) if various else None,
    }


def summary(
    found: Mapping[tuple[str, str, int], Mapping[str, Any]], args: argparse.Namespace
) -> dict[str, Any]:
    """The race's result from its cells' results, keyed as :func:`grid` keys them."""
    groups: dict[str, dict[str, Any]] = {}
    for data in args.data:
        untrained = found[data, "untrained", 0]["kid"]
        groups[data] = {"untrained_kid": untrained}
        for kind in ("1", *RATES):
            runs = [(s, run) for (d, k, s), run in found.items() if (d, k) == (data, kind)]
            if runs:
                groups[data][f"learning rate x {kind}"] = group(runs, untrained)
    by_kind = {
        kind: [g[f"learning rate x {kind}"] for g in groups.values()]
        for kind in ("1", *RATES)
        if all(f"learning rate x {kind}" in g for g in groups.values())
    }
    shares = {
        kind: sum(g["healthy"] for g in parts) / sum(g["runs"] for g in parts)
        for kind, parts in by_kind.items()
    }
    goals = [
        {"what": f"share of healthy runs, learning rate x {kind}", "measured": round(value, 4),
         "goal": GOAL, "better": "higher"}
        for kind, value in shares.items()
    ]  # fmt: skip
    every = [part for parts in by_kind.values() for part in parts]
    return {
        "name": "stability",
        "ratio": round(sum(g["healthy"] for g in every) / sum(g["runs"] for g in every), 4),
        "goal": GOAL,
        "goals": goals,
        "data": groups,
        "budget": args.budget,
        "samples": args.samples,
        "various": VARIOUS,
        "threads": args.threads,
        "machine": machine(),
        "minutes": round(sum(run["wall_s"] for run in found.values()) / 60, 1),
    }


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--budget", default="500steps", help="of each training")
    parser.add_argument("--seeds", type=int, default=20, help="of the default")
    parser.add_argument("--rates", type=int, default=3, help="seeds of the other learning rates")
    parser.add_argument("--data", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="seconds: shows that it runs")
    args = parser.parse_args()
    if args.quick:
        args.budget, args.seeds, args.rates, args.data = "100steps", 1, 0, ["digits"]
        args.samples = 200
    return args


def main() -> int:
    """Prints and keeps the result; 1 where a run was not healthy."""
    args = arguments()
    cells = grid(args)
    folder = Path(tempfile.mkdtemp()) if args.quick else RESULTS
    found = dict(zip(cells, measure(list(cells.values()), folder)))
    result = summary(found, args)
    finish(result, args.quick)
    return int(not args.quick and result["ratio"] < GOAL)


if __name__ == "__main__":
    sys.exit(main())
