"""First-stage autoencoders against a VAE with the same encoder and decoder: perceptual distance.

``python -m benchmarks first_stage`` trains vae, kl_gan and vqgan on CIFAR-10, each as long.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from benchmarks import ours
from benchmarks.fetch import fetch
from benchmarks.race import Args, Race, Result
from benchmarks.sections import figures, show
from ganvae import config as configuration
from ganvae import metrics, objectives
from ganvae.data import Data
from ganvae.models import Model
from ganvae.objectives.vae import VAE

GOAL, USE = 1.0, 0.5
CELLS = {"networks.grid": "2"}


@dataclass(frozen=True, kw_only=True)
class GridVAE(VAE):
    """A VAE whose encoder and decoder are kl_gan's."""

    kinds: ClassVar = {r: objectives.get("kl_gan").kinds[r] for r in ("encoder", "decoder")}


def used(model: Model, data: Data) -> float:
    """The share of the codebook that held-out images meet."""
    x = data.test.images(np.arange(min(2000, len(data.test))))
    encoder: Any = model.networks["encoder"]
    with torch.inference_mode():
        codes = torch.cat([encoder(part).codes for part in x.split(256)])
    return len(codes.unique()) / model.info.networks.codes


def measure(args: Args) -> Result:
    """Trains and judges all three; what a second stage gets of a budget is on top."""
    extra, seconds = CELLS | ours.parsed(args.set), ours.seconds(args.budget)
    overrides = {
        "data.path": str(fetch(args.data)), "training.seed": args.seed,
        "training.evaluations": 0, "evaluation.samples": args.samples, "evaluation.importance": 1,
    }  # fmt: skip
    by_objective: dict[str, Any] = {}
    rows = []
    for name in ("vae", "kl_gan", "vqgan"):
        objective = GridVAE() if name == "vae" else objectives.build(name)
        budget = f"{seconds / getattr(objective, 'share', 1.0):.0f}s"
        settings = {"objective": name, **overrides, "training.budget": budget, **extra}
        config = configuration.override(configuration.Config(), settings)
        with tempfile.TemporaryDirectory() as folder:
            trainer = ours.trainer(config, Path(folder, name), objective=objective)
            data, result = trainer.data, trainer.run()
        x = data.test.images(np.arange(16))
        rows.append(result.model.reconstruct(x))
        scores = metrics.evaluate(result.model, data, config.evaluation, training=False)
        by_objective[name] = ours.values(scores, ("perceptual", "mse", "ssim", "kid"))
        by_objective[name]["steps"] = result.position.step
    by_objective["vqgan"]["codebook_use"] = used(result.model, data)
    show("first_stage", torch.cat([x, *rows]), args.results, len(x))
    worse = max(by_objective[name]["perceptual"] for name in ("kl_gan", "vqgan"))
    ratio = round(worse / by_objective["vae"]["perceptual"], 4)
    return {"ratio": ratio, "goal": GOAL, "codebook_goal": USE, **by_objective, "settings": extra}


RACE = Race(
    measure=measure,
    options={"--budget": "10m", "--samples": 2000, "--seed": 0, "--data": "cifar10", "--set": []},
    quick={"budget": "15s", "samples": 200}, figure="perceptual distance over the VAE's",
    better="lower", title="First stages", section=figures,
)  # fmt: skip
