"""A quickly fitted p(z), for scores and previews before the prior is fitted at the end."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganvae.models import Model
from ganvae.models.fitting import Images, aggregate
from ganvae.types import Noise

CODES = 1024
"""Training images at most whose codes are read; twice as many give the same scores, measured."""


class Gaussian(nn.Module):
    """The normal distribution with the mean and covariance of some codes; one for each class.

    z = μ + Σ_i ε_i (z_i − μ) / √N has these, so that no covariance matrix is needed, however many
    dimensions z has. A class without codes has the distribution of all.

    codes: z_i, shape (N, d), N at least 1
    label: the class of each, shape (N,); None where they have none
    classes: how many there are
    """

    codes: Tensor
    own: Tensor

    def __init__(self, codes: Tensor, label: Tensor | None = None, classes: int = 0):
        super().__init__()
        numbers = torch.zeros(len(codes)) if label is None else label.cpu()
        own = numbers == torch.arange(max(1, classes))[:, None]
        own[~own.any(1)] = True
        self.register_buffer("codes", codes)
        self.register_buffer("own", own.to(codes))

    def sample(
        self, noise: Noise, label: Tensor | None = None, temperature: float = 1.0
    ) -> Tensor:
        """z ~ p(z), or p(z|y) of class numbers y (B,): shape (B, d); N numbers of noise a row."""
        own = self.own[:1] if label is None else self.own[label]
        share = own / own.sum(1, keepdim=True)
        weight = share.sqrt() * temperature * noise.normal(len(self.codes))
        # of z_i − μ, where μ is that of the sample's own class
        return (weight + share * (1 - weight.sum(1, keepdim=True))) @ self.codes


def fitted(model: Model, images: Images) -> Model:
    """The same networks with a prior fitted to z ~ q(z|x) of some training images.

    The model itself, its prior and torch's random state stay as they are.
    """
    z, *c = aggregate(model, images, min(CODES, len(images)), seed=0)
    prior = Gaussian(z, next(iter(c), None), model.info.shape.classes)
    return Model({**model.networks, "prior": prior}, model.info)
