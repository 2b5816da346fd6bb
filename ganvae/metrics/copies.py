"""The check for copies of training images, over all of them in pixels and some in features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganvae.metrics import memorisation
from ganvae.metrics.distributions import Heldout
from ganvae.metrics.figures import Record, finite
from ganvae.metrics.manifold import Nearest, Neighbours, nearer, neighbours
from ganvae.metrics.protocols import Images
from ganvae.metrics.sampling import read, rows

DETAILED = 1000
"""Samples at most that are looked at."""
SEARCHED = 100_000
"""Training images at most whose pixels are searched."""
PAIRS = 16
"""Most suspicious samples that are listed, at most."""


class WithMirrors:
    """N images as a training with ``data.flip`` shows them: row N + i is i, mirrored."""

    def __init__(self, images: Images):
        self.plain = images
        self.fingerprint = f"{images.fingerprint} mirrored"

    def __len__(self) -> int:
        return 2 * len(self.plain)

    def images(self, rows: np.ndarray) -> Tensor:
        """Images (B, C, H, W) in [-1, 1]."""
        x = self.plain.images(rows % len(self.plain))
        mirrored = torch.from_numpy(rows >= len(self.plain)).to(x.device)
        return torch.where(mirrored[:, None, None, None], x.flip(3), x)


def check(
    run: Record,
    fake: Tensor,
    small: Tensor,
    nearest: Nearest,
    heldout: Heldout,
    train: tuple[np.ndarray, Tensor],
) -> dict[str, Any] | None:
    """Samples that look copied from training images, in pixels or in features; adds a figure.

    Where the training mirrored them (``run.flip``), their mirror images count as well.

    fake: features of all samples; small: thumbnails of the first of them, which are looked at
    nearest: of these among held-out images, by their features
    train: row numbers and features
    Returns pairs of sample and training row, worst first; None where no check is possible.
    """
    about: dict[str, Any] = {
        "name": "Suspected copies", "better": "lower", "n_generated": len(small),
        "n_heldout": len(heldout.numbers), **run.labels(),
    }  # fmt: skip
    in_training = np.isin(heldout.numbers, run.data.leaked)
    if len(heldout.numbers) < 2 or in_training.all():
        run.add("copies", value=None, note="needs 2 held-out images not trained on", **about)
        return None
    images, total = run.data.train, len(run.data.train)
    if run.flip:
        images, mirrored = WithMirrors(images), train[0] + total
        flipped = run.real(images, mirrored, "mirrored training images")
        train = np.concatenate([train[0], mirrored]), torch.cat([train[1], flipped])
    pixels, near, usual = _pixel_check(run, images, small, heldout.numbers)
    # to random training images add those nearest in pixels
    usual_rows = np.setdiff1d(usual, train[0])
    more = run.real(images, usual_rows, "training images like held-out images")
    train = np.concatenate([train[0], usual_rows]), torch.cat([train[1], more])
    near_rows = np.setdiff1d(near, train[0])
    features = _feature_check(run, images, fake, nearest, heldout, train, near_rows)
    allowed = 2 * memorisation.QUANTILE
    n_compared = len(np.unique(np.concatenate([train[0], near_rows]) % total))
    suspicious = pixels.suspicious | features.suspicious
    share = float(suspicious.double().mean())
    neighbour = "a training image or its mirror image" if run.flip else "a training image"
    note = f"share nearer to {neighbour} than unseen images are"
    run.add("copies", value=share, n_train=n_compared, note=note, **about)
    return {
        "share": share,
        "allowed": allowed,
        "indices": suspicious.nonzero().flatten().tolist(),
        "mirrored": run.flip,
        "pairs": _pairs({"pixels": pixels, "features": features}, total),
        "n_generated": len(small),
        "n_train_pixels": min(SEARCHED, len(run.data.train)),
        "n_train_features": n_compared,
        "n_heldout": len(heldout.numbers),
        "seed": run.seed,
    }


def _pairs(checks: dict[str, memorisation.Check], total: int) -> list[dict[str, Any]]:
    """The most suspicious samples with their neighbours, in the space of the lower ratio.

    total: training images; rows from there on are of mirrored ones
    """
    spaces = list(checks)
    score, space = torch.stack([c.ratio / max(c.threshold, 1e-12) for c in checks.values()]).min(0)
    pairs = []
    for i in score.argsort(stable=True)[:PAIRS].tolist():
        result = checks[spaces[int(space[i])]]
        pairs.append({
            "sample": i,
            "train": int(result.train[i]) % total,
            "mirrored": int(result.train[i]) >= total,
            "heldout": int(result.heldout[i]),
            "ratio": finite(float(result.ratio[i])),
            "threshold": result.threshold,
            "space": spaces[int(space[i])],
            "suspicious": bool(score[i] < 1),
        })  # fmt: skip
    return pairs


def _pixel_check(
    run: Record, train: Images, small: Tensor, numbers: np.ndarray
) -> tuple[memorisation.Check, np.ndarray, np.ndarray]:
    """The check on thumbnails, and the training rows nearest to samples and to held-out images."""
    run.progress("nearest training images", 0, 1)
    test, among = run.data.test, rows(len(run.data.train), SEARCHED, run.seed)
    if run.flip:
        among = np.concatenate([among, among + len(run.data.train)])
    queried = rows(len(numbers), DETAILED, run.seed)
    queries = torch.cat([memorisation.thumbnails(x.cpu()) for x in read(test, numbers[queried])])
    sample = memorisation.nearest(small, train, among), memorisation.nearest(small, test, numbers)

    usual = _cached(
        run,
        f"copies {DETAILED} {run.seed}",
        [(test, numbers), (train, among)],
        lambda: (
            memorisation.nearest(queries, train, among),
            memorisation.nearest(queries, test, numbers, exclude=numbers[queried]),
        ),
    )
    run.progress("nearest training images", 1, 1)
    near, usual_rows = (nearest[0].row.flatten().numpy() for nearest in (sample, usual))
    return memorisation.compare(sample, usual), near, usual_rows


def _feature_check(
    run: Record,
    images: Images,
    fake: Tensor,
    nearest: Nearest,
    heldout: Heldout,
    train: tuple[np.ndarray, Tensor],
    extra: np.ndarray,
) -> memorisation.Check:
    """The check on features of the first samples, among ``train`` and ``extra`` rows of images."""
    numbers, among = train
    more = run.real(images, extra, "training images like samples")
    first, every = fake[: len(nearest.row)], heldout.features
    usual, unseen = _cached(
        run,
        "copies in features",
        [heldout.key, (images, numbers)],
        lambda: (_renumber(neighbours(every, among), numbers), heldout.nearest(len(fake))),
    )
    near = _renumber(neighbours(first, among), numbers)
    if len(extra):
        near = nearer(near, _renumber(neighbours(first, more), extra))
        usual = nearer(usual, _renumber(neighbours(every, more), extra))
    samples = near, _renumber(nearest.found(first, every), heldout.numbers)
    return memorisation.compare(samples, (usual, unseen))


def _renumber(near: Neighbours, numbers: np.ndarray) -> Neighbours:
    """Neighbours with row numbers of the data, from positions in ``numbers``."""
    return near._replace(row=torch.from_numpy(numbers)[near.row])


def _cached(
    run: Record,
    name: str,
    of: Sequence[tuple[Images, np.ndarray]],
    compute: Callable[[], tuple[Neighbours, Neighbours]],
) -> tuple[Neighbours, Neighbours]:
    """``compute()`` or its result in the cache: of held-out images the nearest training images,
    and the nearest other held-out ones."""

    def computed() -> dict[str, Tensor]:
        near, far = compute()
        return {"near": near.distance, "row": near.row, "far": far.distance, "other": far.row}

    tensors = run.derived(name, of, computed)
    near = Neighbours(tensors["near"], tensors["row"])
    return near, Neighbours(tensors["far"], tensors["other"])
