"""Kullback-Leibler divergences."""

from __future__ import annotations

from torch import Tensor

from ganvae.types import Posterior


def kl(q: Posterior, free_bits: float = 0.0) -> Tensor:
    """KL(q(z|x) ‖ N(0, I)) in nats: summed over dimensions, mean over the batch.

    free_bits: nats per dimension, averaged over the batch, below which a dimension costs nothing
        more | Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al.,
        2016), eq. 15 | https://arxiv.org/abs/1606.04934

    | Auto-Encoding Variational Bayes (Kingma and Welling, 2014), appendix B
    | https://arxiv.org/abs/1312.6114
    """
    by_dimension = _nats(q).mean(0)
    if free_bits:
        by_dimension = by_dimension.clamp(min=free_bits)
    return by_dimension.sum()


def kl_of_each(q: Posterior) -> Tensor:
    """KL(q(z|x) ‖ N(0, I)) of each row, shape (B,)."""
    return _nats(q).sum(1)


def _nats(q: Posterior) -> Tensor:
    return 0.5 * (q.mean.square() + q.logvar.exp() - 1.0 - q.logvar)
