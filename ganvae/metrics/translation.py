"""How a model that makes images from others follows them, and how much its z varies.

| Toward Multimodal Image-to-Image Translation (Zhu et al., 2017), section 5.1
| https://arxiv.org/abs/1711.11586
"""

from __future__ import annotations

import numpy as np
import torch

from ganvae.metrics import distances, distortion
from ganvae.metrics.figures import Record
from ganvae.metrics.sampling import made_of_sources, read, rows

SOURCES = 200
"""Held-out sources at most that several variants are made of."""
VARIANTS = 4


def measure(run: Record) -> None:
    """Variety of variants, and, where each source has its target, the distance to it."""
    numbers = rows(len(run.data.test), min(SOURCES, run.n), run.seed)
    with run.timed():
        variants = torch.cat(
            list(made_of_sources(run.model, run.data.test, numbers, run.seed, VARIANTS))
        )
        run.progress("variants", len(variants), len(variants))
        _variety(run, variants, numbers)
        if run.data.paired:
            _nearness(run, variants, numbers)


def _variety(run: Record, variants: torch.Tensor, numbers: np.ndarray) -> None:
    """Mean feature distance between two variants of a source, over that of two targets."""
    features = run.judge.extract([variants.flatten(0, 1)]).unflatten(0, (len(variants), VARIANTS))
    real = run.judge.extract(read(run.data.test, numbers))
    value = None
    if len(real) > 1:
        between = distances.pairwise(real)
        value = float(np.mean([distances.pairwise(f) for f in features])) / max(between, 1e-12)
    note = f"distance between {VARIANTS} variants of a source, over that between random "
    run.add(
        "variety", name="Variety", value=value, better="higher", n_heldout=len(real),
        note=f"{note}held-out images; 0: z is ignored",
        judge=run.judge.name, resize=run.judge.resize,
    )  # fmt: skip


def _nearness(run: Record, variants: torch.Tensor, numbers: np.ndarray) -> None:
    """Mean squared error against the target: of each variant, and of the nearest of them."""
    target = torch.cat([x.cpu() for x in read(run.data.test, numbers)])
    errors = torch.stack([distortion.mse(target, variants[:, v]) for v in range(VARIANTS)], 1)
    about = "against the held-out target, pixel values in [0, 1]"
    for key, name, values in (
        ("mse", "MSE", errors.mean(1)),
        ("mse_best", f"MSE, best of {VARIANTS}", errors.min(1).values),
    ):
        run.add_mean(key, values, name=name, better="lower", note=about)
