"""Unpaired translation of Google's emoji into Twitter's: KID by unit and of the untranslated.

``python -m benchmarks unpaired`` trains ``unit`` on both makers' emoji in no order.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks import ours
from benchmarks.fetch import fetch
from benchmarks.race import Args, Race, Result
from benchmarks.sections import figures
from ganvae.metrics import judge as judges
from ganvae.metrics import kernel
from ganvae.metrics.sampling import levels, made_of_sources, read

GOAL = 3.0


def unpaired(pairs: Path) -> Path:
    """The same two folders under other names, so that nothing says what belongs together."""
    home = pairs.parent / f"{pairs.name}-unpaired"
    for side in ("source", "target"):
        folder = home / side
        folder.mkdir(parents=True, exist_ok=True)
        for file in (pairs / side).iterdir():
            link = folder / f"{side}-{file.name}"
            if not link.exists():
                link.hardlink_to(file)
    return home


def measure(args: Args) -> Result:
    """Trains unit, and judges what it makes of held-out emoji."""
    settings = {
        "objective": "unit", "data.path": str(unpaired(fetch("emoji"))), "data.size": args.size,
        "data.task": "translate", "evaluation.samples": 500,
    }  # fmt: skip
    run, data = ours.application(args, settings, picture="unpaired")
    rows, judge = np.arange(len(data.test)), judges.load("efficientnet-lite0", 64)
    real = judge.extract(read(data.test, rows))
    translations = (x[:, 0] for x in made_of_sources(run.model, data.test, rows, args.seed))
    translated = kernel.unbiased(judge.extract(translations), real)
    sources = judge.extract(levels(data.test.sources(part)) for part in np.split(rows, [0]))
    untouched = kernel.unbiased(sources, real)
    ratio = round(untouched.value / max(translated.value, 1e-6), 4)
    return {
        "ratio": ratio, "goal": GOAL, "kid": translated.value, "kid_error": translated.error,
        "kid_untranslated": untouched.value, "steps": run.step, "heldout": len(rows),
    }  # fmt: skip


RACE = Race(
    measure=measure, options={"--budget": "20m", "--size": 64, "--seed": 0, "--set": []},
    quick={"budget": "20s", "size": 32}, figure="KID untranslated over translated",
    section=figures,
)  # fmt: skip
