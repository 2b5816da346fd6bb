"""The shares of time that networks take in generate, encode and evaluate.

``python -m benchmarks use`` trains the default for a few steps on Fashion-MNIST first.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from benchmarks import ours
from benchmarks.data import photographs
from benchmarks.fetch import fetch
from benchmarks.race import Cell, Race, Result, bare, by_name, goal
from benchmarks.timing import Watch, both, median, share, turns
from ganvae import config as configuration
from ganvae import metrics, tasks
from ganvae.data import Data
from ganvae.metrics import judge as judges
from ganvae.metrics.sampling import CHUNK
from ganvae.models import Model
from ganvae.models.fitting import fit_priors
from ganvae.tasks.generate import at_once, blocks
from ganvae.tasks.reader import Reader

GENERATE, ENCODE, EVALUATE = 0.9, 0.9, 2.0
BATCHES = (64, 128, 256)
"""Batches of the bare forward pass, of which the fastest counts."""
PHOTOS = {"photographs": 1280, "small photographs": 384}
"""Side in pixels of the JPEG files that are encoded."""
Calls = dict[str, Callable[[], object]]


def rates(times: Mapping[str, Sequence[Watch]], n: int) -> dict[str, float]:
    """Images a second of each, by the median round."""
    return {name: round(n / median(watches), 1) for name, watches in times.items()}


@cache
def trained() -> tuple[Model, Data]:
    """The default's model of Fashion-MNIST at 32 px, of which 10,000 images are held out.

    It trains for a few steps: how long does not change its speed.
    """
    path = {"data.path": str(fetch("fashion-mnist")), "training.budget": "8steps"}
    few = {"objective.representation.fit": 1000}
    with tempfile.TemporaryDirectory() as folder:
        config = ours.completed({**ours.QUIET, **ours.FASHION, **path, **few})
        trainer = ours.trainer(config, Path(folder, "run"))
        return trainer.run().model, trainer.data


class Given(Model):
    """A model whose images exist already, so that generating only writes them."""

    def __init__(self, other: Model):
        super().__init__(other.networks, other.info)
        self.block = other.generate(256)

    def generate(self, n: int, *args: Any, **kwargs: Any) -> Tensor:
        return self.block[:n]


def generating(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Generating n images, without files and with, against the forward pass alone.

    settings: ``priors``, whether from all priors that can be fitted
    """
    (model, data), n = trained(), settings["n"]
    if settings["priors"]:
        model.offer({role: fit.prior for role, fit in fit_priors(model, data.train).items()})
    z, G, writer = model.latents(n), model.networks[model.info.generator], Given(model)

    @torch.inference_mode()
    def forward(batch: int) -> None:
        for part in z.split(batch):
            G(part)

    def verb(prior: str) -> None:
        def draw(count: int, start: int) -> Tensor:
            return model.generate(count, prior=prior, start=start)

        for _ in blocks(draw, n, batch=at_once(model)):
            pass

    forwards: Calls = {f"forward {batch}": partial(forward, batch) for batch in BATCHES}
    calls = forwards | {prior: partial(verb, prior) for prior in model.priors}
    calls["files"] = lambda: tasks.generate(model, n, folder / "made")
    calls["write"] = lambda: tasks.generate(writer, n, folder / "given")
    times = turns(calls, settings["rounds"])
    speeds = rates(times, n)
    best = max(forwards, key=speeds.__getitem__)
    of_best = {name: round(1 / share(times[name], times[best]), 4) for name in times}
    return {
        **both("share", times[best], times[next(iter(model.priors))]),
        "share_by_prior": {prior: of_best[prior] for prior in model.priors},
        "share_with_files": of_best["files"], "share_writing_alone": of_best["write"],
        "forward": best, "images_per_s": speeds,
    }  # fmt: skip


def encoding(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Encoding a folder of n files against decoding it alone.

    settings: ``kind``, of :data:`PHOTOS`, or "pictures", PNG of the model's own size
    """
    (model, _), n, kind = trained(), settings["n"], settings["kind"]
    files = folder / "files"
    files.mkdir()
    write_files(files, n, PHOTOS.get(kind, model.shape[1]), "JPEG" if kind in PHOTOS else "PNG")
    calls: Calls = {"decode": lambda: list(Reader(model, files))}
    calls["encode"] = lambda: tasks.encode(model, files, folder / "latents.npz")
    times = turns(calls, settings["rounds"])
    return {**both("share", times["decode"], times["encode"]), "images_per_s": rates(times, n)}


def write_files(folder: Path, n: int, size: int, form: str) -> None:
    """n files of a few dozen synthetic images."""
    drafts = [io.BytesIO() for _ in range(min(n, 32))]
    for pixels, draft in zip(photographs(len(drafts), size), drafts):
        Image.fromarray(pixels).save(draft, format=form, quality=90)
    for number in range(n):
        draft = drafts[number % len(drafts)]
        (folder / f"{number:06d}.{form.lower()}").write_bytes(draft.getvalue())


def evaluating(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A whole evaluation, against the features of as many images.

    settings: ``importance`` samples of the likelihood
    """
    (model, data), n = trained(), settings["n"]
    config = configuration.Evaluation(samples=n, importance=settings["importance"])
    judge = judges.load(config.judge, config.size)
    images = torch.cat([x for _, x in zip(range(0, n, CHUNK), data.test.batches(CHUNK))])[:n]
    last: dict[str, Any] = {}

    def evaluate() -> None:
        last.update(metrics.evaluate(model, data, config, judge=judge, cache_folder=folder))

    first = Watch.of(evaluate)
    calls: Calls = {"features": lambda: judge.extract(images.split(CHUNK))}
    times = turns(calls | {"evaluation": evaluate}, settings["rounds"])
    figures = last["figures"]
    parts = {"samples and distances": "kid", "reconstruction": "mse", "likelihood": "elbo",
             "copies": "copies"}  # fmt: skip
    seconds = {what: figures[key]["seconds"] for what, key in parts.items() if key in figures}
    seconds["training against held-out"] = last["reference"]["kid"]["seconds"]
    return {
        **both("times", times["evaluation"], times["features"]),
        "seconds": {name: round(median(watches), 3) for name, watches in times.items()},
        "first_s": round(first.wall, 3), "part_s": seconds, "samples": last["n_generated"],
    }  # fmt: skip


def cell(settings: Mapping[str, Any]) -> dict[str, Any]:
    """One of the races: ``what``, and for each ``n``, ``rounds`` and ``threads``."""
    torch.set_num_threads(settings["threads"])
    races = {"generate": generating, "encode": encoding, "evaluate": evaluating}
    with tempfile.TemporaryDirectory() as folder:
        return races[settings["what"]](settings, Path(folder))


def cells(quick: bool, threads: int) -> dict[str, Cell]:
    """The race's cells by name."""
    n = (256, 600, 200) if quick else (2048, 4000, 10_000)
    rounds = (2, 1, 1) if quick else (9, 5, 3)

    def one(name: str, number: int, part: int = 1, **more: Any) -> Cell:
        common = {"n": n[number] // part, "rounds": rounds[number], "threads": threads}
        return Cell("use", name, common | more)

    importance = 2 if quick else configuration.Evaluation().importance
    grid = {
        "generate": one("generate", 0, what="generate", priors=not quick),
        "photographs": one("encode-photographs", 1, 4, what="encode", kind="photographs"),
        "small photographs": one("encode-small", 1, what="encode", kind="small photographs"),
        "pictures": one("encode-pictures", 1, what="encode", kind="pictures"),
        "evaluate": one("evaluate", 2, what="evaluate", importance=importance),
    }
    brief = ("generate", "photographs", "evaluate")
    return {name: cell for name, cell in grid.items() if not quick or name in brief}


def summary(results: Mapping[str, Result]) -> Result:
    """The race's result from its cells' results by name."""
    generate, evaluate = results["generate"], results["evaluate"]
    goals = [goal("images generated a second, of the forward pass's", generate["share"], GENERATE)]
    for kind, side in PHOTOS.items():
        if kind in results:
            what = f"photographs encoded a second, {side:,} px JPEG, of those decoded"
            goals.append(goal(what, results[kind]["share"], ENCODE))
    what = f"evaluation of {evaluate['samples']:,} samples, of their features' time"
    goals.append(goal(what, evaluate["times"], EVALUATE, "lower"))
    figures = {name: bare(one) for name, one in results.items()}
    return {"ratio": generate["share"], "goal": GENERATE, "goals": goals, "cells": figures}


RACE = Race(
    measure=lambda args: summary(by_name(cells(args.quick, args.threads), args.results)),
    options={"--threads": torch.get_num_threads()}, quick={},
)  # fmt: skip
