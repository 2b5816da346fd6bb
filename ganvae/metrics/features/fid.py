"""FID: the Fréchet distance, where there are images enough for it."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ganvae.metrics import frechet
from ganvae.metrics.judge import Judge
from ganvae.metrics.sides import Meaning, Sides


def values(sides: Sides) -> dict[str, float]:
    """See :class:`ganvae.metrics.features.Metric`."""

    def fit() -> dict[str, Tensor]:
        moments = frechet.moments(sides.b)
        return {**moments._asdict(), "root": frechet.root(moments.covariance)}

    if sides.few < _least(sides.b.shape[1]):
        return {}
    mean, covariance, root = (
        sides.cache("gaussian", fit)[k] for k in ("mean", "covariance", "root")
    )
    moments = frechet.Moments(mean, covariance)
    return {"fid": frechet.between(frechet.moments(sides.a), moments, root)}


def figures(judge: Judge, few: int) -> Iterator[Meaning]:
    """See :class:`ganvae.metrics.features.Metric`."""
    least = _least(judge.dim)
    instead = f"needs {least:,} images a side, got {few:,}: read the KID instead"
    yield Meaning("fid", f"FID-{judge.label}", "lower", instead if few < least else "")


def _least(dim: int) -> int:
    """Images a side that it takes: below, its bias hides the difference."""
    return max(frechet.MINIMUM, dim + 1)
