"""p(y|x): which class an image is of."""

from __future__ import annotations

import math

from torch import Tensor, nn

from ganvae.networks.mlp import dense
from ganvae.networks.residual import Trunk
from ganvae.types import Shape


class Classifier(nn.Module):
    """An image (B, C, H, W) in [-1, 1] to logits of its class (B, classes).

    body: images to features (B, F)
    features: F

    Raises ValueError for fewer than two classes.
    """

    def __init__(self, shape: Shape, body: nn.Module, features: int):
        super().__init__()
        if shape.classes < 2:
            raise ValueError(f"a classifier needs 2 classes or more, got {shape.classes}")
        self.body = body
        self.head = nn.Linear(features, shape.classes)

    def forward(self, x: Tensor, features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Logits; with ``features`` also what the last layer sees, (B, F)."""
        h = self.body(x)
        logits = self.head(h)
        return (logits, h) if features else logits


def residual(shape: Shape, width: int, depth: int) -> Classifier:
    """A :class:`Classifier` that looks at images with residual convolutions."""
    trunk = Trunk(shape, width, depth, normalise=True)
    return Classifier(shape, nn.Sequential(trunk, nn.Flatten()), math.prod(trunk.out))


def mlp(shape: Shape, hidden: tuple[int, ...] = (128, 64, 32)) -> Classifier:
    """A :class:`Classifier` that looks at images with dense layers of these sizes."""
    body = nn.Sequential(nn.Flatten(), dense(math.prod(shape.image), *hidden), nn.ReLU())
    return Classifier(shape, body, hidden[-1])
