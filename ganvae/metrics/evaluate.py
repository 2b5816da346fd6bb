"""A model's scores on held-out images, every figure with what it was measured by.

Images reach the judge at 8 bits: real ones are stored so, generated ones are rounded. Samples come
from ``model.generate(n, seed=seed)``, so sample i of an evaluation can be made again by
``model.generate(1, seed=seed, start=i)``. Every figure that compares generated with held-out
images also appears for training against held-out images: the floor that no model should expect to
pass, since both are real.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ganvae import config
from ganvae.errors import DataError
from ganvae.metrics import (
    bound,
    cache,
    copies,
    distortion,
    distributions,
    features,
    manifold,
    memorisation,
    translation,
)
from ganvae.metrics import judge as judges
from ganvae.metrics.allowance import Allowance
from ganvae.metrics.figures import Record
from ganvae.metrics.judge import Judge
from ganvae.metrics.protocols import Data, Model
from ganvae.metrics.sampling import generated, levels, read_with_labels, rows, task_of
from ganvae.metrics.sides import K
from ganvae.progress import Progress

RECONSTRUCTED = 1000
"""Held-out images at most that are reconstructed."""
DETAILED = 500
"""Of these, those at most that the perceptual distance is taken on."""
BOUNDED = 128
"""Held-out images at most whose likelihood is bounded."""


class Samples(NamedTuple):
    """What is compared of a model's samples.

    features: those of the judge, (n, dim)
    small: :func:`memorisation.thumbnails` of the first :data:`copies.DETAILED`, or of all
    """

    features: Tensor
    small: Tensor


def evaluate(
    model: Model,
    data: Data,
    settings: config.Evaluation | None = None,
    *,
    training: bool = True,
    flip: bool = False,
    progress: Progress | None = None,
    seed: int = 0,
    judge: Judge | nn.Module | None = None,
    samples: Samples | None = None,
    cache_folder: Path | None = None,
    name: str = "",
    allowance: Allowance | None = None,
) -> dict[str, Any]:
    """Every score of a model that its kind allows, against held-out images; JSON-able.

    model: see :class:`ganvae.metrics.protocols.Model`; without an encoder there are no
        reconstruction figures, without a likelihood no bounds
    data: training and held-out images; without any to train on, all of them are judged by
    training: also look at training images, whose features are kept on disk: the real-against-real
        reference and the check for copies
    flip: the training mirrored its images: mirror images are copies, too, and cost their features
    progress: called with (what, done, total)
    judge: a module to judge by, instead of the one the settings name
    samples: those of the seed, where they are known; unset: they are made
    cache_folder: where features of real images are kept; unset: :func:`cache.folder`
    name: what the data is called in words
    allowance: the time for it; where it is too short, first the likelihood is bounded on fewer
        images or left out, then fewer are reconstructed. Fewer samples: see
        :meth:`ganvae.runs.pace.Pace.affordable`

    Returns "figures" and "reference" (key → fields of :class:`Figure`), "memorisation" (pairs of
    suspicious sample and training row, worst first; None where not looked for), "shortened" (words
    on what was left out, one each) and the conditions.
    Raises DataError without held-out images, ConfigError for an unknown judge.
    """
    start, settings = time.perf_counter(), settings or config.Evaluation()
    refuse_none(data, settings)
    run = Record(
        model=model, data=data, settings=settings, seed=seed, flip=flip,
        judge=judges.load(judge or settings.judge, settings.size, model.device),
        progress=progress or (lambda what, done, total: None),
        cache=cache_folder or cache.folder(), allowance=allowance or Allowance(),
    )  # fmt: skip
    memory = _features(run, training, samples)
    if task_of(model).from_sources:
        translation.measure(run)
    elif "encoder" in model.networks:
        _reconstructions(run)
        _bounds(run)
    run.progress("judged", 1, 1)
    return {
        **_conditions(run, name),
        "seconds": round(time.perf_counter() - start, 3),
        "shortened": run.allowance.shortened,
        "figures": run.figures,
        "reference": run.reference,
        "memorisation": memory,
    }


def refuse_none(data: Data, settings: config.Evaluation) -> None:
    """Raises DataError where there are no held-out images, or no samples to compare."""
    if not len(data.test):
        raise DataError("There are no held-out images to judge by: raise data.test_share above 0.")
    if settings.samples < 2:
        raise DataError(f"evaluation.samples must be at least 2, got {settings.samples}.")


def _in_words(run: Record, name: str) -> str:
    """The images judged by: "all of NAME, 1,200 images", "120 held-out images of NAME"."""
    every, of = len(run.data.test), f" of {name}" if name else ""
    count = f"{run.n:,} of " if run.n < every else ""
    if run.split == "held-out":
        return f"{count}{every:,} held-out images{of}"
    return f"{count}all {every:,} images{of}" if count or not of else f"all{of}, {every:,} images"


def _conditions(run: Record, name: str) -> dict[str, Any]:
    """The conditions of the evaluation: images, judge, counts and seed."""
    data = run.data
    return {
        "judged": _in_words(run, name),
        "judge": run.judge.name,
        "resize": run.judge.resize,
        "split": run.split,
        "seed": run.seed,
        "n_generated": run.n,
        "n_heldout": run.n,
        "heldout_images": len(data.test),
        # of a stream only a sample is here, and its images were never counted
        "train_images": None if data.stream else len(data.train),
        "leaked": len(data.leaked),
        "data": data.fingerprint,
        "samples": "rounded to 8 bits",
    }


# -- distributions -----------------------------------------------------------------------------


def _features(run: Record, training: bool, samples: Samples | None) -> dict[str, Any] | None:
    """Generated against held-out features; training against held-out ones as the reference."""
    numbers = rows(len(run.data.test), run.n, run.seed)
    start = time.perf_counter()
    fake, small = samples or _generate(run)
    seconds = time.perf_counter() - start
    real = distributions.Heldout(run, numbers, run.real(run.data.test, numbers, "held-out images"))
    nearest = manifold.Nearest(len(small))
    with run.timed():
        values = real.compared(fake, nearest)
        distributions.note(run, values, (len(fake), len(numbers)), reference=False)
    for figure in run.figures.values():
        figure["seconds"] = round(figure["seconds"] + seconds, 3)
    if not training or not len(run.data.train):
        return None
    train_rows = rows(len(run.data.train), run.n, run.seed)
    train = run.real(run.data.train, train_rows, "training images")
    with run.timed():
        values = run.derived(
            f"reference {K} {run.seed} {' '.join(features.names())}",
            [real.key, (run.data.train, train_rows)],
            lambda: real.compared(train),
        )
        distributions.note(run, values, (len(train), len(numbers)), reference=True)
    with run.timed():
        return copies.check(run, fake, small, nearest, real, (train_rows, train))


def _generate(run: Record) -> Samples:
    small: list[Tensor] = []

    def batches() -> Iterator[Tensor]:
        for x in generated(run.model, run.n, run.seed, run.data.test):
            if sum(map(len, small)) < copies.DETAILED:
                small.append(memorisation.thumbnails(x))
            yield x

    fake = run.judge.extract(batches(), run.ticker("samples", run.n))
    return Samples(fake, torch.cat(small)[: copies.DETAILED])


# -- reconstruction and likelihood -------------------------------------------------------------


def _reconstructions(run: Record) -> None:
    """MSE, PSNR, SSIM and perceptual distance of held-out images."""
    numbers = rows(len(run.data.test), min(RECONSTRUCTED, run.n), run.seed)
    taps = run.judge
    if not hasattr(taps.network, "taps"):
        taps = judges.load("efficientnet-lite0", run.settings.size, run.model.device)
    parts: dict[str, list[Tensor]] = {"mse": [], "psnr": [], "ssim": [], "perceptual": []}
    in_detail = np.isin(numbers, numbers[rows(len(numbers), DETAILED, run.seed)])
    count, start = 0, time.perf_counter()
    with run.timed():
        for x, *c in read_with_labels(run.data.test, numbers):
            x = x.cpu()
            y = levels(run.model.reconstruct(x.to(run.model.device), *c))
            for key in ("mse", "psnr", "ssim"):
                parts[key].append(getattr(distortion, key)(x, y))
            selected = torch.from_numpy(in_detail[count : count + len(x)])
            parts["perceptual"].append(distortion.perceptual(x[selected], y[selected], taps).cpu())
            count += len(x)
            run.progress("reconstructions", count, len(numbers))
            if count < len(numbers) and run.allowance.left() < time.perf_counter() - start:
                note = f"{count:,} of {len(numbers):,} held-out images reconstructed"
                run.allowance.shortened.append(note)
                break
        for key, name, better, note in (
            ("mse", "MSE", "lower", "pixel values in [0, 1]"),
            ("psnr", "PSNR", "higher", "dB, mean over images"),
            ("ssim", "SSIM", "higher", "Gaussian window of 11 pixels"),
            ("perceptual", "Perceptual distance", "lower", "unweighted feature differences"),
        ):
            by = {"judge": taps.name, "resize": taps.resize} if key == "perceptual" else {}
            values, note = torch.cat(parts[key]).double(), f"reconstruction, {note}"
            run.add_mean(key, values, name=name, better=better, note=note, **by)


def _bounds(run: Record) -> None:
    """ELBO and IWAE bound of some held-out images, in nats and bits per dimension."""
    numbers = rows(len(run.data.test), min(BOUNDED, run.n), run.seed)
    k, bounds = run.settings.importance, []
    if run.allowance.bounded:
        numbers = _affordable(run, numbers)
    with run.timed():
        for i, (x, *c) in enumerate(read_with_labels(run.data.test, numbers)):
            label = c[0] if c else None
            part = bound.bounds(run.model, x, k, seed=run.seed + i, label=label)
            if part is None:
                return
            bounds.append(part)
            run.progress("likelihood", sum(len(b.elbo) for b in bounds), len(numbers))
        if not bounds:
            return
        nats = "probability of 8-bit images" if bounds[0].discrete else "density on [-1, 1]"
        for key, name in (("elbo", "ELBO"), ("iwae", f"IWAE bound, K = {k}")):
            values = torch.cat([getattr(b, key) for b in bounds])
            run.add_mean(key, values, name=name, better="higher", note=f"nats, {nats}")
            bits, note = [getattr(b, f"{key}_bits") for b in bounds], "upper bound"
            if any(part is None for part in bits):
                note = "the likelihood is of binary images, these are grey: no code length"
                bits = [values[:0]]
            key, name, values = f"{key}_bits", f"{name}, bits/dim", torch.cat(bits)
            run.add_mean(key, values, name=name, better="lower", note=note)


def _affordable(run: Record, numbers: np.ndarray) -> np.ndarray:
    """The first of the images, as many as fit in the time left at the pace of four of them."""
    start = time.perf_counter()
    first = numbers[:4]
    x, *c = next(read_with_labels(run.data.test, first))
    if bound.bounds(run.model, x, run.settings.importance, label=c[0] if c else None) is None:
        return numbers
    fits = int(len(first) * run.allowance.left() / (time.perf_counter() - start))
    if fits < len(numbers):
        extent = f"taken on {fits:,} of {len(numbers):,} images" if fits else "left out"
        run.allowance.shortened.append(f"the bounds of the likelihood are {extent}")
    return numbers[:fits]
