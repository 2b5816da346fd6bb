"""Whether an auxiliary variable pays: bounds of aux_vae and vae on binary MNIST at equal time."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import ganvae
from benchmarks.fetch import fetch
from benchmarks.race import Args, Race, Result, goal
from benchmarks.sections import figures, show
from ganvae import config
from ganvae.data import open_data
from ganvae.metrics.likelihood import bounds
from ganvae.metrics.sampling import read, rows
from ganvae.networks import mlp
from ganvae.types import Shape

GOAL = 1.0
LITERATURE = (86.0, 90.0)
SLACK = 2.0
"""Nats that the literature's range is missed by, at most."""

SETTINGS = {
    "networks.family": "mlp", "networks.prior": "normal", "networks.likelihood": "bernoulli",
    "objective.warmup": 0.5, "training.batch": 100, "training.evaluations": 0,
    "training.previews": 0, "evaluation.samples": 100, "evaluation.importance": 1,
}  # fmt: skip


def binarised(folder: Path, seed: int = 0) -> Path:
    """MNIST as an .npz of 0 and 255, with its own split; one Bernoulli draw a pixel."""
    data = open_data(config.Data(path=str(fetch("mnist"))))
    random = np.random.default_rng(seed)
    arrays = {}
    for name, images in (("x_train", data.train), ("x_test", data.test)):
        grey = images.take(range(len(images))).numpy()[..., 0]
        arrays[name] = np.where(random.random(grey.shape) < grey / 255, 255, 0).astype(np.uint8)
    np.savez(folder / "binary-mnist.npz", **arrays)
    return folder / "binary-mnist.npz"


def literature() -> dict[str, nn.Module]:
    """Encoder and decoder with two hidden layers of 200 and 50 latents, fresh by torch's seed.

    | Importance Weighted Autoencoders (Burda et al., 2016), section 5
    | https://arxiv.org/abs/1509.00519
    """
    shape = Shape(channels=1, height=28, width=28, latent=50)
    return {"encoder": mlp.Encoder(shape, (200, 200)), "decoder": mlp.Decoder(shape, (200, 200))}


def bound(model: Any, images: Tensor, k: int) -> Tensor:
    """The k-sample bound on log p of each image, (N,), in nats."""
    parts = [bounds(model, part, k, seed=i) for i, part in enumerate(images.split(100))]
    return torch.cat([part.iwae for part in parts if part is not None])


def told(nats: Tensor) -> tuple[float, float]:
    """The mean over images, and its standard error."""
    return round(float(nats.mean()), 3), round(float(nats.std() / len(nats) ** 0.5), 3)


def train(objective: str, args: Args, path: Path, images: Tensor, latent: int,
          networks: Mapping[str, nn.Module] | None = None,
) -> tuple[dict[str, Any], Tensor, Tensor]:  # fmt: skip
    """Trains one model for the budget; what to report of it, its bounds, some samples of it."""
    settings = {**SETTINGS, "networks.latent": latent, "training.threads": args.threads}
    run = ganvae.train(
        path, objective=objective, budget=args.budget, seed=args.seed, settings=settings,
        out=path.parent / f"{objective}-{latent}", networks=networks,
    )  # fmt: skip
    found = bound(run.model, images, args.importance)
    nats, error = told(-found)
    result = {
        "objective": objective, "nats": nats, "error": error, "steps": run.step,
        "seconds": round(run.seconds, 1), "parameters": run.model.parameters,
    }  # fmt: skip
    print(json.dumps(result), flush=True)
    return result, found, run.model.generate(16, seed=args.seed)


def measure(args: Args) -> Result:
    """All three trainings and their bounds."""
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = binarised(Path(folder))
        held_out = open_data(config.Data(path=str(path))).test
        images = torch.cat([*read(held_out, rows(len(held_out), args.images, 0))])
        vae, plain, samples = train("vae", args, path, images, 32)
        auxiliary, better, others = train("aux_vae", args, path, images, 32)
        torch.manual_seed(args.seed)
        known, _, last = train("vae", args, path, images, 50, literature())
    show("auxiliary", torch.cat([samples, others, last]), len(samples), args.kept)
    gain, error = told(better - plain)
    low, high = LITERATURE
    off = max(low - known["nats"], known["nats"] - high, 0.0)
    ratio = round(auxiliary["nats"] / vae["nats"], 5)
    return {
        "ratio": ratio, "goal": GOAL,
        "goals": [
            goal(FIGURE, ratio, GOAL, "lower"),
            goal("nats that vae is off the literature's range", round(off, 3), SLACK, "lower"),
        ],
        "gain_nats": gain, "gain_error": error, "vae": vae, "aux_vae": auxiliary,
        "vae_of_literature": {**known, "literature_nats": LITERATURE, "off": round(off, 3)},
    }  # fmt: skip


FIGURE = "nats an image of aux_vae over vae's"
RACE = Race(
    name="auxiliary", measure=measure,
    options={
        "--budget": "10m",
        "--seed": 0,
        "--threads": 1,
        "--images": {"type": int, "default": 2000, "help": "held-out images"},
        "--importance": {"type": int, "default": 500, "help": "samples an image"},
    },
    quick={"budget": "10s", "images": 200, "importance": 50}, figure=FIGURE, better="lower",
    title="Auxiliary variables",
    section=partial(figures, caption="Samples of vae, aux_vae, and vae of the literature's size."),
)  # fmt: skip
