"""p(codes): the prior of an autoencoder whose latent is a grid of codes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad, scaled_dot_product_attention

from ganvae.networks.classes import check
from ganvae.networks.prior import GoesOn, Prior
from ganvae.networks.quantizer import nearest, vectors_at
from ganvae.types import Noise

Past = tuple[Tensor, Tensor]
"""Keys and values of the cells so far, both (B, heads, cells, dimensions of a head)."""


class Block(nn.Module):
    """Attention to the cells so far, and a small network in each cell."""

    def __init__(self, dimensions: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dimensions), nn.LayerNorm(dimensions)
        self.asked = nn.Linear(dimensions, 3 * dimensions, bias=False)
        self.answer = nn.Linear(dimensions, dimensions)
        self.each = nn.Sequential(
            nn.Linear(dimensions, 4 * dimensions), nn.GELU(), nn.Linear(4 * dimensions, dimensions)
        )

    def forward(self, h: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """Of and to (B, cells, dimensions): all cells at once, or the one after ``past``."""
        qkv = self.asked(self.norm1(h)).unflatten(2, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        attention = scaled_dot_product_attention(q, k, v, is_causal=past is None)
        h = h + self.answer(attention.transpose(1, 2).flatten(2))
        return h + self.each(self.norm2(h)), (k, v)


class Embedding(nn.Module):
    """The vectors of codes, (K, channels), to embeddings for the transformer, (K, dimensions).

    A network of the vector, so that near codes get near embeddings, plus a free vector a code.
    """

    def __init__(self, codes: int, channels: int, dimensions: int):
        super().__init__()
        self.near = nn.Sequential(
            nn.Linear(channels, 4 * dimensions),
            nn.GELU(),
            nn.Linear(4 * dimensions, dimensions, bias=False),  # it would cancel in softmax
        )
        self.alone = nn.Parameter(torch.zeros(codes, dimensions))

    def forward(self, codebook: Tensor) -> Tensor:
        """The embeddings of all codes."""
        return self.near(codebook) + self.alone


class CodePrior(Prior):
    """A causal transformer over the codes of a grid, row by row: Π p(code | the codes before it).

    Learns by maximum likelihood of :meth:`log_prob`, through gradients. z is the flat grid of the
    codes' vectors, which are the encoder's: :meth:`adopt` takes them over. A cell's
    input embeds its left and its upper neighbour; it sees the others by attention.

    grid: channels, rows and columns of z
    codes: K, the number of codes
    dimensions: of the transformer, a multiple of four
    classes: number of classes that p(z|y) is of; 0 for none

    | Taming Transformers for High-Resolution Image Synthesis (Esser et al., 2021), section 3.2
    | https://arxiv.org/abs/2012.09841
    """

    codebook: Tensor

    def __init__(
        self,
        grid: tuple[int, int, int],
        codes: int,
        dimensions: int = 64,
        layers: int = 2,
        classes: int = 0,
    ):
        channels, rows, columns = grid
        super().__init__(channels * rows * columns)
        self.grid, self.cells, self.classes = grid, rows * columns, classes
        self.register_buffer("codebook", torch.randn(codes, channels))
        self.first = nn.Embedding(max(1, classes), dimensions)
        self.place = nn.Parameter(torch.empty(self.cells, dimensions))
        self.left = Embedding(codes, channels, dimensions)
        self.above = Embedding(codes, channels, dimensions)
        self.sought = Embedding(codes, channels, dimensions)
        for table in (self.first.weight, self.place):
            nn.init.normal_(table, std=0.02)
        self.blocks = nn.ModuleList(Block(dimensions, 4) for _ in range(layers))
        self.norm = nn.LayerNorm(dimensions)

    @torch.no_grad()
    def adopt(self, codebook: Tensor) -> None:
        """Takes over the vectors of the codes, shape (K, channels)."""
        self.codebook.copy_(codebook)

    @torch.no_grad()
    def sample(
        self, noise: Noise, label: Tensor | None = None, temperature: float = 1.0
    ) -> Tensor:
        """z of one code after the other, shape (B, d).

        ``temperature`` divides the logits; at 0 each code is the likeliest one. Takes a uniform
        number for each cell from ``noise``.
        """
        u = noise.uniform(self.cells).to(self.place)
        codes = torch.empty(u.shape, dtype=torch.long, device=u.device)
        past: list[Past | None] = [None for _ in self.blocks]
        left, above, sought = (m(self.codebook) for m in (self.left, self.above, self.sought))
        for cell in range(self.cells):
            h = left[codes[:, cell - 1]] if cell else self._first(len(u), label)
            h = h + self.place[cell]
            if cell >= self.grid[2]:
                h = h + above[codes[:, cell - self.grid[2]]]
            h = h[:, None]
            for layer, block in enumerate(self.blocks):
                h, past[layer] = block(h, past[layer])
            codes[:, cell] = _draw(self.norm(h[:, 0]) @ sought.T, u[:, cell], temperature)
        return vectors_at(self.codebook, codes)

    def log_prob(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """log p of the codes nearest to z, or log p given y, in nats: of (B, d) to (B,)."""
        codes = nearest(z.detach().unflatten(1, self.grid), self.codebook)
        left, above = self.left(self.codebook), self.above(self.codebook)
        h = torch.cat([self._first(len(z), label)[:, None], left[codes[:, :-1]]], 1) + self.place
        h = h + pad(above[codes[:, : -self.grid[2]]], (0, 0, self.grid[2], 0))
        for block in self.blocks:
            h, _ = block(h)
        logits = self.norm(h) @ self.sought(self.codebook).T
        log_p = -cross_entropy(logits.mT, codes, reduction="none").sum(1)
        return log_p + 0 * z.sum(1)  # NaN in z must reach the result, though it has a nearest code

    def fit(self, z: Tensor, label: Tensor | None = None, goes_on: GoesOn | None = None) -> None:
        """Raises ValueError: this prior learns by gradients, in a stage of its own."""
        raise ValueError("a prior over codes is trained, not fitted: see the objective vqgan")

    def _first(self, n: int, label: Tensor | None) -> Tensor:
        """The start token, one for each class, (n, dimensions)."""
        check(label, self.classes)
        if label is None:
            return self.first.weight.expand(n, -1)
        return self.first(label)


def _draw(logits: Tensor, u: Tensor, temperature: float) -> Tensor:
    """Codes (B,) of logits (B, K) by uniform numbers (B,)."""
    if temperature == 0:
        return logits.argmax(1)
    edges = (logits.float() / temperature).softmax(1).cumsum(1)
    u = u.float()[:, None] * edges[:, -1:]
    return torch.searchsorted(edges, u, right=True)[:, 0].clamp(max=logits.shape[1] - 1)
