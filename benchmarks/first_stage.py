"""First-stage autoencoders against a VAE with the same encoder and decoder at equal time."""

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
from ganvae import config, metrics, objectives
from ganvae.data import Data
from ganvae.models import Model
from ganvae.objectives.base import Objective
from ganvae.objectives.vae import VAE
from ganvae.training.schedule import Budget

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
    extra = CELLS | ours.parsed(args.set)
    seconds = Budget.parse(args.budget).seconds
    if not seconds:
        raise SystemExit(f"the race is over time: {args.budget!r} is none")
    contestants: dict[str, Objective] = {
        "vae": GridVAE(), "kl_gan": objectives.build("kl_gan"),
        "vqgan": objectives.build("vqgan"),
    }  # fmt: skip
    given = {
        "data.path": str(fetch(args.data)), "training.seed": args.seed,
        "training.evaluations": 0, "evaluation.samples": args.samples, "evaluation.importance": 1,
    }  # fmt: skip
    found: dict[str, Any] = {}
    rows = []
    for name, objective in contestants.items():
        budget = f"{seconds / getattr(objective, 'share', 1.0):.0f}s"
        settings = {"objective": name, **given, "training.budget": budget, **extra}
        chosen = config.override(config.Config(), settings)
        with tempfile.TemporaryDirectory() as folder:
            trainer = ours.trainer(chosen, Path(folder, name), objective=objective)
            data, result = trainer.data, trainer.run()
        x = data.test.images(np.arange(16))
        rows.append(result.model.reconstruct(x))
        scores = metrics.evaluate(result.model, data, chosen.evaluation, training=False)
        kept = ("perceptual", "mse", "ssim", "kid")
        found[name] = {key: scores["figures"][key]["value"] for key in kept}
        found[name]["steps"] = result.position.step
        if name == "vqgan":
            found[name]["codebook_use"] = used(result.model, data)
    show("first_stage", torch.cat([x, *rows]), len(x), args.kept)
    worse = max(found[name]["perceptual"] for name in ("kl_gan", "vqgan"))
    ratio = round(worse / found["vae"]["perceptual"], 4)
    return {"ratio": ratio, "goal": GOAL, "codebook_goal": USE, **found, "settings": extra}


RACE = Race(
    name="first_stage",
    measure=measure,
    options={
        "--budget": "10m", "--samples": 2000, "--seed": 0, "--data": "cifar10", "--set": [],
    },
    quick={"budget": "15s", "samples": 200},
    figure="perceptual distance over the VAE's",
    better="lower",
    title="First stages",
    section=figures,
)  # fmt: skip
