"""Completion against the straight-line BicycleGAN whose output is pasted into the picture."""

import copy

import torch
from straight import STEPS, WEIGHTS, B, build, by_hand, by_the_library, picture, same

from ganvae import objectives
from ganvae.networks import unet
from ganvae.types import Batch, Clock, Noise


def pairs():
    for step in range(STEPS):
        x = picture((1, step))
        hole = torch.zeros_like(x)
        hole[:, :, 4:11, 3 + step : 12] = 1
        yield torch.cat([x * (1 - hole), hole], 1), x


def pasted(G, z, source, target):
    hole = source[:, -1:]
    return hole * G(z, source) + (1 - hole) * target


def test_completion_is_bicycle_on_composites():
    objective = objectives.build("completion", WEIGHTS)
    nets = build(objective, 2)
    reference = copy.deepcopy(nets)
    by_the_library(objective, nets, list(pairs()))
    by_hand(reference, pairs(), pasted)
    same(nets, reference)


def test_no_loss_sees_what_was_made_outside_the_hole(monkeypatch):
    objective, whole = objectives.build("completion"), unet.UNet.forward
    source, x = next(pairs())

    def losses(outside):
        nets = build(objective, 2)

        def changed(self, z, source):
            return whole(self, z, source) + outside * (1 - source[:, -1:])

        monkeypatch.setattr(unet.UNet, "forward", changed)
        batch = Batch(image=x, source=source, noise=Noise(2, total=B, dtype=torch.float64))
        moves = objective.step(nets, batch, Clock())
        return [sorted(loss.item() for loss in move.values()) for move in moves]

    assert losses(0.0) == losses(0.7)
