"""Judging a model on held-out images.

:func:`evaluate` gives every figure, :func:`quick` a score in seconds. The measures themselves are
in the modules, each a few functions of tensors.
"""

from ganvae.metrics import (
    bound,
    distances,
    distortion,
    frechet,
    judge,
    kernel,
    manifold,
    memorisation,
)
from ganvae.metrics.allowance import Allowance
from ganvae.metrics.evaluate import Samples, evaluate
from ganvae.metrics.judge import Judge
from ganvae.metrics.quick import quick

__all__ = [
    "Allowance",
    "Judge",
    "Samples",
    "bound",
    "distances",
    "distortion",
    "evaluate",
    "frechet",
    "judge",
    "kernel",
    "manifold",
    "memorisation",
    "quick",
]
