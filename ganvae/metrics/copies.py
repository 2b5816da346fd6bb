"""The check for copies of training images, over all of them in pixels and some in features."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganvae.metrics import memorisation
from ganvae.metrics.figures import Record
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
    numbers: np.ndarray,
    real: Tensor,
    chosen: np.ndarray,
    train: Tensor,
) -> dict[str, Any] | None:
    """Samples that look copied from training images, in pixels or in features."""
    counts = {"n_generated": len(small), "n_heldout": len(real), **run.labels()}
    about: dict[str, Any] = {"name": "Suspected copies", "better": "lower", **counts}
    if len(real) < 2:
        run.add("copies", value=None, note="needs 2 held-out images", **about)
        return None
    pixels, near = _pixel_check(run, small, numbers)
    # beside a random part of the training images, those whose pixels are nearest
    extra = np.setdiff1d(near, chosen)
    more = run.real(run.data.train, extra, "training images like samples")
    among = np.concatenate([chosen, extra])
    features = memorisation.check(fake[: len(small)], torch.cat([train, more]), real)

    suspicious = pixels.suspicious | features.suspicious
    allowed = 2 * memorisation.QUANTILE
    run.add(
        "copies", value=float(suspicious.double().mean()), n_train=len(among),
        note=f"share nearer to a training image than unseen images are (these: ≤ {allowed:.0%})",
        **about,
    )  # fmt: skip
    train_rows = {"pixels": pixels.train, "features": torch.from_numpy(among)[features.train]}
    heldout_rows = {
        "pixels": pixels.heldout,
        "features": torch.from_numpy(numbers)[features.heldout],
    }
    checks = {"pixels": pixels, "features": features}
    scores = torch.stack([c.ratio / max(c.threshold, 1e-12) for c in checks.values()])
    worst, space = scores.min(0)
    pairs = []
    for i in worst.argsort(stable=True)[:PAIRS].tolist():
        where = list(checks)[int(space[i])]
        pairs.append({
            "sample": i,
            "train": int(train_rows[where][i]),
            "heldout": int(heldout_rows[where][i]),
            "ratio": float(checks[where].ratio[i]),
            "threshold": checks[where].threshold,
            "space": where,
            "suspicious": bool(suspicious[i]),
        })  # fmt: skip
    return {
        "share": float(suspicious.double().mean()),
        "allowed": allowed,
        "indices": suspicious.nonzero().flatten().tolist(),
        "pairs": pairs,
        "n_generated": len(small),
        "n_train_pixels": min(SEARCHED, len(run.data.train)),
        "n_train_features": len(among),
        "n_heldout": len(real),
        "seed": run.seed,
    }


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
    usual = (
        memorisation.nearest(queries, train, among),
        memorisation.nearest(queries, test, numbers, exclude=numbers[some]),
    )
    near = torch.cat([sample[0].row, usual[0].row]).unique().numpy()
    run.progress("nearest training images", 1, 1)
    return memorisation.compare(sample, usual), near
