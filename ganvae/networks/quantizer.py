"""Vectors to their nearest codes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganvae.types import Posterior


@dataclass(frozen=True)
class Quantised(Posterior):
    """A point mass at the codes nearest to the encoder's output.

    ``mean`` is z_q; its gradient goes to the encoder as if nothing had been rounded.

    before: the encoder's output, shape (B, d)
    after: z_q again, whose gradient goes to the codebook, shape (B, d)
    codes: which codes these are, shape (B, cells)
    """

    before: Tensor
    after: Tensor
    codes: Tensor


SPEED = 16.0
"""How much faster a code moves than other weights: Adam's steps are the same for all of them, but
the encoder's output moves by those of many weights at once, and the codes must keep up."""


class Quantizer(nn.Module):
    """A codebook of K vectors, and the nearest of them to each cell of a map.

    Code k is W c_k + b. Only codes in use get a gradient of their own, but W and b move all of
    them, so that unused codes follow the encoder and can be used later.

    codes: K
    channels: dimensions of a code

    | Neural Discrete Representation Learning (van den Oord et al., 2017), section 3.1
    | https://arxiv.org/abs/1711.00937
    | Addressing Representation Collapse in Vector Quantized Models with One Linear Layer (Zhu et
    | al., 2024) | https://arxiv.org/abs/2411.02038
    """

    met: Tensor

    def __init__(self, codes: int, channels: int):
        super().__init__()
        if codes < 2:
            raise ValueError(f"a codebook needs at least 2 codes, got {codes}")
        self.vectors = nn.Parameter(torch.randn(codes, channels) / SPEED)
        self.shared = nn.Linear(channels, channels)
        nn.init.eye_(self.shared.weight)
        nn.init.zeros_(self.shared.bias)
        self.register_buffer("met", torch.zeros(codes, dtype=torch.long))

    @property
    def codebook(self) -> Tensor:
        """The codes, shape (K, channels), in full precision: near ones must stay distinct."""
        with torch.autocast(self.vectors.device.type, enabled=False):
            return SPEED * self.shared(self.vectors)

    @property
    def use(self) -> Tensor:
        """The share of codes that were in use at the last :meth:`count`, a scalar."""
        return (self.met > 0).to(self.vectors).mean()

    def forward(self, h: Tensor) -> Quantised:
        """Of maps (B, channels, h, w)."""
        codebook = self.codebook
        codes = nearest(h.detach(), codebook.detach())
        after = vectors_at(codebook, codes)
        before = h.flatten(1)
        mean = after.detach() + (before - before.detach())  # exactly z_q, or NaN where h is
        return Quantised(mean, torch.full_like(mean, -torch.inf), before, after, codes)

    @torch.no_grad()
    def start(self, z: Tensor) -> None:
        """Places the codes where the encoder's vectors are: k-means of flat z, shape (N, d)."""
        points = z.unflatten(1, (self.vectors.shape[1], -1)).mT.flatten(0, 1).cpu().double()
        points = points[torch.linspace(0, len(points) - 1, min(len(points), 20_000)).long()]
        self.vectors.copy_(_centres(points, len(self.vectors)) / SPEED)
        nn.init.eye_(self.shared.weight)
        nn.init.zeros_(self.shared.bias)

    @torch.no_grad()
    def count(self, codes: Tensor) -> None:
        """Stores how often each code occurs among codes of any shape."""
        self.met.copy_(torch.bincount(codes.flatten(), minlength=len(self.met)))


def nearest(h: Tensor, codebook: Tensor) -> Tensor:
    """The numbers of the codes nearest to each cell: of (B, n, h, w) and (K, n) to (B, cells)."""
    cells = h.flatten(2).mT.to(codebook)
    return torch.cdist(cells.flatten(0, 1), codebook).argmin(1).view(cells.shape[:2])


def vectors_at(codebook: Tensor, codes: Tensor) -> Tensor:
    """The flat z of codes: of (K, n) and (B, cells) to (B, n · cells), channel by channel."""
    return codebook[codes].mT.flatten(1)


def _centres(points: Tensor, count: int) -> Tensor:
    """``count`` centres of points (N, n); where there are too few points, they come again."""
    distinct = points.unique(dim=0)
    if len(distinct) <= count:
        return distinct.repeat(-(-count // len(distinct)), 1)[:count]
    from sklearn.cluster import KMeans

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not having converged is no matter here
        kmeans = KMeans(count, n_init=1, max_iter=20, random_state=0).fit(points.numpy())
    return torch.from_numpy(kmeans.cluster_centers_)
