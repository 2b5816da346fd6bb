"""Paired translation, emoji outlines to colour at 64 px: KID of bicycle and a U-Net by L1.

``python -m benchmarks translation`` trains both: the same U-Net, for the same time.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import ganvae
from benchmarks import ours
from benchmarks.fetch import fetch
from benchmarks.race import Args, Race, Result
from benchmarks.sections import figures
from ganvae import metrics
from ganvae.objectives.base import Objective
from ganvae.types import Batch, Clock, Networks, Optim, Step

GOAL, VARIETY = 0.5, 0.1
FIGURES = ("kid", "coverage", "variety", "mse", "mse_best")


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


def measure(args: Args) -> Result:
    """Trains and judges both."""
    settings = {
        "objective": "bicycle", "data.path": str(fetch("openmoji")), "data.size": args.size,
        "data.task": "translate", "evaluation.samples": args.samples,
    }  # fmt: skip
    run, data = ours.application(args, settings, picture="translation")
    with tempfile.TemporaryDirectory() as folder:
        plain = ours.trainer(run.config, Path(folder, "l1"), data=data, objective=L1()).run()
    evaluation = metrics.evaluate(plain.model, data, run.config.evaluation, training=False)
    bicycle, l1 = (ours.values(one, FIGURES) for one in (run.evaluation, evaluation))
    ratio = bicycle["kid"] / l1["kid"] if l1["kid"] > 0 else float("inf")
    return {
        "ratio": round(ratio, 4), "goal": GOAL, "variety": bicycle["variety"],
        "variety_goal": VARIETY, "bicycle": bicycle, "l1": l1,
        "steps": {"bicycle": run.step, "l1": plain.position.step}, "heldout": len(data.test),
        "version": ganvae.__version__,
    }  # fmt: skip


RACE = Race(
    measure=measure,
    options={"--budget": "20m", "--size": 64, "--samples": 5000, "--seed": 0, "--set": []},
    quick={"budget": "20s", "size": 32, "samples": 200},
    figure="KID of bicycle over the same U-Net's by L1", better="lower", section=figures,
)  # fmt: skip
