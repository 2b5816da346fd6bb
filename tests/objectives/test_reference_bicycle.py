"""BicycleGAN against a straight-line implementation."""

import copy

import torch
from straight import STEPS, WEIGHTS, B, build, by_hand, by_the_library, picture, same

from ganvae import objectives
from ganvae.types import Batch, Clock, Noise


def test_bicycle_is_what_the_paper_says():
    objective = objectives.build("bicycle", WEIGHTS)
    nets = build(objective, 2)
    reference = copy.deepcopy(nets)
    pairs = [(picture((4, step), 2), picture((1, step))) for step in range(STEPS)]
    by_the_library(objective, nets, pairs)
    by_hand(reference, pairs, lambda G, z, source, target: G(z, source))
    same(nets, reference)


def test_the_discriminators_may_be_penalised():
    objective = objectives.build("bicycle", {"adversary": {"gamma": 0.2, "every": 1}})
    bare = objectives.build("bicycle", {"adversary": {"gamma": 0}})
    nets = build(objective, 2)
    batch = [
        Batch(image=picture((1, 0)), source=picture((4, 0), 2),
              noise=Noise(2, 0, total=B, dtype=torch.float64))
        for _ in range(2)
    ]  # fmt: skip
    with_it, without = (
        next(o.step(nets, b, Clock()))["discriminator"] for o, b in zip((objective, bare), batch)
    )
    assert with_it > without
