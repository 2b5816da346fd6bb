"""Networks of paired translation: an image in, an image out, with a z that decides the rest."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad

from ganvae.networks.residual import Tanh, Trunk, levels, norm, widths
from ganvae.types import Shape


class Modulated(nn.Module):
    """Normalised features, scaled and shifted by z channel by channel, then activated.

    It says the same at every pixel, so it takes images of any size.

    | FiLM: Visual Reasoning with a General Conditioning Layer (Perez et al., 2018)
    | https://arxiv.org/abs/1709.07871
    """

    def __init__(self, channels: int, latent: int):
        super().__init__()
        self.norm = norm(channels, affine=False)
        self.affine = nn.Linear(latent, 2 * channels)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """Of and to shape (B, channels, H, W), with z of shape (B, latent)."""
        scale, shift = self.affine(z)[:, :, None, None].chunk(2, 1)
        return leaky_relu(self.norm(h) * (1 + scale) + shift, 0.2)


class Block(nn.Module):
    """h + f(h, z): modulation and 3×3 convolution twice."""

    def __init__(self, channels: int, latent: int):
        super().__init__()
        self.first, self.second = Modulated(channels, latent), Modulated(channels, latent)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """Of and to shape (B, channels, H, W), with z of shape (B, latent)."""
        return h + self.conv2(self.second(self.conv1(self.first(h, z)), z))


class Down(nn.Module):
    """Halves the sides: (B, before, H, W) to (B, after, H/2, W/2), with z of shape (B, latent)."""

    def __init__(self, before: int, after: int, latent: int):
        super().__init__()
        self.modulate = Modulated(before, latent)
        self.conv = nn.Conv2d(before, after, 3, 2, 1)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """The features, half as large."""
        return self.conv(self.modulate(h, z))


class Up(nn.Module):
    """Doubles the sides, adds the skip connection of that size, then blocks."""

    def __init__(self, before: int, after: int, latent: int, depth: int):
        super().__init__()
        self.modulate = Modulated(before, latent)
        self.conv = nn.ConvTranspose2d(before, after, 4, 2, 1)
        self.blocks = nn.ModuleList(Block(after, latent) for _ in range(depth))

    def forward(self, h: Tensor, z: Tensor, skip: Tensor | None = None) -> Tensor:
        """Of shape (B, before, H, W) to (B, after, 2H, 2W), with z of shape (B, latent)."""
        h = self.conv(self.modulate(h, z))
        h = h if skip is None else h + skip
        for block in self.blocks:
            h = block(h, z)
        return h


class UNet(nn.Module):
    """G(z, source): z (B, latent) and a source (B, S, H, W) to an image (B, C, H, W) in [-1, 1].

    Down to 7 px or less and up again with additive skip connections; the last two convolutions
    see the source itself. z modulates every level. Any H and W will do: a
    side that cannot be halved so often is continued by its last pixels and cut off again.

    | Toward Multimodal Image-to-Image Translation (Zhu et al., 2017), section 4, "add to all"
    | https://arxiv.org/abs/1711.11586
    """

    def __init__(self, shape: Shape, width: int, depth: int):
        super().__init__()
        if not shape.source:
            raise ValueError("this network starts from a source image: the shape has none")
        count = min(levels(shape.height), levels(shape.width))
        channels, latent, last = widths(width, count), shape.latent, max(width // 2, 1)
        self.multiple = 2**count
        self.enter = nn.Conv2d(shape.source, width, 3, 2, 1)
        self.down = nn.ModuleList(Down(a, b, latent) for a, b in pairwise(channels))
        self.up = nn.ModuleList(Up(b, a, latent, depth) for a, b in pairwise(channels))
        self.leave = Up(width, last, latent, 0)
        self.refine = nn.Conv2d(last + shape.source, last, 3, padding=1)
        self.head = nn.Conv2d(last, shape.channels, 3, padding=1)
        self.tanh = Tanh()

    def forward(self, z: Tensor, source: Tensor) -> Tensor:
        """The image that z makes of each source."""
        height, width = source.shape[2:]
        right, below = -width % self.multiple, -height % self.multiple
        if right or below:
            source = pad(source, [0, right, 0, below], mode="replicate")
        source = source.contiguous(memory_format=torch.channels_last)
        h, skips = self.enter(source), list[Tensor]()
        for down in self.down:
            skips.append(h)
            h = down(h, z)
        for up in reversed(self.up):
            h = up(h, z, skips.pop())
        h = leaky_relu(self.leave(h, z), 0.2)
        h = leaky_relu(self.refine(torch.cat([h, source], 1)), 0.2)
        return self.tanh(self.head(h))[:, :, :height, :width]


class CompletingUNet(UNet):
    """A U-Net whose source is (the image with 0 in its hole, the hole), and that fills it in.

    The last channel of the source is 1 in the hole and 0 outside. What is known comes out as it
    went in, to the last bit.
    """

    def forward(self, z: Tensor, source: Tensor) -> Tensor:
        """The composite: what z makes in the hole, and the known pixels around it."""
        return torch.where(source[:, -1:] > 0, super().forward(z, source), source[:, :-1])


class PairDiscriminator(nn.Module):
    """An image (B, C, H, W) and its source (B, S, H, W) to a logit (B,); no normalisation."""

    def __init__(self, shape: Shape, width: int, depth: int):
        super().__init__()
        both = replace(shape, channels=shape.channels + shape.source)
        self.trunk = Trunk(both, width, depth, normalise=False)
        self.head = nn.Linear(math.prod(self.trunk.out), 1)

    def forward(
        self, x: Tensor, source: Tensor, features: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits; with ``features`` also the last convolutional features, flattened (B, F)."""
        h = self.trunk(torch.cat([x, source], 1)).flatten(1)
        logit = self.head(h).squeeze(1)
        return (logit, h) if features else logit
