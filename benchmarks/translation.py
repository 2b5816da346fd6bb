"""Paired translation, emoji outlines to colour at 64 px: bicycle against the same U-Net by L1.

Both train for the same time on the same pairs (OpenMoji, flags left out), the U-Net by the L1
distance alone, and are judged on held-out emoji. ``ratio`` is bicycle's KID as a share of the
other's (goal: at most .5); ``variety`` is the mean feature distance between variants of an outline
over that between random targets (goal: at least .1, so z is not ignored).
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import ganvae
from benchmarks import PICTURES, record
from benchmarks.fetch import fetch
from ganvae import api, config, metrics
from ganvae.data import open_data
from ganvae.objectives.base import Objective
from ganvae.training.trainer import Trainer
from ganvae.types import Batch, Clock, Networks, Optim, Step

GOAL, VARIETY = 0.5, 0.1


@dataclass(frozen=True, kw_only=True)
class L1(Objective):
    """The mean absolute distance to the target alone: no encoder, no adversary."""

    networks: ClassVar = ("generator", "prior")
    decoder: ClassVar = "generator"
    generator: ClassVar = "generator"
    kinds: ClassVar = {"generator": "unet", "prior": "normal_prior"}
    classes: ClassVar = False
    paired: ClassVar = True
    task: ClassVar = "translate"

    optim: Optim = Optim(lr=1e-3, beta1=0.5, beta2=0.999)
    """As bicycle's."""

    def step(self, nets: Networks, batch: Batch, now: Clock) -> Step:
        """One move of G."""
        z = nets["prior"].sample(batch.noise)
        loss = (nets["generator"](z, *batch.condition) - batch.image).abs().mean()
        yield {"generator": loss}
        return {"pixel": loss.detach()}


def settings(data: Path, args: argparse.Namespace) -> config.Config:
    """What both runs share."""
    given = {
        "data.path": str(data), "data.size": args.size, "data.task": "translate",
        "training.budget": args.budget, "training.seed": args.seed, "training.evaluations": 0,
        "evaluation.samples": args.samples,
    }  # fmt: skip
    chosen = config.override(config.Config(), {"objective": "bicycle", **given})
    return config.override(chosen, dict(part.split("=", 1) for part in args.set))


def figures(found: dict[str, Any]) -> dict[str, Any]:
    """The figures of an evaluation that this race is about."""
    kept = ("kid", "coverage", "variety", "mse", "mse_best")
    return {name: found["figures"][name]["value"] for name in kept if name in found["figures"]}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--budget", default="20m")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="a setting: training.batch=16")
    parser.add_argument("--quick", action="store_true", help="20 seconds each, at 32 px")
    args = parser.parse_args()
    if args.quick:
        args.budget, args.size, args.samples = "20s", 32, 200
    chosen = settings(fetch("openmoji"), args)
    data = open_data(chosen.data)
    with tempfile.TemporaryDirectory() as folder:
        run = api.start(api.complete(chosen), Path(folder, "bicycle"))
        bicycle = figures(run.evaluation)
        plain = Trainer(chosen, L1(), data, Path(folder, "l1")).run()
        l1 = figures(metrics.evaluate(plain.model, data, chosen.evaluation, training=False))
        PICTURES.mkdir(exist_ok=True)
        Path(folder, "bicycle", "samples.png").replace(PICTURES / "translation.png")
    ratio = bicycle["kid"] / l1["kid"] if l1["kid"] > 0 else float("inf")
    record(
        {
            "name": "translation",
            "ratio": round(ratio, 4),
            "goal": GOAL,
            "variety": bicycle["variety"],
            "variety_goal": VARIETY,
            "bicycle": bicycle,
            "l1": l1,
            "steps": {"bicycle": run.step, "l1": plain.position.step},
            "budget": args.budget,
            "size": args.size,
            "seed": args.seed,
            "heldout": len(data.test),
            "version": ganvae.__version__,
        }
    )


if __name__ == "__main__":
    main()
