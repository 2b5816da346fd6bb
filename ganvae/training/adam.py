"""Adam, fused where the device has it, on weights in the order that they have in memory.

| Adam: A Method for Stochastic Optimization (Kingma and Ba, 2015)
| https://arxiv.org/abs/1412.6980

Fused Adam on a CPU copies what is not contiguous, which takes it twice as long. Weights whose
channels are last are therefore handed to it with their dimensions in the order of memory. Another
optimiser is another class with these methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ganvae.types import Optim


class Adam:
    """Moves one network by the gradients that its parameters have.

    params: at least one
    optim: its betas
    lr: the peak of the learning rate
    """

    def __init__(self, params: Sequence[Tensor], optim: Optim, lr: float):
        self.params, self.peak = list(params), lr
        self._views = [in_memory_order(p.detach(), p) for p in params]
        self.torch = torch.optim.Adam(
            self._views,
            lr=lr,
            betas=(optim.beta1, optim.beta2),
            fused=params[0].device.type in ("cpu", "cuda"),
        )

    def step(self, rate: float) -> None:
        """Moves what has gradients; rate: the share of the learning rate's peak."""
        for group in self.torch.param_groups:
            group["lr"] = self.peak * rate
        for view, p in zip(self._views, self.params):
            view.grad = None if p.grad is None else in_memory_order(p.grad, p).contiguous()
        self.torch.step()
        self.torch.zero_grad()  # else these gradients would outlive those of the network
        # fused Adam changes tensors without telling torch
        torch.autograd.graph.increment_version([*self.params, *self.moments()])

    def moments(self) -> list[Tensor]:
        """The tensors that a step changes beside the parameters; empty before the first one."""
        entries = self.torch.state.values()
        return [value for entry in entries for value in entry.values() if torch.is_tensor(value)]

    def forget(self) -> None:
        """Drops all moments, as before the first step."""
        self.torch.state.clear()

    def state(self) -> dict[str, Tensor]:
        """The moments by ``PARAMETER.NAME``, those of the parameter's shape as it is."""
        entries: Mapping[int, Mapping[str, Tensor]] = self.torch.state_dict()["state"]
        return {
            f"{index}.{key}": _in_shape(value, self.params[index])
            for index, entry in entries.items()
            for key, value in entry.items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Puts :meth:`state` back."""
        entries: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            index, _, name = key.partition(".")
            entries.setdefault(int(index), {})[name] = value
        # fused Adam takes it for granted that the moments lie in memory as the weights do
        for place, entry in entries.items():
            param, view = self.params[place], self._views[place]
            for name, value in entry.items():
                if value.shape == param.shape:
                    entry[name] = torch.empty_like(view).copy_(in_memory_order(value, param))
        whole: dict[str, Any] = self.torch.state_dict()
        self.torch.load_state_dict({**whole, "state": entries})


def in_memory_order(tensor: Tensor, param: Tensor) -> Tensor:
    """A tensor of a parameter's shape with its dimensions in the order of the parameter's memory.

    A view: (B, C, H, W) becomes (B, H, W, C) where the parameter's channels are last.
    """
    return tensor.permute(0, 2, 3, 1) if _channels_last(param) else tensor


def _in_shape(tensor: Tensor, param: Tensor) -> Tensor:
    """The inverse of :func:`in_memory_order`."""
    return tensor.permute(0, 3, 1, 2) if _channels_last(param) and tensor.ndim == 4 else tensor


def _channels_last(param: Tensor) -> bool:
    last = param.ndim == 4 and param.is_contiguous(memory_format=torch.channels_last)
    return last and not param.is_contiguous()
