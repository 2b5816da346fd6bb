"""Samples for the alarms, and preview grids, of a model in training."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ganvae import files
from ganvae.data import Batches, Data
from ganvae.metrics.sampling import spread
from ganvae.models import Model
from ganvae.models.images import grid, in_channels, save_png
from ganvae.types import Batch, Noise


@torch.no_grad()
def sample(model: Model, batch: Batch, seed: int, *, coded: bool) -> Tensor:
    """Generated images for the alarms: shape (16, C, H, W), or fewer if the batch has fewer.

    coded: draw z from q(z|x) of the batch, because p(z) is fitted only at the end of the stage
    """
    if model.info.from_sources:
        assert batch.source is not None
        return model.of_sources(batch.source[:16])[:, 0]
    x, c = batch.image[:16], tuple(condition[:16] for condition in batch.condition)
    total = len(x) if coded or c else 16
    noise = Noise(seed, total=total, device=x.device)
    z = model.networks["encoder"](x, *c).rsample(noise) if coded else model.prior.sample(noise, *c)
    images: Tensor = model.networks[model.info.generator](z, *c)
    return images


@torch.no_grad()
def preview(model: Model, data: Data, out: Path, step: int, *, flip: bool) -> Path:
    """Writes ``previews/step-00001234.png`` of a model and held-out images; returns its path.

    It shows images, their reconstructions and samples; of a model that starts from source images
    it shows these, their targets, and four variants of each.

    flip: mirror the targets at random, as in training
    """
    if model.info.from_sources:
        images = data.test if len(data.test) else data.train
        batch = Batches(images, batch=8, seed=0, flip=flip, device=model.device).at(0)
        assert batch.source is not None
        variants = model.of_sources(batch.source, 4).transpose(0, 1).flatten(0, 1)
        return write(out, step, in_channels(batch.source, model.shape[0]), batch.image, variants)
    rows = spread(len(data.test), 8)
    real = data.test.images(rows).to(model.device)
    labels = data.test.labels
    label = None if labels is None else torch.from_numpy(labels[rows])
    again = model.reconstruct(real, label) if "encoder" in model.networks else None
    return write(out, step, real, again, model.generate(32, seed=0))


def write(
    run_dir: Path, step: int, reals: Tensor, reconstructions: Tensor | None, samples: Tensor
) -> Path:
    """Writes ``previews/step-00001234.png`` and returns its path.

    The first row shows ``reals``, shape (N, C, H, W) in [-1, 1], the second one their
    ``reconstructions`` (same shape; None where the model has no encoder), the rest ``samples``,
    shape (M, C, H, W); the grid is N wide.

    Raises :class:`CheckpointError` where the file cannot be written.
    """
    rows = [reals, samples] if reconstructions is None else [reals, reconstructions, samples]
    picture = grid(torch.cat([row.detach().float().cpu() for row in rows]), len(reals))
    files.refuse_link(run_dir / "previews")
    return save_png(picture, run_dir / "previews" / f"step-{step:08d}.png")
