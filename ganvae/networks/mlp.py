"""The article's small dense networks: ReLU inside, a sigmoid at the image.

Its layers are kept (encoder 128-64-32, decoder 32-64-128-pixels, generator 128-64-32-pixels). It
leaves out the posterior's mean and variance and the discriminator: heads are added to the encoder,
and the discriminator mirrors the generator.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from ganvae.networks.classes import AppendClass
from ganvae.types import Posterior, Shape


def dense(*sizes: int) -> nn.Sequential:
    """Linear layers of these sizes, each but the last followed by a ReLU."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Encoder(nn.Module):
    """q(z|x): an image (B, C, H, W) in [-1, 1] to a diagonal Gaussian over (B, latent)."""

    def __init__(self, shape: Shape, hidden: tuple[int, ...] = (128, 64, 32)):
        super().__init__()
        self.append_class = AppendClass(shape.classes)
        sizes = (math.prod(shape.image) + shape.classes, *hidden)
        self.body = nn.Sequential(dense(*sizes), nn.ReLU())
        self.head = nn.Linear(hidden[-1], 2 * shape.latent)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Posterior:
        """The posterior of each image."""
        return Posterior.of(self.head(self.body(self.append_class(x.flatten(1), label))))


class Decoder(nn.Module):
    """z of shape (B, latent) to an image (B, C, H, W) in [-1, 1]."""

    def __init__(self, shape: Shape, hidden: tuple[int, ...] = (32, 64, 128)):
        super().__init__()
        self.shape, self.append_class = shape.image, AppendClass(shape.classes)
        self.body = dense(shape.latent + shape.classes, *hidden, math.prod(shape.image))

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """The image of each z."""
        return 2 * self.body(self.append_class(z, label)).sigmoid().unflatten(1, self.shape) - 1


class Discriminator(nn.Module):
    """An image (B, C, H, W) to a logit (B,), higher for real ones."""

    def __init__(self, shape: Shape, hidden: tuple[int, ...] = (32, 64, 128)):
        super().__init__()
        self.append_class = AppendClass(shape.classes)
        sizes = (math.prod(shape.image) + shape.classes, *hidden)
        self.body = nn.Sequential(dense(*sizes), nn.ReLU())
        self.head = nn.Linear(hidden[-1], 1)

    def forward(
        self, x: Tensor, label: Tensor | None = None, features: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits; with ``features`` also the last hidden layer (B, F)."""
        h = self.body(self.append_class(x.flatten(1), label))
        logit = self.head(h).squeeze(1)
        return (logit, h) if features else logit
