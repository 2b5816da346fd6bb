"""Whether a model's samples are copies of its training images.

A sample is compared with its nearest training image and its nearest held-out image, which the
model cannot have copied. The ratio of the two distances is near 1 for a new image and near 0 for
a copy. What counts as suspicious is read off the held-out images themselves: a ratio below that
of all but :data:`QUANTILE` of them, so that the differing numbers of training and held-out images
and families of similar pictures do not raise alarms.

| A Non-Parametric Test to Detect Data-Copying in Generative Models (Meehan et al., 2020)
| https://arxiv.org/abs/2004.05675
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d

from ganvae.metrics.manifold import Neighbours, nearer, neighbours
from ganvae.metrics.protocols import Images
from ganvae.metrics.sampling import read

QUANTILE = 0.005
"""Share of unseen real images that is allowed to look copied, in each space."""
SIDE = 16
"""Side of the thumbnails in which nearest pixels are looked for."""
BLOCK = 4096
"""Training images searched at once."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """For each of N samples the ratio and its neighbours.

    ratio: distance to the nearest training image over that to the nearest held-out one, (N,)
    train, heldout: row numbers of those neighbours, (N,)
    distance: to the nearest training image, (N,)
    threshold: the ratio below which a sample is suspicious
    """

    ratio: Tensor
    train: Tensor
    heldout: Tensor
    distance: Tensor
    threshold: float

    @property
    def suspicious(self) -> Tensor:
        """Which samples look copied: bool (N,)."""
        return self.ratio < self.threshold

    @property
    def share(self) -> float:
        """The share of samples that look copied, in [0, 1]."""
        return float(self.suspicious.double().mean())


def _ratio(train: Neighbours, heldout: Neighbours) -> Tensor:
    near, far = train.distance[:, 0], heldout.distance[:, 0]
    # where both are 0 the image is in both sets, which tells nothing: 1
    return torch.where(far > 0, near / far.clamp(min=1e-30), torch.where(near > 0, torch.inf, 1.0))


def compare(
    samples: tuple[Neighbours, Neighbours], reference: tuple[Neighbours, Neighbours]
) -> Check:
    """A check from the nearest (training, held-out) rows of samples and of held-out images.

    reference: for held-out images, each of which is not its own held-out neighbour. Those that
        are in the training data too (distance 0) do not count.
    Raises ValueError where no held-out image is left to compare with.
    """
    usual = _ratio(*reference)[reference[0].distance[:, 0] > 0]
    if not len(usual):
        raise ValueError("Every held-out image is also a training image: nothing to compare with.")
    train, heldout = samples
    return Check(
        ratio=_ratio(train, heldout),
        train=train.row[:, 0],
        heldout=heldout.row[:, 0],
        distance=train.distance[:, 0],
        threshold=float(np.quantile(usual.numpy(), QUANTILE)),
    )


def check(samples: Tensor, train: Tensor, heldout: Tensor) -> Check:
    """Which samples are copies, by features of samples (N, d), training and held-out images.

    Raises ValueError for no training images or fewer than 2 held-out ones.
    """
    of_samples = neighbours(samples, train), neighbours(samples, heldout)
    of_heldout = neighbours(heldout, train), neighbours(heldout, heldout, same=True)
    return compare(of_samples, of_heldout)


def thumbnails(images: Tensor) -> Tensor:
    """Averages over 16×16 places, (B, C·16·16), of images (B, C, H, W); smaller ones as they are.

    Unlike features they hardly move under noise, blur or recompression.
    """
    down, across = (
        adaptive_avg_pool1d(torch.eye(n, device=images.device)[None], min(SIDE, n))[0]
        for n in images.shape[2:]
    )
    return (down.T @ (images @ across)).flatten(1)  # of small images faster than pooling them


def nearest(
    queries: Tensor, images: Images, rows: np.ndarray, exclude: np.ndarray | None = None
) -> Neighbours:
    """For thumbnails (N, d) the nearest of some rows of ``images``, which are read in blocks.

    exclude: for each query a row of ``images`` that is not its neighbour, (N,)
    Distances (N, 1) and positions in ``images`` (N, 1). Memory does not grow with the rows.
    Raises ValueError where there is no row to be a neighbour.
    """
    if len(rows) <= (exclude is not None):
        raise ValueError("Nearest images need at least one other image.")
    best = Neighbours(torch.full((len(queries), 1), torch.inf), torch.full((len(queries), 1), -1))
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        small = torch.cat([thumbnails(x.cpu()) for x in read(images, part)])
        k = min(1 + (exclude is not None), len(part))
        candidates = neighbours(queries, small, k)
        row = torch.from_numpy(part.astype(np.int64))[candidates.row]
        distance = candidates.distance
        if exclude is not None:
            distance = distance.masked_fill(row == torch.from_numpy(exclude)[:, None], torch.inf)
        distance, order = distance.min(1, keepdim=True)
        best = nearer(best, Neighbours(distance, row.gather(1, order)))
    return best
