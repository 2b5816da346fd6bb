"""The article's small dense networks: ReLU inside, a sigmoid at the image.

Its layers are kept (encoder 128-64-32, decoder 32-64-128-pixels, generator 128-64-32-pixels). It
leaves out the posterior's mean and variance and the discriminator: heads are added to the encoder,
and the discriminator mirrors the generator.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

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
        self.body = nn.Sequential(dense(math.prod(shape.image), *hidden), nn.ReLU())
        self.head = nn.Linear(hidden[-1], 2 * shape.latent)

    def forward(self, x: Tensor) -> Posterior:
        """The posterior of each image."""
        mean, logvar = self.head(self.body(x.flatten(1))).chunk(2, 1)
        return Posterior(mean, logvar.clamp(-12, 6))


class Decoder(nn.Module):
    """z of shape (B, latent) to an image (B, C, H, W) in [-1, 1]."""

    def __init__(self, shape: Shape, hidden: tuple[int, ...] = (32, 64, 128)):
        super().__init__()
        self.shape = shape.image
        self.body = dense(shape.latent, *hidden, math.prod(shape.image))

    def forward(self, z: Tensor) -> Tensor:
        """The image of each z."""
        return 2 * self.body(z).sigmoid().unflatten(1, self.shape) - 1


class Discriminator(nn.Module):
    """An image (B, C, H, W) to a logit (B,), higher for real ones."""

    def __init__(self, shape: Shape, hidden: tuple[int, ...] = (32, 64, 128)):
        super().__init__()
        self.body = nn.Sequential(dense(math.prod(shape.image), *hidden), nn.ReLU())
        self.head = nn.Linear(hidden[-1], 1)

    def forward(self, x: Tensor, features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Logits; with ``features`` also the last hidden layer (B, F)."""
        h = self.body(x.flatten(1))
        logit = self.head(h).squeeze(1)
        return (logit, h) if features else logit
