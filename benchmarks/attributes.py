"""Attribute arithmetic: the share of images that moving along a class's direction turns into it.

``python -m benchmarks attributes`` trains ``gan_vae`` and a classifier on Fashion-MNIST at 32 px.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import permutations

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import ours
from benchmarks.fetch import fetch
from benchmarks.race import Args, Race, Result
from benchmarks.sections import figures, show
from ganvae.data import Data, Images, open_data
from ganvae.models import Model

GOAL = 0.8
AMOUNTS = (1.0, 1.5, 2.0)
Mean = tuple[Tensor, Tensor]
"""Of a class: its latent and its image."""


def classifier(images: Images, seconds: int, seed: int) -> nn.Module:
    """A small convolutional network, trained on real images."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(images.shape[0], 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        nn.Dropout(0.3), nn.Linear(1024, 10),
    )  # fmt: skip
    assert images.labels is not None
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    chance = np.random.default_rng(seed)
    for _ in range(60 * seconds):
        rows = chance.integers(0, len(images), 64)
        labels = torch.from_numpy(images.labels[rows].astype(np.int64))
        loss = nn.functional.cross_entropy(net(images.images(rows)), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net.eval()


@torch.inference_mode()
def judged(net: nn.Module, x: Tensor) -> Tensor:
    """The class of every image."""
    return torch.cat([net(part).argmax(1) for part in x.split(256)])


def means(model: Model, data: Data, count: int) -> list[Mean]:
    """Each class's means over ``count`` training images."""
    rows = [np.flatnonzero(data.train.labels == y)[:count] for y in range(len(data.classes))]
    images = map(data.train.images, rows)
    return [(model.encode(x).mean.mean(0), x.mean(0)) for x in images]


def moved(
    model: Model, net: nn.Module, by_class: Sequence[Tensor], means: Sequence[Mean], amount: float
) -> dict[str, float]:
    """What became of images of each class, moved towards every other class.

    amount: 1 is from one class's mean to the other's
    """
    became, inside, outside = [], [], []
    for a, b in permutations(range(len(means)), 2):
        z = model.encode(by_class[a]).mean
        (z_a, x_a), (z_b, x_b) = means[a], means[b]
        before, after = model.decode(z), model.decode(z + amount * (z_b - z_a))
        became.append((judged(net, after) == b).float().mean())
        gap, change = (x_b - x_a).abs(), (after - before).square()
        same = (gap < 0.1 * gap.max()).expand_as(before)
        outside.append(change[same].mean())
        inside.append(change[~same].mean())
    share, apart, within = map(torch.stack, (became, outside, inside))
    return {
        "became": round(float(share.mean()), 4), "worst_pair": round(float(share.min()), 4),
        "outside": round(float(apart.mean()), 5), "inside": round(float(within.mean()), 5),
    }  # fmt: skip


def sheet(model: Model, images: Tensor, means: Sequence[Mean], amount: float) -> Tensor:
    """An image of each class, its reconstruction, and it moved towards every class in turn.

    images: one of each class, (C, ...); the result has C rows of 2 + C images
    """
    rows = []
    for x, (z_a, _) in zip(images, means):
        z = model.encode(x[None]).mean
        moves = torch.stack([amount * (z_b - z_a) for z_b, _ in means])
        rows += [x[None], model.decode(z), model.decode(z + moves)]
    return torch.cat(rows)


def measure(args: Args) -> Result:
    """Trains a model and a classifier, and moves held-out images by several amounts."""
    settings = {"objective": "gan_vae", "data.path": str(fetch("fashion-mnist"))}
    run, _ = ours.application(args, {**ours.FASHION, **settings, "evaluation.samples": 500})
    model, data = run.model, open_data(run.config.data, labels=True)
    net = classifier(data.train, 5 if args.quick else 20, args.seed)
    assert data.test.labels is not None
    x = data.test.images(np.arange(2000))
    labels = torch.from_numpy(data.test.labels[:2000].astype(np.int64))
    of_class = means(model, data, 500)
    by_class = [x[labels == y][: args.images] for y in range(len(of_class))]
    amounts = sorted({*AMOUNTS, args.amount})
    by_amount = {f"{a:g}": moved(model, net, by_class, of_class, a) for a in amounts}
    first = torch.stack([images[0] for images in by_class])
    show("attributes", sheet(model, first, of_class, args.amount), args.results, len(of_class) + 2)
    at_amount = by_amount[f"{args.amount:g}"]
    return {
        "ratio": at_amount["became"], "goal": GOAL, **at_amount, "by_amount": by_amount,
        "classifier_accuracy": float((judged(net, x) == labels).float().mean()),
        "amount": args.amount,
    }  # fmt: skip


CAPTION = """An image of each class, its reconstruction, and what it became by one and a half \
times the way to every class in turn."""
RACE = Race(
    measure=measure,
    options={
        "--budget": "4m", "--amount": (1.5, "of the way between the means"),
        "--images": (50, "held-out images a class"), "--seed": 0,
    },
    quick={"budget": "20s"}, figure="moved images that became the class meant",
    section=partial(figures, caption=CAPTION),
)  # fmt: skip
