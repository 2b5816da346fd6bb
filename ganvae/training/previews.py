"""Grids of what the networks can do by now: reals, their reconstructions, new samples."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ganvae import files
from ganvae.models.images import grid, save_png


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
