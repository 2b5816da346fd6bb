"""Bounds on log p(x): how many nats or bits an image costs under the model.

| Importance Weighted Autoencoders (Burda et al., 2016) | https://arxiv.org/abs/1509.00519
| A Note on the Evaluation of Generative Models (Theis et al., 2016)
| https://arxiv.org/abs/1511.01844
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ganvae.metrics.protocols import Model
from ganvae.types import Noise

Kind = Literal["gaussian", "bernoulli", "logistic"]

LEVEL = 2 / 255
"""Distance between two levels of an 8-bit image in [-1, 1]."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Lower bounds on log p(x) of each image, in nats, and their code lengths.

    elbo: mean over samples of log w, (B,); iwae: log of the mean of w, (B,), elbo ≤ iwae
    samples: K, the number of importance samples
    discrete: whether p is a probability of 8-bit images; else a density on [-1, 1]
    elbo_bits, iwae_bits: upper bounds on bits per dimension, (B,); None where p is of binary
        images and these are grey, so that no code length follows
    """

    elbo: Tensor
    iwae: Tensor
    samples: int
    discrete: bool
    elbo_bits: Tensor | None
    iwae_bits: Tensor | None


def bits_per_dim(log_p: Tensor, dimensions: int, discrete: bool) -> Tensor:
    """Bits per dimension of 8-bit images in [-1, 1] from log p in nats, same shape.

    discrete: log p is a log probability: −log₂ p / D. Else it is a log density, and a level's
        probability is density times 2/255, the width of a level in [-1, 1] (the Jacobian of the
        scaling): (−log p / D − log(2/255)) / log 2.
    """
    jacobian = 0.0 if discrete else math.log(LEVEL)
    return (-log_p / dimensions - jacobian) / math.log(2)


def kind_of(model: Model) -> Kind:
    """The kind of the model's likelihood network; a Gaussian where it does not say."""
    return getattr(model.networks.get("likelihood"), "kind", "gaussian")


@torch.inference_mode()
def weights(
    model: Model, x: Tensor, samples: int, seed: int, dequantise: bool, label: Tensor | None = None
) -> Tensor | None:
    """log p(x|z) + log p(z) − log q(z|x) for z from q(z|x): (K, B) in float64, or None.

    dequantise: x gets uniform noise of one level's width where it is scored (not encoded)
    None where the model has no likelihood.
    """
    x = x.to(model.device)
    c = () if label is None else (label.to(x.device),)
    q = model.encode(x, *c)
    log_w = []
    for k in range(samples):
        noise = Noise(seed, k, total=len(x), device=x.device)
        z, log_q = q.draw(noise)
        target = x + LEVEL * (noise.uniform(*x.shape[1:]) - 0.5) if dequantise else x
        log_p = model.log_likelihood(target, z, *c)
        if log_p is None:
            return None
        parts = log_p, model.prior.log_prob(z, *c), log_q
        p_x, p_z, q_z = (part.cpu().double() for part in parts)  # Apple's GPUs have no float64
        log_w.append(p_x + p_z - q_z)
    return torch.stack(log_w)


def bounds(
    model: Model,
    images: Tensor,
    k: int = 50,
    *,
    seed: int = 0,
    kind: Kind | None = None,
    label: Tensor | None = None,
) -> Bounds | None:
    """ELBO and IWAE bound on log p(x) of images (B, C, H, W) in [-1, 1] of 8 bits.

    model: offers ``encode(x)`` (a Posterior), ``prior.log_prob(z)`` and ``log_likelihood(x, z)``
        (B,), decodes B images at a time, K times
    k: importance samples; the IWAE bound rises with it towards log p(x)
    kind: of the likelihood; unset: as the model says. A Gaussian is a density: images are scored
        with uniform noise of one level's width, without which a density on discrete values can be
        made arbitrarily high. Then its bits per dimension bound a true code length.
    label: the class of every image, (B,), for a bound on log p(x|y)

    None where the model has no encoder or no likelihood. Raises ValueError for k < 1.
    """
    if k < 1:
        raise ValueError(f"The number of importance samples must be at least 1, got {k}.")
    if "encoder" not in model.networks:
        return None
    kind = kind or kind_of(model)
    discrete = kind != "gaussian"
    log_w = weights(model, images, k, seed, not discrete, label)
    if log_w is None:
        return None
    elbo, iwae = log_w.mean(0), log_w.logsumexp(0) - math.log(k)
    dims = images[0].numel()
    is_code = kind != "bernoulli" or bool((images.abs() == 1).all())
    return Bounds(
        elbo=elbo,
        iwae=iwae,
        samples=k,
        discrete=discrete,
        elbo_bits=bits_per_dim(elbo, dims, discrete) if is_code else None,
        iwae_bits=bits_per_dim(iwae, dims, discrete) if is_code else None,
    )
