"""Networks of unpaired translation: two sets of images, each with layers of its own, one latent.

Both sets' layers stand in one module with those they share, so that a shared layer is trained
once. Beside the convolutions goes a linear map between a patch of pixels and its cell of z, which
is a small image, flattened. It starts as the patch's cosine transform and the convolutions at
zero: untrained networks keep an image as it is, as far as a cell has the numbers for it.

| Unsupervised Image-to-Image Translation Networks (Liu et al., 2017), section 3
| https://arxiv.org/abs/1703.00848
"""

from __future__ import annotations

import math
from itertools import pairwise, product
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import hardtanh

from ganvae.networks.grid import cells
from ganvae.networks.residual import Residual, norm, widths
from ganvae.types import Posterior, Shape

SCALE = 64.0
"""What an untrained μ is multiplied by, so that the posterior's noise of 1 is not to be seen."""


_Patch = TypeVar("_Patch", nn.Conv2d, nn.ConvTranspose2d)


class SharedEncoder(nn.Module):
    """q(z|x) = N(μ(x), I): an image of either set, (B, C, H, W) or (B, S, H, W), in [-1, 1]."""

    def __init__(self, shape: Shape, width: int, depth: int, factor: int, latent: int):
        super().__init__()
        cells(shape, factor)
        channels = widths(width, factor.bit_length() - 1)

        def own(inputs: int) -> nn.ModuleList:
            layers: list[nn.Module] = [nn.Conv2d(inputs, width, 4, 2, 1)]
            for before, after in pairwise(channels):
                layers += [norm(before), nn.LeakyReLU(0.2), nn.Conv2d(before, after, 4, 2, 1)]
            patch = _cosines(nn.Conv2d(inputs, latent, factor, factor))
            return nn.ModuleList([nn.Sequential(*layers), patch])

        self.target = own(shape.channels)
        self.source = _alike(self.target, own(shape.source))
        self.shared = nn.Sequential(
            *_blocks(channels[-1], 3 * depth),
            norm(channels[-1]),
            nn.LeakyReLU(0.2),
            _silent(nn.Conv2d(channels[-1], latent, 3, padding=1)),
        )

    def forward(self, x: Tensor, *, source: bool = False) -> Posterior:
        """The posterior of each image of the target set, or of the ``source`` set."""
        own, patch = self.source if source else self.target
        mean = SCALE * (self.shared(own(x)) + patch(x)).flatten(1)
        return Posterior(mean, torch.zeros_like(mean))


class SharedDecoder(nn.Module):
    """z of shape (B, latent) to an image of either set, (B, C, H, W) or (B, S, H, W)."""

    def __init__(self, shape: Shape, width: int, depth: int, factor: int, latent: int):
        super().__init__()
        channels, last = widths(width, factor.bit_length() - 1)[::-1], max(width // 2, 1)
        self.start = (latent, *cells(shape, factor))
        self.shared = nn.Sequential(
            nn.Conv2d(latent, channels[0], 3, padding=1), *_blocks(channels[0], depth)
        )

        def own(outputs: int) -> nn.ModuleList:
            layers: list[nn.Module] = _blocks(channels[0], 2 * depth)
            for before, after in pairwise([*channels, last]):
                up = nn.ConvTranspose2d(before, after, 4, 2, 1)
                layers += [norm(before), nn.LeakyReLU(0.2), up]
            layers += [nn.LeakyReLU(0.2), _silent(nn.Conv2d(last, outputs, 3, padding=1))]
            patch = _cosines(nn.ConvTranspose2d(latent, outputs, factor, factor))
            return nn.ModuleList([nn.Sequential(*layers), patch])

        self.target = own(shape.channels)
        self.source = _alike(self.target, own(shape.source))

    def forward(self, z: Tensor, *, source: bool = False) -> Tensor:
        """The image of each z in the target set, or in the ``source`` set."""
        own, patch = self.source if source else self.target
        h = (z / SCALE).unflatten(1, self.start).contiguous(memory_format=torch.channels_last)
        return hardtanh(own(self.shared(h)) + patch(h))


def _alike(one: nn.ModuleList, other: nn.ModuleList) -> nn.ModuleList:
    """``other``, begun as ``one`` wherever they fit: z means the same to both from the start."""
    mine = one.state_dict()
    kept = {name: x for name, x in other.state_dict().items() if x.shape != mine[name].shape}
    other.load_state_dict(mine | kept)
    return other


def _silent(layer: nn.Conv2d) -> nn.Conv2d:
    """A layer that begins by saying nothing."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def _cosines(layer: _Patch) -> _Patch:
    """``layer`` as the discrete cosine transform of a patch, orthonormal, the slowest waves first.

    Numbers of a cell beyond those of a patch begin at zero. A transposed layer is the way back.
    """
    latent, channels, side, _ = layer.weight.shape
    place, wave = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    basis = torch.cos((2 * place + 1) * wave * (math.pi / (2 * side))).mul(math.sqrt(2 / side)).mT
    basis[0] /= math.sqrt(2)
    waves = sorted(product(range(side), range(side), range(channels)), key=lambda w: w[0] + w[1])
    nn.init.zeros_(layer.weight)
    for number, (down, across, channel) in enumerate(waves[:latent]):
        layer.weight.data[number, channel] = torch.outer(basis[down], basis[across])
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def _blocks(channels: int, count: int) -> list[nn.Module]:
    return [Residual(channels, normalise=True) for _ in range(count)]
