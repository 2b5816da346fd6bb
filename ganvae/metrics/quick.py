"""A score in seconds, to watch a training by."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch

from ganvae.metrics import cache, distortion, kernel
from ganvae.metrics.figures import finite
from ganvae.metrics.judge import Judge
from ganvae.metrics.protocols import HeldoutImages, Model
from ganvae.metrics.sampling import generated, levels, read_with_labels, rows, task_of


def quick(
    model: Model,
    test_images: HeldoutImages,
    judge: Judge,
    samples: int = 512,
    *,
    seed: int = 0,
    cache_folder: Path | None = None,
) -> dict[str, Any]:
    """A score in seconds, for use while training: KID and, with an encoder, held-out MSE.

    The same seeds of samples and held-out rows each time, so that scores can be compared.
    Features of the held-out images stay in ``judge``. Lower is better for both; JSON-able.
    What too few held-out images cannot give (KID needs 2, MSE 1) is None: no reason to end a run.
    """
    start = time.perf_counter()
    n = min(samples, len(test_images))
    numbers = rows(len(test_images), n, seed)
    kid, mse = kernel.KernelDistance(math.nan, math.nan), None
    if n > 1:
        real = cache.features(test_images, judge, numbers, cache=cache_folder)
        fake = judge.extract(generated(model, samples, seed, test_images))
        kid = kernel.unbiased(fake, real)
    if n and "encoder" in model.networks and not task_of(model).from_sources:
        parts = [
            distortion.mse(x.cpu(), levels(model.reconstruct(x.to(model.device), *c)))
            for x, *c in read_with_labels(test_images, numbers)
        ]
        mse = float(torch.cat(parts).mean())
    return {
        "kid": finite(kid.value),
        "kid_error": finite(kid.error),
        "mse": finite(mse),
        "judge": judge.name,
        "resize": judge.resize,
        "n_generated": samples,
        "n_heldout": n,
        "split": "held-out",
        "seed": seed,
        "seconds": round(time.perf_counter() - start, 3),
    }
