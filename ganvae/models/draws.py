"""Random numbers for numbered images: those of image i depend on the seed and i alone.

They are drawn for whole blocks of 64 consecutive images, each from (seed, block), and the images
asked for are cut out; so it does not matter how many are asked for at once, or from where on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ganvae.types import Condition, Noise, Posterior

BLOCK = 64
"""Random numbers are drawn for this many consecutive images at once."""
CLASS, VARIANT = 1, 2
"""Salts that make the draws of classes and of variants differ from those of latents."""


def blocks(n: int, start: int = 0) -> Iterator[tuple[int, slice, slice]]:
    """The blocks that cover numbers ``start`` to ``start + n``.

    Of each: its number, which of its 64 rows are asked for, and where these are among the n.
    """
    at = 0
    while at < n:
        block, first = divmod(start + at, BLOCK)
        count = min(BLOCK - first, n - at)
        yield block, slice(first, first + count), slice(at, at + count)
        at += count


def draw(
    of_block: Callable[[Noise], Tensor],
    n: int,
    seed: int,
    *salt: int,
    start: int = 0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Rows ``start`` to ``start + n``, n ≥ 1, of what ``of_block`` makes of a block's noise.

    salt: makes these draws differ from others with the same seed
    """
    return torch.cat([
        of_block(Noise(seed, block, *salt, total=BLOCK, device=device))[rows]
        for block, rows, _ in blocks(n, start)
    ])  # fmt: skip


def classes(shares: Sequence[float], n: int, seed: int, start: int = 0) -> Tensor:
    """Class numbers (n,), each as often as its share says, on the CPU."""
    if not n:
        return torch.empty(0, dtype=torch.long)
    edges = torch.tensor(shares, dtype=torch.float64).cumsum(0)
    u = draw(lambda noise: noise.uniform(), n, seed, CLASS, start=start).double()
    return torch.searchsorted(edges / edges[-1], u, right=True)


def latents(
    prior: Any,
    n: int,
    label: Tensor | None,
    seed: int,
    *,
    temperature: float = 1.0,
    truncation: float | None = None,
    start: int = 0,
    device: torch.device | str = "cpu",
) -> list[Tensor]:
    """Samples of a prior, together of shape (n, d).

    prior: has ``sample(noise, *condition, temperature=…)``
    label: the class of each, (n,), or None where the prior knows none
    truncation: the limit of the normal numbers, or None
    """
    parts = []
    for block, rows, places in blocks(n, start):
        condition: Condition = ()
        if label is not None:  # of a whole block; rows not asked for get class 0
            condition = (label.new_zeros(BLOCK),)
            condition[0][rows] = label[places]
        noise = Noise(seed, block, total=BLOCK, device=device)
        if truncation is not None:
            noise = noise.truncated(truncation)
        parts.append(prior.sample(noise, *condition, temperature=temperature)[rows])
    return parts


def posterior(q: Posterior, seed: int, start: int = 0) -> Tensor:
    """A sample z of each image's q(z|x), shape (B, d); image i has the number ``start + i``."""
    device = q.mean.device
    parts = [
        q.rows(places).rsample(Noise(seed, block, total=BLOCK, rows=rows, device=device))
        for block, rows, places in blocks(len(q.mean), start)
    ]
    return torch.cat(parts) if parts else q.mean
