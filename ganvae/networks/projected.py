"""A discriminator of pixels that also judges what frozen eyes see.

| Projected GANs Converge Faster (Sauer et al., 2021) | https://arxiv.org/abs/2111.01007
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from ganvae.eyes import eyes
from ganvae.networks.classes import Projection
from ganvae.networks.residual import norm
from ganvae.types import Seen, Shape, Verdict

PARTS = 4
"""Logits a side of every depth: each depth counts alike, however fine it is."""
WIDTH = 64
_SEED = 20211101


class Mixing(nn.Module):
    """Maps of every depth mixed at random across channels and depths, and never trained.

    So that no depth can be judged by a few of its channels alone (section 3.2 of the paper).
    """

    def __init__(self, channels: list[int], width: int):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            across = [nn.Conv2d(c, width, 1, bias=False) for c in channels]
            down = [nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in channels]
            for conv in (*across, *down):
                nn.init.kaiming_normal_(conv.weight, nonlinearity="linear")
        for i, (one, other) in enumerate(zip(across, down, strict=True)):
            # no parameters, and not kept: they follow from the seed
            self.register_buffer(f"across{i}", one.weight.detach(), persistent=False)
            self.register_buffer(f"down{i}", other.weight.detach(), persistent=False)

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Each (B, c, h, w) to (B, width, h, w); deep ones flow into finer ones."""
        mixed: list[Tensor] = []
        for i in reversed(range(len(maps))):
            h = nn.functional.conv2d(maps[i], self.get_buffer(f"across{i}"))
            if mixed:
                above = interpolate(mixed[-1], h.shape[2:], mode="bilinear")
                h = (h + above) * 0.5**0.5
            mixed.append(nn.functional.conv2d(h, self.get_buffer(f"down{i}"), padding=1))
        return tuple(reversed(mixed))


class Head(nn.Module):
    """Logits (B, PARTS²) of a mixed map (B, width, h, w)."""

    def __init__(self, width: int, shape: Shape, source: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width + source, width, 3, padding=1), nn.LeakyReLU(0.2),
            norm(width), nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(0.2),
        )  # fmt: skip
        self.logit = nn.Conv2d(width, 1, 3, padding=1)
        self.classes = Projection(shape.classes, width)

    def forward(self, h: Tensor, label: Tensor | None, source: Tensor | None) -> Tensor:
        """label: (B,); source: (B, S, H, W)"""
        if source is not None:
            h = torch.cat([h, adaptive_avg_pool2d(source, (h.shape[2], h.shape[3])).to(h)], 1)
        h = self.body(h)
        logits = adaptive_avg_pool2d(self.logit(h), PARTS).flatten(1)
        told = self.classes(h.mean((2, 3)), label)
        return logits + (told[:, None] if isinstance(told, Tensor) else told)


class ProjectedDiscriminator(nn.Module):
    """A discriminator of pixels, and heads on what frozen eyes see of the same images.

    Of images it is the discriminator of pixels; of :class:`ganvae.types.Seen`, which :meth:`look`
    makes, both judge, and it gives a :class:`ganvae.types.Verdict`. The eyes are neither trained
    nor kept with the weights.

    source: channels of the source image that images are judged beside; 0 for none
    """

    def __init__(self, pixels: nn.Module, name: str, size: int | None, shape: Shape, source: int):
        super().__init__()
        self.pixels, self.name = pixels, name
        self.size = size or eyes.side(shape.image)
        channels = self._eyes(torch.device("cpu")).channels
        self.mixing = Mixing(channels, WIDTH)
        self.heads = nn.ModuleList(Head(WIDTH, shape, source) for _ in channels)
        self.paired = bool(source)

    def _eyes(self, device: torch.device) -> eyes.Eyes:
        return eyes.load(self.name, self.size, device)

    def look(self, x: Tensor) -> Seen:
        """Images (B, C, H, W) and what the eyes see of them; gradients reach the images."""
        return Seen(x, self.mixing(self._eyes(x.device)(x)))

    def forward(self, x: Tensor | Seen, *c: Tensor, features: bool = False) -> Any:
        """What the discriminator of pixels gives, with a Verdict for its logits of ``Seen``."""
        if not isinstance(x, Seen):
            return self.pixels(x, *c, features=features) if features else self.pixels(x, *c)
        pixels, *more = self.pixels(x.image, *c, features=True)
        told = c[0] if c else None
        label, source = (None, told) if self.paired else (told, None)
        parts = [head(h, label, source) for head, h in zip(self.heads, x.maps, strict=True)]
        verdict = Verdict(pixels, torch.cat(parts, 1))
        return (verdict, *more) if features else verdict
