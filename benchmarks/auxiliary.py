"""Whether an auxiliary variable pays: nats an image of aux_vae and vae at equal time.

``python -m benchmarks auxiliary`` trains them and the literature's VAE on binary MNIST.
"""

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
from ganvae import config as configuration
from ganvae.data import open_data
from ganvae.metrics.bound import bounds
from ganvae.metrics.sampling import read, rows
from ganvae.networks import mlp
from ganvae.types import Shape

GOAL, FIGURE = 1.0, "nats an image of aux_vae over vae's"
LITERATURE, SLACK = (86.0, 90.0), 2.0
"""The literature's range in nats, and how far off it a result may be."""
SETTINGS = {
    "networks.family": "mlp", "networks.prior": "normal", "networks.likelihood": "bernoulli",
    "objective.warmup": 0.5, "training.batch": 100, "training.evaluations": 0,
    "training.previews": 0, "evaluation.samples": 100, "evaluation.importance": 1,
}  # fmt: skip


def binarised(folder: Path, seed: int = 0) -> Path:
    """MNIST as an .npz of 0 and 255, with its own split; one Bernoulli draw a pixel."""
    data = open_data(configuration.Data(path=str(fetch("mnist"))))
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


def mean_error(nats: Tensor) -> tuple[float, float]:
    """The mean over images, and its standard error."""
    return round(float(nats.mean()), 3), round(float(nats.std() / len(nats) ** 0.5), 3)


def train(objective: str, args: Args, path: Path, images: Tensor, latent: int,
          networks: Mapping[str, nn.Module] | None = None,
) -> tuple[dict[str, Any], Tensor, Tensor]:  # fmt: skip
    """Trains one model for the budget; returns its figures, its bounds, and some samples.

    The bounds on log p of each image, (N,), in nats, are of ``--importance`` samples each.
    """
    settings = {**SETTINGS, "networks.latent": latent, "training.threads": args.threads}
    run = ganvae.train(
        path, objective=objective, budget=args.budget, seed=args.seed, settings=settings,
        out=path.parent / f"{objective}-{latent}", networks=networks,
    )  # fmt: skip
    parts = [
        bounds(run.model, x, args.importance, seed=i) for i, x in enumerate(images.split(100))
    ]
    bound = torch.cat([part.iwae for part in parts if part is not None])
    nats, error = mean_error(-bound)
    result = {
        "objective": objective, "nats": nats, "error": error, "steps": run.step,
        "seconds": round(run.seconds, 1), "parameters": run.model.parameters,
    }  # fmt: skip
    print(json.dumps(result), flush=True)
    return result, bound, run.model.generate(16, seed=args.seed)


def measure(args: Args) -> Result:
    """All three trainings and their bounds."""
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = binarised(Path(folder))
        held_out = open_data(configuration.Data(path=str(path))).test
        images = torch.cat([*read(held_out, rows(len(held_out), args.images, 0))])
        vae, plain, samples = train("vae", args, path, images, 32)
        auxiliary, better, others = train("aux_vae", args, path, images, 32)
        torch.manual_seed(args.seed)
        reference, _, last = train("vae", args, path, images, 50, literature())
    show("auxiliary", torch.cat([samples, others, last]), args.results, len(samples))
    gain, error = mean_error(better - plain)
    low, high = LITERATURE
    off = round(max(low - reference["nats"], reference["nats"] - high, 0.0), 3)
    ratio = round(auxiliary["nats"] / vae["nats"], 5)
    off_goal = goal("nats that vae is off the literature's range", off, SLACK, "lower")
    return {
        "ratio": ratio, "goal": GOAL, "goals": [goal(FIGURE, ratio, GOAL, "lower"), off_goal],
        "gain_nats": gain, "gain_error": error, "vae": vae, "aux_vae": auxiliary,
        "vae_of_literature": {**reference, "literature_nats": LITERATURE, "off": off},
    }  # fmt: skip


RACE = Race(
    measure=measure,
    options={
        "--budget": "10m", "--seed": 0, "--threads": 1, "--images": (2000, "held-out images"),
        "--importance": (500, "samples an image"),
    },
    quick={"budget": "10s", "images": 200, "importance": 50},
    title="Auxiliary variables", figure=FIGURE, better="lower",
    section=partial(figures, caption="Samples of vae, aux_vae, and vae of the literature's size."),
)  # fmt: skip
