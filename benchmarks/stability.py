"""Does the default train whatever the seed? The share of short runs that are healthy.

``python -m benchmarks stability`` judges 78 runs on three data sets one by one.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from benchmarks import ours
from benchmarks.race import Args, Cell, Race, Result, by_name, goal, minutes
from benchmarks.sections import Pictures, shown, table

GOAL = 1.0
SETS: dict[str, dict[str, Any]] = {
    "fashion-mnist": {}, "digits": {}, "cifar10": {"data.flip": True},
}  # fmt: skip
"""Data sets, and how their images are prepared where that is not the default."""
RATES = {"3": 3.0, "1/3": 1 / 3}
"""Factors of the learning rate."""
KINDS = ("1", *RATES)
VARIOUS = 0.2
"""Mean distance between two samples over that of held-out images, below which they are alike."""


cell = ours.train


def ailments(run: Result, untrained: float | None) -> list[str]:
    """What is wrong with a run; empty for a healthy one.

    run: a result of :func:`cell`
    untrained: the KID of the same networks without training
    """
    if run["diverged"]:
        return ["diverged"]
    kid, diversity = run["kid"], run["diversity"]
    problems = {
        "not finite": run["rollbacks"] or run["skipped"],
        "alarm": run["alarms"],
        "no better than untrained": kid is None or untrained is None or not kid < untrained,
        "collapsed": diversity is None or diversity < VARIOUS,
    }
    return [what for what, is_so in problems.items() if is_so]


def grid(args: Args) -> dict[tuple[str, str, int], Cell]:
    """All cells by data set, kind (a learning rate's factor, or "untrained") and seed."""
    plan = ours.Plan(args.budget, args.seeds, args.samples, args.threads, marks=())
    cells = {}
    for data in args.data:
        entries = [("untrained", "untrained", 0, {"lr_scale": 0.0, "budget": "4steps"})]
        entries += [("1", "default", seed, {}) for seed in range(args.seeds)]
        for factor, scale in RATES.items():
            label = f"lr-{'up' if scale > 1 else 'down'}"
            entries += [(factor, label, s, {"lr_scale": scale}) for s in range(args.rates)]
        for kind, label, seed, training in entries:
            config = ours.complete(None, SETS[data], plan, seed, **training)
            settings = {"data": data, "config": config, "threads": args.threads}
            cells[data, kind, seed] = Cell("stability", f"{data}-{label}-{seed}", settings)
    return cells


def spread(kids: Sequence[float]) -> dict[str, Any]:
    """The median and the spread around it."""
    middle = statistics.median(kids)
    quartiles = statistics.quantiles(kids, method="inclusive") if len(kids) > 1 else [middle] * 3
    return {
        "median": middle, "least": min(kids), "largest": max(kids),
        "between_quartiles": round(quartiles[2] - quartiles[0], 5),
        "largest_over_median": round(max(kids) / middle, 3) if middle > 0 else None,
    }  # fmt: skip


def group(runs: Mapping[int, Result], untrained: float | None) -> dict[str, Any]:
    """The figures of some runs of a data set, by seed."""
    sick = {str(seed): ailments(run, untrained) for seed, run in runs.items()}
    kids = [run["kid"] for run in runs.values() if run.get("kid") is not None]
    various = [run["diversity"] for run in runs.values() if run.get("diversity") is not None]
    return {
        "runs": len(runs),
        "healthy": sum(not why for why in sick.values()),
        "ailments": {seed: why for seed, why in sick.items() if why},
        "divergences": sum(bool(run["diverged"] or run["rollbacks"]) for run in runs.values()),
        "alarms": [text for run in runs.values() for text in run["alarms"]],
        "kid": spread(kids) if kids else None,
        "kids": [round(kid, 4) for kid in kids],
        "least_diversity": round(min(various), 4) if various else None,
    }


def healthy(groups: Sequence[Result]) -> float:
    """The share of healthy runs."""
    return round(sum(g["healthy"] for g in groups) / sum(g["runs"] for g in groups), 4)


def summary(results: Mapping[tuple[str, str, int], Result], args: Args) -> Result:
    """The race's result from its cells' results, keyed as :func:`grid` keys them."""
    by_data: dict[str, dict[str, Any]] = {}
    by_kind: dict[str, list[Result]] = {}
    for data in args.data:
        untrained = results[data, "untrained", 0]["kid"]
        by_data[data] = {"untrained_kid": untrained}
        for kind in KINDS:
            runs = {s: run for (d, k, s), run in results.items() if (d, k) == (data, kind)}
            if runs:
                by_data[data][f"learning rate x {kind}"] = group(runs, untrained)
                by_kind.setdefault(kind, []).append(group(runs, untrained))
    goals = [
        goal(f"share of healthy runs, learning rate x {kind}", healthy(groups), GOAL)
        for kind, groups in by_kind.items()
    ]
    return {
        "name": "stability", "goal": GOAL, "goals": goals, "data": by_data, "various": VARIOUS,
        "ratio": healthy([one for groups in by_kind.values() for one in groups]),
        "budget": args.budget, "samples": args.samples, "threads": args.threads,
        "minutes": minutes(results.values()),
    }  # fmt: skip


def section(result: Result, pictures: Pictures) -> str:
    """A data set and learning rate a line."""
    rows = []
    groups = [(d, n, one) for d, by_name in result["data"].items() for n, one in by_name.items()]
    for data, name, one in groups:
        if isinstance(one, Mapping):
            kid = one["kid"] or {}
            numbers = [f"{one['healthy']} of {one['runs']}", f"{one['divergences']}"]
            numbers += [shown(kid.get(key)) for key in ("median", "least", "largest")]
            rows.append([data, name.replace(" x ", " × "), *numbers])
    budget = result["budget"].replace("steps", " steps")
    text = f"{budget} of training each, KID of {result['samples']:,} samples.\n\n"
    head = ["data", "", "healthy", "diverged", "median KID", "least", "largest"]
    return text + table(head, rows)


RACE = Race(
    measure=lambda args: summary(by_name(grid(args), args.results), args),
    options={
        "--budget": "500steps", "--seeds": (20, "of the default"),
        "--rates": (3, "seeds of the other learning rates"), "--samples": 2000,
        "--data": {"nargs": "+", "choices": SETS, "default": list(SETS)},
        "--threads": torch.get_num_threads(),
    },
    quick={"budget": "100steps", "seeds": 1, "rates": 0, "data": ["digits"], "samples": 200},
    title="Many seeds", section=section,
)  # fmt: skip
