"""Residual convolutional networks for 16 to 896 px."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from ganvae.networks.classes import AppendClass, Projection
from ganvae.types import Posterior, Shape


def levels(size: int) -> int:
    """How often an image side is halved: until it is 7 or less.

    Raises ValueError where an odd size above 8 is met on the way.
    """
    side, count = size, 0
    while side > 7:
        if side % 2:
            fits = next(s for s in range(size + 1, 2 * size + 16) if _fits(s))
            raise ValueError(f"{size} px cannot be halved down to 7 px or less; try {fits} px")
        side, count = side // 2, count + 1
    if not 2 <= count <= 7:
        raise ValueError(f"residual networks take images of 16 to 896 px, got {size} px")
    return count


def _fits(size: int) -> bool:
    while size > 7 and size % 2 == 0:
        size //= 2
    return size <= 7


def widths(width: int, count: int) -> list[int]:
    """Channels after each halving: doubling, up to four times ``width``."""
    return [width * min(2**level, 4) for level in range(count)]


class GroupNorm(nn.GroupNorm):
    """Computes in float32 for bfloat16, too: more exact, and on a CPU in half the time."""

    def forward(self, x: Tensor) -> Tensor:
        """Of and to shape (B, channels, H, W) in x's type."""
        exact = torch.promote_types(x.dtype, torch.float32)
        return super().forward(x.to(exact)).to(x.dtype)


def norm(channels: int, affine: bool = True) -> nn.Module:
    """GroupNorm over groups of eight channels, or over all where eight do not divide them."""
    return GroupNorm(1 if channels % 8 else channels // 8, channels, affine=affine)


def activation() -> nn.Module:
    """Leaky ReLU in place, for inputs that nothing else reads; that saves a copy."""
    return nn.LeakyReLU(0.2, inplace=True)


class Tanh(nn.Tanh):
    """Computes in float32 for bfloat16, too, where it would be exactly 1, flat, from 3.5 on."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        return super().forward(x.to(torch.promote_types(x.dtype, torch.float32)))


class Residual(nn.Module):
    """x + f(x): activation and 3×3 convolution twice, normalised or norm-free.

    Without normalisation the last convolution starts at zero, so a block starts as the identity.
    """

    def __init__(self, channels: int, normalise: bool):
        super().__init__()
        self.norm1 = norm(channels) if normalise else nn.Identity()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=not normalise)
        self.norm2 = norm(channels) if normalise else nn.Identity()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        # in place, but for the first without a norm, which would change x itself
        self.act1 = nn.LeakyReLU(0.2, inplace=normalise)
        self.act2 = activation()
        if not normalise:
            nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Of and to shape (B, channels, H, W)."""
        h = self.conv1(self.act1(self.norm1(x)))
        return x + self.conv2(self.act2(self.norm2(h)))


class Trunk(nn.Sequential):
    """From an image (B, C, H, W) down to features (B, 4·width, h, w) with h, w ≤ 7."""

    def __init__(self, shape: Shape, width: int, depth: int, normalise: bool):
        count = min(levels(shape.height), levels(shape.width))
        channels = widths(width, count)
        layers: list[nn.Module] = [nn.Conv2d(shape.channels, width, 4, 2, 1)]
        for before, after in pairwise(channels):
            if normalise:
                layers.append(norm(before))
            layers += [activation(), nn.Conv2d(before, after, 4, 2, 1)]
            layers += [Residual(after, normalise) for _ in range(depth)]
        if normalise:
            layers.append(norm(channels[-1]))
        layers.append(activation())
        super().__init__(*layers)
        self.out = (channels[-1], shape.height >> count, shape.width >> count)


class Encoder(nn.Module):
    """q(z|x): an image (B, C, H, W) in [-1, 1] to a diagonal Gaussian over (B, latent)."""

    def __init__(self, shape: Shape, width: int, depth: int):
        super().__init__()
        self.trunk = Trunk(shape, width, depth, normalise=True)
        self.append_class = AppendClass(shape.classes)
        self.head = nn.Linear(math.prod(self.trunk.out) + shape.classes, 2 * shape.latent)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Posterior:
        """The posterior of each image."""
        h = self.append_class(self.trunk(x).flatten(1), label)
        return Posterior.of(self.head(h))


class Decoder(nn.Module):
    """z of shape (B, latent) to an image (B, C, H, W) in [-1, 1]. The generator is one, too."""

    def __init__(self, shape: Shape, width: int, depth: int):
        super().__init__()
        count = min(levels(shape.height), levels(shape.width))
        channels = widths(width, count)[::-1]
        self.start = (channels[0], shape.height >> count, shape.width >> count)
        self.append_class = AppendClass(shape.classes)
        self.head = nn.Linear(shape.latent + shape.classes, math.prod(self.start))
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [Residual(before, normalise=True) for _ in range(depth)]
            layers += [norm(before), activation(), nn.ConvTranspose2d(before, after, 4, 2, 1)]
        fine = max(width // 2, 1)  # as last layer it would draw each 2×2 by itself
        layers += [norm(width), activation(), nn.ConvTranspose2d(width, fine, 4, 2, 1)]
        layers += [activation(), nn.Conv2d(fine, shape.channels, 3, padding=1), Tanh()]
        self.body = nn.Sequential(*layers)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """The image of each z."""
        h = self.head(self.append_class(z, label)).unflatten(1, self.start)
        return self.body(h.contiguous(memory_format=torch.channels_last))


class Discriminator(nn.Module):
    """An image (B, C, H, W) to a logit (B,), higher for real ones; no normalisation.

    Of classes, by projection: the logit gets the product of the features with the class's vector.
    | cGANs with Projection Discriminator (Miyato and Koyama, 2018), eq. 4
    | https://arxiv.org/abs/1802.05637
    """

    def __init__(self, shape: Shape, width: int, depth: int):
        super().__init__()
        self.trunk = Trunk(shape, width, depth, normalise=False)
        self.head = nn.Linear(math.prod(self.trunk.out), 1)
        self.classes = Projection(shape.classes, self.head.in_features)

    def forward(
        self, x: Tensor, label: Tensor | None = None, features: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits; with ``features`` also the last convolutional features, flattened (B, F)."""
        h = self.trunk(x).flatten(1)
        logit = self.head(h).squeeze(1) + self.classes(h, label)
        return (logit, h) if features else logit
