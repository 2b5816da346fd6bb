"""Networks of unpaired translation: two sets of images, each with layers of its own, one latent.

Both sets' layers are in one module with the shared ones, so that those are trained once. A fixed
cosine transform of patches to cells of z (a small image, flattened) is added to the convolutions,
whose last layer starts at zero: untrained networks reconstruct an image as well as the size of a
cell allows, and training learns the difference.

| Unsupervised Image-to-Image Translation Networks (Liu et al., 2017), section 3
| https://arxiv.org/abs/1703.00848
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice, pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d

from ganvae.networks.grid import cells
from ganvae.networks.residual import Residual, norm, widths
from ganvae.types import Posterior, Shape

SCALE = 256.0
"""Factor of μ, so large that the posterior's noise of 1 is invisible in untrained networks."""


WAVES = 2**22
"""Numbers of a transform at most: 16 MiB, which no file of weights has."""


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
            patch = Cosines(inputs, shape.channels, factor, latent)
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
            end = nn.Sequential(
                nn.Conv2d(last + outputs, last, 3, padding=1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(last, last, 3, padding=1),
                nn.LeakyReLU(0.2),
                _silent(nn.Conv2d(last, outputs, 3, padding=1)),
            )
            patch = Cosines(outputs, shape.channels, factor, latent, back=True)
            return nn.ModuleList([nn.Sequential(*layers), patch, end])

        self.target = own(shape.channels)
        self.source = _alike(self.target, own(shape.source))

    def forward(self, z: Tensor, *, source: bool = False) -> Tensor:
        """The image of each z in the target set, or in the ``source`` set."""
        own, patch, end = self.source if source else self.target
        h = (z / SCALE).unflatten(1, self.start).contiguous(memory_format=torch.channels_last)
        image = patch(h)
        image = image + end(torch.cat([own(self.shared(h)), image], 1))
        return _cut(image)


class Cosines(nn.Module):
    """The discrete cosine transform of patches, orthonormal, the slowest waves first.

    An image (B, C, H, W) to cells (B, latent, H/side, W/side), or ``back``. Numbers of a cell
    beyond those of a patch are zero; where it has fewer, the fast waves are lost.

    channels: of the image
    colours: channels that a cell describes; of an image with another number it has the grey
    """

    waves: Tensor

    def __init__(self, channels: int, colours: int, side: int, latent: int, back: bool = False):
        super().__init__()
        self.side, self.transform = side, conv_transpose2d if back else conv2d
        place, wave = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        basis = torch.cos((2 * place + 1) * wave * (math.pi / (2 * side))).mT * math.sqrt(2 / side)
        basis[0] /= math.sqrt(2)
        if latent * channels * side**2 > WAVES:
            raise ValueError(
                f"cells of {side}x{side} pixels of {channels} channels have too many waves for "
                f"{latent} numbers: choose a smaller networks.grid or networks.grid_channels"
            )
        waves = torch.zeros(latent, channels, side, side)
        for number, (down, across, channel) in enumerate(islice(_slow(side, colours), latent)):
            wave = torch.outer(basis[down], basis[across])
            if channels == colours:
                waves[number, channel] = wave
            else:
                waves[number] = wave / (colours if back else channels)
        self.register_buffer("waves", waves, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Cells of an image, or the image of cells."""
        return self.transform(x, self.waves, stride=self.side)


def _slow(side: int, colours: int) -> Iterator[tuple[int, int, int]]:
    """(frequency down, frequency across, colour), the lowest frequencies first."""
    for order in range(2 * side - 1):
        for down in range(max(0, order - side + 1), min(side, order + 1)):
            for channel in range(colours):
                yield down, order - down, channel


def _cut(x: Tensor) -> Tensor:
    """x clamped to [-1, 1], with gradients that only pull values outside back in."""

    def inwards(gradient: Tensor) -> Tensor:
        return gradient.where((x.abs() <= 1) | (gradient * x > 0), 0.0)

    clipped = x + (x.clamp(-1, 1) - x).detach()
    if clipped.requires_grad:
        clipped.register_hook(inwards)
    return clipped


def _alike(first: nn.ModuleList, second: nn.ModuleList) -> nn.ModuleList:
    """``second`` with the weights of ``first`` where shapes match: z means the same to both."""
    start = first.state_dict()
    own = {name: x for name, x in second.state_dict().items() if x.shape != start[name].shape}
    second.load_state_dict(start | own)
    return second


def _silent(layer: nn.Conv2d) -> nn.Conv2d:
    """A layer initialised to zero."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def _blocks(channels: int, count: int) -> list[nn.Module]:
    return [Residual(channels, normalise=True) for _ in range(count)]
