"""Autoencoders whose latent is a small image: a grid of cells that keeps where things are.

Outside the networks z is flat, (B, d) with d = channels · cells; inside it is (B, channels, h, w).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ganvae.networks.classes import check
from ganvae.networks.quantizer import SPEED, Quantised, Quantizer
from ganvae.networks.residual import Residual, Tanh, norm, widths
from ganvae.types import Posterior, Shape


def cells(shape: Shape, factor: int) -> tuple[int, int]:
    """Rows and columns of the grid of an image whose sides are divided by ``factor``.

    Raises ValueError for a factor that is no power of two, or sides that it does not divide.
    """
    if factor < 2 or factor & (factor - 1):
        raise ValueError(f"networks.grid must be 2, 4, 8, ..., got {factor}")
    if shape.height % factor or shape.width % factor:
        raise ValueError(
            f"a grid of every {factor}th pixel does not fit {shape.height}×{shape.width} px: "
            f"their sides must be multiples of {factor}, see networks.grid"
        )
    return shape.height // factor, shape.width // factor


class Planes(nn.Module):
    """Maps (B, C, h, w) to (B, C + classes, h, w): the class is appended, one-hot in each cell."""

    def __init__(self, classes: int):
        super().__init__()
        self.classes = classes

    def forward(self, h: Tensor, label: Tensor | None) -> Tensor:
        """The maps as they are where there are no classes."""
        check(label, self.classes)
        if label is None:
            return h
        planes = one_hot(label, self.classes).to(h)[:, :, None, None]
        return torch.cat([h, planes.expand(-1, -1, *h.shape[2:])], 1)


class Body(nn.Module):
    """An image (B, C, H, W) to maps (B, out, h, w): its sides are halved log₂ factor times."""

    def __init__(self, shape: Shape, width: int, depth: int, factor: int, out: int):
        super().__init__()
        cells(shape, factor)
        channels = widths(width, factor.bit_length() - 1)
        layers: list[nn.Module] = [nn.Conv2d(shape.channels, width, 4, 2, 1)]
        for before, after in pairwise(channels):
            layers += [norm(before), nn.LeakyReLU(0.2), nn.Conv2d(before, after, 4, 2, 1)]
            layers += [Residual(after, normalise=True) for _ in range(depth)]
        last = channels[-1]
        self.maps = nn.Sequential(*layers, norm(last), nn.LeakyReLU(0.2))
        self.append_class = Planes(shape.classes)
        self.head = nn.Conv2d(last + shape.classes, out, 3, padding=1)

    def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
        """The maps of each image."""
        return self.head(self.append_class(self.maps(x), label))


class Encoder(nn.Module):
    """q(z|x): an image (B, C, H, W) in [-1, 1] to a diagonal Gaussian over (B, d)."""

    def __init__(self, shape: Shape, width: int, depth: int, factor: int, channels: int):
        super().__init__()
        self.body = Body(shape, width, depth, factor, 2 * channels)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Posterior:
        """The posterior of each image."""
        return Posterior.of(self.body(x, label).contiguous())


class QuantizingEncoder(nn.Module):
    """An image (B, C, H, W) in [-1, 1] to the code nearest to each cell: a point of (B, d).

    codes: K, the size of the codebook, which is part of this network
    """

    def __init__(
        self, shape: Shape, width: int, depth: int, factor: int, channels: int, codes: int
    ):
        super().__init__()
        self.body = Body(shape, width, depth, factor, channels)
        self.quantizer = Quantizer(codes, channels)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Quantised:
        """A posterior without spread, at the quantised z."""
        return self.quantizer(self.body(x, label).contiguous())


class Decoder(nn.Module):
    """z of shape (B, d) to an image (B, C, H, W) in [-1, 1]."""

    def __init__(self, shape: Shape, width: int, depth: int, factor: int, channels: int):
        super().__init__()
        self.start = (channels, *cells(shape, factor))
        first, *rest = widths(width, factor.bit_length() - 1)[::-1]
        self.append_class = Planes(shape.classes)
        layers: list[nn.Module] = [nn.Conv2d(channels + shape.classes, first, 3, padding=1)]
        for before, after in pairwise([first, *rest]):
            layers += [Residual(before, normalise=True) for _ in range(depth)]
            layers += [norm(before), nn.LeakyReLU(0.2), nn.ConvTranspose2d(before, after, 4, 2, 1)]
        layers += [norm(width), nn.LeakyReLU(0.2)]
        layers += [nn.ConvTranspose2d(width, shape.channels, 4, 2, 1), Tanh()]
        self.maps = nn.Sequential(*layers)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """The image of each z."""
        h = self.append_class(z.unflatten(1, self.start), label)
        return self.maps(h.contiguous(memory_format=torch.channels_last))


class Scale(nn.Module):
    """An error to error / e^s + n s, with a learned s: the larger s, the less an error counts.

    The negative logarithm of a Laplace density, less a constant, where the error is |x − x̂|.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, error: Tensor, n: int) -> Tensor:
        """Scales a scalar, the sum of n values' errors; least at e^s = error / n."""
        s = SPEED * self.log_scale
        return error * torch.exp(-s) + n * s
