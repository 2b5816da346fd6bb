"""Chooses the prior whose images are nearest to held-out ones."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ganvae import config
from ganvae.metrics import cache, kernel
from ganvae.metrics import judge as judges
from ganvae.metrics.allowance import Allowance
from ganvae.metrics.figures import finite
from ganvae.metrics.judge import Judge
from ganvae.metrics.sampling import CHUNK, levels, rows
from ganvae.models import Model
from ganvae.models.fitting import Fit, fit_priors, lacking
from ganvae.models.prior_names import KINDS
from ganvae.progress import Progress

SAMPLES = 2000
"""Most images that each prior is judged by."""


def choose(
    model: Model,
    data: Any,
    settings: config.Evaluation,
    *,
    judge: Judge | nn.Module | None = None,
    progress: Progress | None = None,
    seed: int = 0,
    cache_folder: Path | None = None,
    allowance: Allowance | None = None,
) -> list[dict[str, Any]]:
    """Fits the priors that a model lacks, and makes the best of all the one it samples.

    Best is the least KID of new images against held-out ones. Where the prior trained with is
    within its own standard error of that, or has none, it stays.

    allowance: the time for it; where it is too short, fits end early (the flow's is the last),
        then priors are not tried

    Returns a JSON-able line for each: name, kid, kid_error, seconds (of its fit, its images and
    their judging), chosen and trained (whether it is the one trained with). Empty, and the model
    as it was, where there is nothing to choose from or fewer than two held-out images.
    """
    report = progress or (lambda what, done, total: None)
    n = min(settings.samples, len(data.test))
    if n < 2:
        return []
    allowance = allowance or Allowance()
    fits = fit_priors(model, data.train, seed=seed, progress=report, left=allowance.part(0.7).left)
    names = list(model.offer({role: fit.prior for role, fit in fits.items()}).priors)
    if len(names) < 2:
        if lacking(model):
            allowance.shortened.append("no prior fitted beside the one trained with")
        return []
    judge = judges.load(judge or settings.judge, settings.size, model.device)
    where = cache_folder or cache.folder()
    real = cache.features(data.test, judge, rows(len(data.test), n, seed), cache=where)
    lines: list[dict[str, Any]] = []
    for name in names:
        slowest = max((line["seconds"] for line in lines), default=0.0)
        if lines and allowance.left() < slowest:
            break
        # a seed of its own: the evaluation's samples are others
        lines.append(_judged(model, name, judge, real, min(n, SAMPLES), seed + 1, report))
    _add_fits(model, lines, fits, allowance)
    best = least(lines)
    best["chosen"] = True
    model.offer({}, best["name"])
    return lines


def _judged(
    model: Model, name: str, judge: Judge, real: Tensor, n: int, seed: int, report: Progress
) -> dict[str, Any]:
    """The line of a prior: the KID of n images from it against the features of held-out ones."""
    start = time.perf_counter()
    features = judge.extract(
        _generated(model, name, n, seed), lambda done: report(f"prior {name}", done, n)
    )
    kid = kernel.unbiased(features, real)
    return {
        "name": name,
        "kid": finite(kid.value),
        "kid_error": finite(kid.error),
        "seconds": round(time.perf_counter() - start, 3),
        "chosen": False,
        "trained": model.priors[name] == "prior",
    }


def _add_fits(
    model: Model, lines: list[dict[str, Any]], fits: Mapping[str, Fit], allowance: Allowance
) -> None:
    """Adds the seconds of each prior's fit to its line, and notes what there was no time for."""
    for line in lines:
        fit = fits.get(model.priors[line["name"]])
        line["seconds"] = round(line["seconds"] + (fit.seconds if fit else 0.0), 3)
        if fit and not fit.whole:
            allowance.shortened.append(f"the fit of the {line['name']} prior ended early")
    missing = [name for name in KINDS if name not in {line["name"] for line in lines}]
    if missing:
        allowance.shortened.append(f"priors not tried: {', '.join(missing)}")


def least(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The line with the least KID, or the one trained with where that is within its error of it.

    Without an error the one trained with is taken.
    """
    own = next(line for line in lines if line["trained"])
    if own["kid"] is None or own["kid_error"] is None:
        return own
    best = min(lines, key=lambda line: math.inf if line["kid"] is None else line["kid"])
    return own if own["kid"] - own["kid_error"] <= best["kid"] else best


def _generated(model: Model, prior: str, n: int, seed: int) -> Iterator[Tensor]:
    for start in range(0, n, CHUNK):
        count = min(CHUNK, n - start)
        yield levels(model.generate(count, seed=seed, prior=prior, start=start))
