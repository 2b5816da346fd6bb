"""Completion of CIFAR-10 test images, against OpenCV's Telea and scikit-image's biharmonic: KID.

``python -m benchmarks completion`` trains ``completion`` first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import ours
from benchmarks.fetch import fetch
from benchmarks.race import Args, Race, Result
from benchmarks.sections import figures, show
from ganvae.data import masks
from ganvae.metrics import judge as judges
from ganvae.metrics import kernel
from ganvae.metrics.sampling import levels, read
from ganvae.models.images import to_tensor, to_uint8

GOAL, VARIANTS = 1.0, 4


def telea(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Fast marching (OpenCV), radius 3."""
    import cv2

    return cv2.inpaint(image, hole.astype(np.uint8) * 255, 3, cv2.INPAINT_TELEA)


def biharmonic(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Biharmonic equations (scikit-image)."""
    from skimage.restoration import inpaint_biharmonic

    filled = inpaint_biharmonic(image / 255.0, hole, channel_axis=2)
    return np.rint(filled.clip(0, 1) * 255).astype(np.uint8)


def each(x: Tensor, hole: Tensor, fill: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Tensor:
    """Images (B, C, H, W) in [-1, 1] filled one by one; known pixels as they were."""
    pairs = zip(to_uint8(x), hole.numpy(), strict=True)
    return torch.where(hole > 0, to_tensor(np.stack([fill(p, h[0] > 0) for p, h in pairs])), x)


def measure(args: Args) -> Result:
    """Trains completion and judges all three on both kinds of holes."""
    settings = {
        "objective": "completion", "data.path": str(fetch("cifar10")), "data.task": "complete",
        "evaluation.samples": 500, "data.flip": "true",
    }  # fmt: skip
    run, data = ours.application(args, settings)
    judge = judges.load("efficientnet-lite0", 64)
    n = min(args.samples, len(data.test) // 2)
    mine, others = np.arange(n), np.arange(len(data.test) - n, len(data.test))
    x = torch.cat(list(read(data.test, mine)))
    real = judge.extract(read(data.test, others))
    by_kind: dict[str, Any] = {}
    for kind in ("centre", "brush"):
        hole = masks.draw(kind, mine, *x.shape[2:])  # type: ignore[arg-type]
        completions = run.model.complete(x, hole, VARIANTS, seed=args.seed).cpu()
        filled = {
            "completion": levels(completions[:, 0]), "telea": each(x, hole, telea),
            "biharmonic": each(x, hole, biharmonic),
        }  # fmt: skip
        outside = (hole == 0).expand_as(x)
        scores = {name: kernel.unbiased(judge.extract([y]), real) for name, y in filled.items()}
        by_kind[kind] = {
            "kid": {name: score.value for name, score in scores.items()},
            "kid_error": {name: score.error for name, score in scores.items()},
            "known_pixels_differ_by": float((completions[:, 0] - x)[outside].abs().max()),
            "deviation_of_variants": float(completions.std(1)[~outside].mean()),
        }
        rows = [torch.where(hole[:12] > 0, torch.ones_like(x[:12]), x[:12])]
        rows += completions[:12].transpose(0, 1)
        rows += [filled["telea"][:12], filled["biharmonic"][:12]]
        sheet = torch.stack([*rows, x[:12]], 1).flatten(0, 1)
        show(f"completion-{kind}", sheet, args.results, len(rows) + 1)
    kids = [scores["kid"] for scores in by_kind.values()]
    ratios = [kid["completion"] / max(min(kid["telea"], kid["biharmonic"]), 1e-6) for kid in kids]
    return {
        "ratio": round(max(ratios), 4), "goal": GOAL, **by_kind, "steps": run.step, "samples": n,
    }  # fmt: skip


RACE = Race(
    measure=measure, options={"--budget": "20m", "--samples": 2000, "--seed": 0, "--set": []},
    quick={"budget": "20s", "samples": 200},
    figure="KID of completions over the better classical fill's", better="lower", section=figures,
)  # fmt: skip
