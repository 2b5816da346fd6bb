"""Unpaired translation of Google's emoji into Twitter's: unit against the untranslated images.

Training never sees which emoji belong together. ``ratio`` is the KID of untranslated held-out
Google emoji to held-out Twitter ones over that of the translated ones (goal: at least 3).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import PICTURES, record
from benchmarks.fetch import fetch
from ganvae import api, config
from ganvae.data import open_data
from ganvae.metrics import judge as judges
from ganvae.metrics import kernel
from ganvae.metrics.sampling import levels, made_of_sources, read

GOAL = 3.0


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--budget", default="20m")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="a setting: training.batch=16")
    parser.add_argument("--quick", action="store_true", help="20 seconds, at 32 px")
    args = parser.parse_args()
    if args.quick:
        args.budget, args.size = "20s", 32
    given = {
        "objective": "unit", "data.path": str(unpaired(fetch("emoji"))), "data.size": args.size,
        "data.task": "translate",
        "training.budget": args.budget, "training.seed": args.seed, "training.evaluations": 0,
        "evaluation.samples": 500,
    }  # fmt: skip
    chosen = config.override(config.Config(), given)
    chosen = config.override(chosen, dict(part.split("=", 1) for part in args.set))
    data, judge = open_data(chosen.data), judges.load("efficientnet-lite0", 64)
    rows = np.arange(len(data.test))
    with tempfile.TemporaryDirectory() as folder:
        run = api.start(api.complete(chosen), Path(folder, "unit"))
        PICTURES.mkdir(exist_ok=True)
        Path(folder, "unit", "samples.png").replace(PICTURES / "unpaired.png")
    real = judge.extract(read(data.test, rows))
    made = (x[:, 0] for x in made_of_sources(run.model, data.test, rows, args.seed))
    translated = kernel.unbiased(judge.extract(made), real)
    given_images = judge.extract(levels(data.test.sources(part)) for part in np.split(rows, [0]))
    untouched = kernel.unbiased(given_images, real)
    record(
        {
            "name": "unpaired",
            "ratio": round(untouched.value / max(translated.value, 1e-6), 4),
            "goal": GOAL,
            "kid": translated.value,
            "kid_error": translated.error,
            "kid_untranslated": untouched.value,
            "steps": run.step,
            "budget": args.budget,
            "size": args.size,
            "seed": args.seed,
            "heldout": len(rows),
        }
    )


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


if __name__ == "__main__":
    main()
