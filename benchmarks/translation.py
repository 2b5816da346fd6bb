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
from benchmarks import ours
from benchmarks.fetch import fetch
from benchmarks.race import Race, Result
from benchmarks.sections import copy_picture, figures
from ganvae import api, metrics
from ganvae.data import open_data
from ganvae.objectives.base import Objective
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


def judged(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The figures of an evaluation that this race is about."""
    kept, found = ("kid", "coverage", "variety", "mse", "mse_best"), evaluation["figures"]
    return {name: found[name]["value"] for name in kept if name in found}


def measure(args: argparse.Namespace) -> Result:
    """Trains and judges both."""
    given = {
        "objective": "bicycle", "data.path": str(fetch("openmoji")), "data.size": args.size,
        "data.task": "translate", "evaluation.samples": args.samples,
    }  # fmt: skip
    chosen = ours.application(args, given)
    data = open_data(chosen.data)
    with tempfile.TemporaryDirectory() as folder:
        run = api.start(chosen, Path(folder, "bicycle"))
        bicycle = judged(run.evaluation)
        plain = ours.trainer(chosen, Path(folder, "l1"), data=data, objective=L1()).run()
        l1 = judged(metrics.evaluate(plain.model, data, chosen.evaluation, training=False))
        copy_picture("translation", run.path / "samples.png", args.kept)
    ratio = bicycle["kid"] / l1["kid"] if l1["kid"] > 0 else float("inf")
    return {
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


RACE = Race(
    name="translation",
    measure=measure,
    options={"--budget": "20m", "--size": 64, "--samples": 5000, "--seed": 0, "--set": []},
    quick={"budget": "20s", "size": 32, "samples": 200},
    figure="KID of bicycle over the same U-Net's by L1",
    better="lower",
    section=figures,
)
