"""Averages of the weights over the training, with a half-life in images."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn


def decay(images: int, batch: int, half_life: int | None) -> float:
    """The share of the average that is kept at a step.

    images: seen so far, this step's included
    half_life: in images; None: 5 % of the images so far, at most 500,000, so that the average
        forgets its beginnings
    """
    life = half_life if half_life is not None else min(500_000, images // 20)
    return 0.5 ** (batch / life) if life > 0 else 0.0


class Average:
    """The averaged copies of networks; they need no gradients and are in evaluation mode."""

    def __init__(self, nets: Mapping[str, nn.Module]):
        self.nets = {name: copy.deepcopy(net).eval() for name, net in nets.items()}
        for net in self.nets.values():
            net.requires_grad_(False)
        # listed once: walking through the modules takes longer than the average itself
        self._weights = {name: (_weights(self.nets[name]), _weights(nets[name])) for name in nets}
        self._modules = {
            name: list(zip(self.nets[name].modules(), nets[name].modules(), strict=True))
            for name in nets
        }

    @torch.no_grad()
    def update(self, moved: Iterable[str], keep: float) -> None:
        """Moves the averages of the networks ``moved`` towards their weights; copies buffers."""
        for name in moved:
            averages, values = self._weights[name]
            if averages:
                torch._foreach_lerp_(averages, values, 1 - keep)
            for mine, theirs in self._modules[name]:
                for key, buffer in theirs._buffers.items():
                    if buffer is not None:
                        mine.get_buffer(key).copy_(buffer)

    @torch.no_grad()
    def hand_over(self, nets: Mapping[str, nn.Module]) -> None:
        """Loads the averaged weights into the networks, at the end of a stage."""
        for name, net in nets.items():
            net.load_state_dict(self.nets[name].state_dict())


def _weights(net: nn.Module) -> list[Tensor]:
    return list(net.parameters())
