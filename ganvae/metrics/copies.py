"""The check for copies of training images, over all of them in pixels and some in features."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganvae.metrics import memorisation
from ganvae.metrics.figures import Record, finite
from ganvae.metrics.sampling import read, rows

DETAILED = 1000
"""Samples at most that are looked at."""
SEARCHED = 100_000
"""Training images at most whose pixels are searched."""
PAIRS = 16
"""Most suspicious samples that are listed."""


def check(
    run: Record,
    fake: Tensor,
    small: Tensor,
    heldout: tuple[np.ndarray, Tensor],
    train: tuple[np.ndarray, Tensor],
) -> dict[str, Any] | None:
    """Samples that look copied from training images, in pixels or in features; adds a figure.

    fake: features of all samples; small: thumbnails of the first of them, which are looked at
    heldout, train: row numbers and features
    Returns pairs of sample and training row, worst first; None where no check is possible.
    """
    about: dict[str, Any] = {
        "name": "Suspected copies", "better": "lower", "n_generated": len(small),
        "n_heldout": len(heldout[0]), **run.labels(),
    }  # fmt: skip
    leaked = np.isin(heldout[0], getattr(run.data, "leaked", ()))
    if len(heldout[0]) < 2 or leaked.all():
        run.add("copies", value=None, note="needs 2 held-out images not trained on", **about)
        return None
    pixels, near = _pixel_check(run, small, heldout[0])
    # beside a random part of the training images, those whose pixels are nearest
    extra = np.setdiff1d(near, train[0])
    more = run.real(run.data.train, extra, "training images like samples")
    among = np.concatenate([train[0], extra])
    features = memorisation.check(fake[: len(small)], torch.cat([train[1], more]), heldout[1])
    features = replace(
        features,
        train=torch.from_numpy(among)[features.train],
        heldout=torch.from_numpy(heldout[0])[features.heldout],
    )
    allowed = 2 * memorisation.QUANTILE
    suspicious = pixels.suspicious | features.suspicious
    share = float(suspicious.double().mean())
    note = f"share nearer to a training image than unseen images are (these: {allowed:.0%})"
    run.add("copies", value=share, n_train=len(among), note=note, **about)
    return {
        "share": share,
        "allowed": allowed,
        "indices": suspicious.nonzero().flatten().tolist(),
        "pairs": _pairs({"pixels": pixels, "features": features}),
        "n_generated": len(small),
        "n_train_pixels": min(SEARCHED, len(run.data.train)),
        "n_train_features": len(among),
        "n_heldout": len(heldout[0]),
        "seed": run.seed,
    }


def _pairs(checks: dict[str, memorisation.Check]) -> list[dict[str, Any]]:
    """The most suspicious samples with their neighbours, in the space that suspects them most."""
    spaces = list(checks)
    score, space = torch.stack([c.ratio / max(c.threshold, 1e-12) for c in checks.values()]).min(0)
    pairs = []
    for i in score.argsort(stable=True)[:PAIRS].tolist():
        found = checks[spaces[int(space[i])]]
        pairs.append({
            "sample": i,
            "train": int(found.train[i]),
            "heldout": int(found.heldout[i]),
            "ratio": finite(float(found.ratio[i])),
            "threshold": found.threshold,
            "space": spaces[int(space[i])],
            "suspicious": bool(score[i] < 1),
        })  # fmt: skip
    return pairs


def _pixel_check(
    run: Record, small: Tensor, numbers: np.ndarray
) -> tuple[memorisation.Check, np.ndarray]:
    """The check on thumbnails, and the training rows nearest to samples and to held-out images."""
    run.progress("nearest training images", 0, 1)
    train, test = run.data.train, run.data.test
    among = rows(len(train), SEARCHED, run.seed)
    some = rows(len(numbers), DETAILED, run.seed)
    queries = torch.cat([memorisation.thumbnails(x.cpu()) for x in read(test, numbers[some])])
    sample = memorisation.nearest(small, train, among), memorisation.nearest(small, test, numbers)

    def unseen() -> dict[str, Tensor]:
        near = memorisation.nearest(queries, train, among)
        far = memorisation.nearest(queries, test, numbers, exclude=numbers[some])
        return {"near": near.distance, "row": near.row, "far": far.distance, "other": far.row}

    known = run.derived(f"copies {DETAILED} {run.seed}", [(test, numbers), (train, among)], unseen)
    usual = (
        memorisation.Neighbours(known["near"], known["row"]),
        memorisation.Neighbours(known["far"], known["other"]),
    )
    near = torch.cat([sample[0].row, usual[0].row]).unique().numpy()
    run.progress("nearest training images", 1, 1)
    return memorisation.compare(sample, usual), near
