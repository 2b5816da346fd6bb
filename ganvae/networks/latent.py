"""Discriminators that look at z: alone, or together with its image."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ganvae.networks.classes import AppendClass, Projection
from ganvae.networks.mlp import dense
from ganvae.networks.residual import Trunk
from ganvae.types import Shape


class LatentDiscriminator(nn.Module):
    """z of shape (B, latent) to a logit (B,), higher for samples of the prior.

    Of classes, the label stands beside z, as the paper has it.
    | Adversarial Autoencoders (Makhzani et al., 2016), section 2.3 | https://arxiv.org/abs/1511.05644
    """

    def __init__(self, shape: Shape, hidden: tuple[int, ...] = (256, 256)):
        super().__init__()
        self.append_class = AppendClass(shape.classes)
        self.body = nn.Sequential(dense(shape.latent + shape.classes, *hidden), nn.ReLU())
        self.head = nn.Linear(hidden[-1], 1)

    def forward(
        self, z: Tensor, label: Tensor | None = None, features: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits; with ``features`` also the last hidden layer (B, F)."""
        h = self.body(self.append_class(z, label))
        logit = self.head(h).squeeze(1)
        return (logit, h) if features else logit


class JointDiscriminator(nn.Module):
    """An image (B, C, H, W) and a z (B, latent) to a logit (B,); no normalisation.

    Each has its own branch, and dense layers look at what both have found. Of classes, by
    projection.
    | Adversarially Learned Inference (Dumoulin et al., 2017), figure 1
    | https://arxiv.org/abs/1606.00704
    """

    def __init__(self, shape: Shape, width: int, depth: int, hidden: int = 256):
        super().__init__()
        act = nn.LeakyReLU(0.2)
        self.trunk = Trunk(shape, width, depth, normalise=False)
        self.image = nn.Linear(math.prod(self.trunk.out), hidden)
        self.latent = nn.Sequential(nn.Linear(shape.latent, hidden), act)
        self.latent.append(nn.Linear(hidden, hidden))
        self.both = nn.Sequential(act, nn.Linear(2 * hidden, hidden), act)
        self.head = nn.Linear(hidden, 1)
        self.classes = Projection(shape.classes, hidden)

    def forward(
        self, x: Tensor, z: Tensor, label: Tensor | None = None, features: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits; with ``features`` also the last hidden layer (B, F)."""
        branches = [self.image(self.trunk(x).flatten(1)), self.latent(z)]
        h = self.both(torch.cat(branches, 1))
        logit = self.head(h).squeeze(1) + self.classes(h, label)
        return (logit, h) if features else logit


class DenseJointDiscriminator(nn.Module):
    """An image (B, C, H, W) and a z (B, latent) to a logit (B,), by dense layers alone."""

    def __init__(self, shape: Shape, hidden: tuple[int, ...] = (32, 64, 128)):
        super().__init__()
        self.append_class = AppendClass(shape.classes)
        sizes = (math.prod(shape.image) + shape.latent + shape.classes, *hidden)
        self.body = nn.Sequential(dense(*sizes), nn.ReLU())
        self.head = nn.Linear(hidden[-1], 1)

    def forward(
        self, x: Tensor, z: Tensor, label: Tensor | None = None, features: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits; with ``features`` also the last hidden layer (B, F)."""
        h = self.body(self.append_class(torch.cat([x.flatten(1), z], 1), label))
        logit = self.head(h).squeeze(1)
        return (logit, h) if features else logit
