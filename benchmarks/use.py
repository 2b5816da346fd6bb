"""What using a model costs beside its networks: generating, encoding a folder, evaluating.

Each is raced, taking turns in one process with the default's networks at 32 px, against what
cannot be left out: images generated (as 8-bit pixels) against the generator's forward pass alone
at its best batch; a folder encoded against the same folder decoded and nothing else; an
evaluation, features of real images known, against the judge's features of as many images.
``ratio`` is the images a second that generating reaches as a share of the forward pass's (goal:
at least .9). Goals of the others: at least .9 of the decoding, at most twice the features.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import machine
from benchmarks.cells import Cell, measure
from benchmarks.claim import FASHION, finish
from benchmarks.data import photographs
from benchmarks.fetch import fetch
from ganvae import api, config, metrics, objectives, tasks
from ganvae.data import Data, open_data
from ganvae.metrics import judge as judges
from ganvae.metrics.sampling import CHUNK
from ganvae.models import Model
from ganvae.models.priors import fit_priors
from ganvae.tasks.generate import at_once, blocks
from ganvae.tasks.pictures import Reader
from ganvae.training.trainer import Trainer

GENERATE, ENCODE, EVALUATE = 0.9, 0.9, 2.0
BATCHES = (64, 128, 256)
"""Batches of the bare forward pass, of which the fastest counts."""
PHOTOS = {"photographs": 1280, "small photographs": 384}
"""Side in pixels of the JPEG files that are encoded."""


@dataclass(frozen=True)
class Taken:
    """Seconds by the wall, and of the processors with those of child processes that ended."""

    wall: float
    cpu: float

    @staticmethod
    def by(call: Callable[[], object]) -> Taken:
        """What a call takes."""
        before, start = os.times(), time.perf_counter()
        call()
        wall, after = time.perf_counter() - start, os.times()
        return Taken(wall, sum(after[:4]) - sum(before[:4]))


def turns(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[Taken]]:
    """What each call took in each round, taking turns; one round before is not counted."""
    taken: dict[str, list[Taken]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            found = Taken.by(call)
            if number:
                taken[name].append(found)
    return taken


def share(a: Sequence[Taken], b: Sequence[Taken], clock: str = "wall") -> float:
    """The time of ``a`` over that of ``b``: the median over rounds."""
    pairs = zip(a, b, strict=True)
    return statistics.median(getattr(x, clock) / max(getattr(y, clock), 1e-9) for x, y in pairs)


def rates(taken: Mapping[str, Sequence[Taken]], n: int) -> dict[str, float]:
    """Images a second of each, by the median round."""
    return {
        name: round(n / statistics.median(one.wall for one in found), 1)
        for name, found in taken.items()
    }


# -- the three races ---------------------------------------------------------------------------


def fashion() -> Data:
    """Fashion-MNIST at 32 px: 10,000 of its images are held out."""
    return open_data(config.override(config.Config(), _images()).data)


def _images() -> dict[str, Any]:
    prepared = {f"data.{name}": value for name, value in FASHION.items()}
    return prepared | {"data.path": str(fetch("fashion-mnist"))}


def model(data: Data, folder: Path) -> Model:
    """The default's model after a few steps: how long it trained does not change its speed."""
    given = {
        **_images(), "training.budget": "8steps", "training.evaluations": 0,
        "training.previews": 0, "training.tensorboard": "false",
        "training.checkpoint_every": "24h", "objective.representation.fit": 1000,
    }  # fmt: skip
    chosen = api.complete(config.override(config.Config(), given))
    objective = objectives.build(chosen.objective, chosen.objective_options)
    return Trainer(chosen, objective, data, folder).run().model


def generating(made: Model, n: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Generating n images, without files and with, against the forward pass alone."""
    z, G = made.latents(n), made.networks[made.info.generator]

    def forward(batch: int) -> None:
        with torch.inference_mode():
            for part in z.split(batch):
                G(part)

    def verb(prior: str) -> None:
        def draw(count: int, start: int) -> Tensor:
            return made.generate(count, prior=prior, start=start)

        for _ in blocks(draw, n, batch=at_once(made)):
            pass

    def files() -> None:
        tasks.generate(made, n, folder / "made")

    def write() -> None:
        tasks.generate(given, n, folder / "given")

    given = _Given(made)
    calls: dict[str, Callable[[], object]] = {
        f"forward {batch}": lambda batch=batch: forward(batch)  # type: ignore[misc]
        for batch in BATCHES
    }
    calls |= {prior: lambda prior=prior: verb(prior) for prior in made.priors}  # type: ignore[misc]
    taken = turns(calls | {"files": files, "write": write}, rounds)
    found = rates(taken, n)
    best = max((f"forward {batch}" for batch in BATCHES), key=found.__getitem__)
    own = next(iter(made.priors))
    return {
        "share": round(1 / share(taken[own], taken[best]), 4),
        "share_cpu": round(1 / share(taken[own], taken[best], "cpu"), 4),
        "share_by_prior": {
            prior: round(1 / share(taken[prior], taken[best]), 4) for prior in made.priors
        },
        "share_with_files": round(1 / share(taken["files"], taken[best]), 4),
        "share_writing_alone": round(1 / share(taken["write"], taken[best]), 4),
        "forward": best,
        "images_per_s": found,
    }


class _Given(Model):
    """A model whose images are made already: what is left of generating is to write them."""

    def __init__(self, other: Model):
        super().__init__(other.networks, other.info)
        self.block = other.generate(256)

    def generate(self, n: int, *args: Any, **kwargs: Any) -> Tensor:
        return self.block[:n]


def encoding(made: Model, n: int, rounds: int, folder: Path, kind: str) -> dict[str, Any]:
    """Encoding a folder of n files against decoding it alone.

    kind: of :data:`PHOTOS`, or "pictures", PNG of the model's own size
    """
    files = folder / kind
    files.mkdir()
    _files(files, n, PHOTOS.get(kind, made.shape[1]), "JPEG" if kind in PHOTOS else "PNG")
    calls: dict[str, Callable[[], object]] = {
        "decode": lambda: list(Reader(made, files)),
        "encode": lambda: tasks.encode(made, files, folder / "latents.npz"),
    }
    taken = turns(calls, rounds)
    shutil.rmtree(files)
    return {
        "share": round(share(taken["decode"], taken["encode"]), 4),
        "share_cpu": round(share(taken["decode"], taken["encode"], "cpu"), 4),
        "images_per_s": rates(taken, n),
    }


def _files(folder: Path, n: int, size: int, form: str) -> None:
    """n files of a few dozen synthetic images."""
    from PIL import Image

    some = photographs(min(n, 32), size)
    for number in range(n):
        path = folder / f"{number:06d}.{form.lower()}"
        if number < len(some):
            Image.fromarray(some[number]).save(path, format=form, quality=90)
        else:
            shutil.copyfile(folder / f"{number % len(some):06d}.{form.lower()}", path)


def evaluating(
    made: Model, data: Data, settings: config.Evaluation, rounds: int, folder: Path
) -> dict[str, Any]:
    """A whole evaluation, against the features of as many images."""
    n = settings.samples
    judge = judges.load(settings.judge, settings.size)
    images = torch.cat([x for _, x in zip(range(0, n, CHUNK), data.test.batches(CHUNK))])[:n]
    last: dict[str, Any] = {}

    def evaluate() -> None:
        last.update(metrics.evaluate(made, data, settings, judge=judge, cache_folder=folder))

    cold = Taken.by(evaluate)
    bare: Callable[[], object] = lambda: judge.extract(images.split(CHUNK))  # noqa: E731
    taken = turns({"features": bare, "evaluation": evaluate}, rounds)
    figures = last["figures"]
    parts = {"samples and distances": "kid", "reconstruction": "mse", "likelihood": "elbo",
             "copies": "copies"}  # fmt: skip
    return {
        "times": round(share(taken["evaluation"], taken["features"]), 4),
        "times_cpu": round(share(taken["evaluation"], taken["features"], "cpu"), 4),
        "seconds": {
            name: round(statistics.median(one.wall for one in found), 3)
            for name, found in taken.items()
        },
        "first_s": round(cold.wall, 3),
        "part_s": {what: figures[key]["seconds"] for what, key in parts.items() if key in figures}
        | {"training against held-out": last["reference"]["kid"]["seconds"]},
        "samples": last["n_generated"],
    }


def cell(settings: Mapping[str, Any]) -> dict[str, Any]:
    """One of the races; see :func:`raced`."""
    return raced([settings])[0]


def raced(several: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Some of the races with one model.

    several: for each ``what``, ``n``, ``rounds`` and ``threads``; ``kind`` of the files to encode,
        ``priors``: whether to generate from all of them, ``importance`` samples of the likelihood
    """
    torch.set_num_threads(several[0]["threads"])
    data, results = fashion(), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = model(data, folder / "run")
        for settings in several:
            what, n, rounds = settings["what"], settings["n"], settings["rounds"]
            if what == "generate":
                if settings["priors"]:
                    fits = fit_priors(made, data.train)
                    made.offer({role: fit.prior for role, fit in fits.items()})
                results.append(generating(made, n, rounds, folder))
            elif what == "encode":
                results.append(encoding(made, n, rounds, folder, settings["kind"]))
            else:
                chosen = config.Evaluation(samples=n, importance=settings["importance"])
                results.append(evaluating(made, data, chosen, rounds, folder / "features"))
    return results


# -- the result --------------------------------------------------------------------------------


def cells(quick: bool, threads: int) -> dict[str, Cell]:
    """The race's cells by name."""
    n = (256, 600, 200) if quick else (2048, 4000, 10_000)
    rounds = (2, 1, 1) if quick else (9, 5, 3)

    def one(name: str, number: int, part: int = 1, **more: Any) -> Cell:
        common = {"n": n[number] // part, "rounds": rounds[number], "threads": threads}
        return Cell("use", name, common | more)

    importance = 2 if quick else config.Evaluation().importance
    found = {
        "generate": one("generate", 0, what="generate", priors=not quick),
        "photographs": one("encode-photographs", 1, 4, what="encode", kind="photographs"),
        "small photographs": one("encode-small", 1, what="encode", kind="small photographs"),
        "pictures": one("encode-pictures", 1, what="encode", kind="pictures"),
        "evaluate": one("evaluate", 2, what="evaluate", importance=importance),
    }
    if quick:
        del found["pictures"], found["small photographs"]
    return found


def summary(found: Mapping[str, Mapping[str, Any]], threads: int) -> dict[str, Any]:
    """The race's result from its cells' results by name."""
    generate, evaluate = found["generate"], found["evaluate"]
    goals = [
        {"what": "images generated a second, of the forward pass's",
         "measured": generate["share"], "goal": GENERATE, "better": "higher"},
        *({"what": f"photographs encoded a second, {side:,} px JPEG, of those decoded",
           "measured": found[kind]["share"], "goal": ENCODE, "better": "higher"}
          for kind, side in PHOTOS.items() if kind in found),
        {"what": f"evaluation of {evaluate['samples']:,} samples, of their features' time",
         "measured": evaluate["times"], "goal": EVALUATE, "better": "lower"},
    ]  # fmt: skip
    return {
        "name": "use",
        "ratio": generate["share"],
        "goal": GENERATE,
        "goals": goals,
        "cells": {
            name: {key: one[key] for key in one if key not in ("settings", "machine", "label")}
            for name, one in found.items()
        },
        "threads": threads,
        "machine": machine(),
    }


def main() -> int:
    """Prints and keeps the result; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, help="default: the cores")
    parser.add_argument("--quick", action="store_true", help="seconds: shows that it runs")
    args = parser.parse_args()
    threads = args.threads or torch.get_num_threads()
    grid = cells(args.quick, threads)
    if args.quick:
        found = raced([one.settings for one in grid.values()])
    else:
        found = measure(list(grid.values()))
    result = summary(dict(zip(grid, found)), threads)
    finish(result, args.quick)
    return int(not args.quick and any(map(missed, result["goals"])))


def missed(goal: Mapping[str, Any]) -> bool:
    """Whether a figure is on the wrong side of its goal."""
    sign = 1 if goal["better"] == "higher" else -1
    return goal["measured"] is None or sign * goal["measured"] < sign * goal["goal"]


if __name__ == "__main__":
    sys.exit(main())
