"""Counts floating-point operations, and runs the calls that have some again on their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import flop_registry


@dataclass
class Call:
    """A convolution or matrix product: how often it was called, and with what."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    flop: int
    count: int = 0

    def run(self) -> None:
        """Calls it once."""
        self.function(*self.args, **self.kwargs)

    @property
    def name(self) -> str:
        """The operation and the shapes of its arguments."""
        shapes = ["×".join(map(str, a.shape)) for a in self.args if isinstance(a, Tensor)]
        what = str(self.function).removeprefix("aten.").removesuffix(".default")
        if what == "convolution_backward":
            of = ("input", "weight", "bias")
            what += "[" + "+".join(n for n, needed in zip(of, self.args[-1]) if needed) + "]"
        return " ".join([what, *shapes])


class Recorder(TorchDispatchMode):
    """Notes the calls that have floating-point operations, as torch's own counter counts them.

    (Which itself stumbles over the gradients of gradient penalties.)
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, Call] = {}

    @property
    def total(self) -> int:
        """Floating-point operations of all that was noted."""
        return sum(call.flop * call.count for call in self.calls.values())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        counter = flop_registry.get(func._overloadpacket)
        if counter is not None:
            key = repr((str(func), tree_map(_form, (args, kwargs))))
            if key not in self.calls:
                flop = counter(*args, **kwargs, out_val=out)
                again: tuple[Any, Any] = tree_map(_like, (args, kwargs))
                self.calls[key] = Call(func, *again, flop)
            self.calls[key].count += 1
        return out


def _form(value: Any) -> Any:
    return (tuple(value.shape), value.stride()) if isinstance(value, Tensor) else value


def _like(value: Any) -> Any:
    """Random numbers in a tensor's shape: channels last, transposed as it is, or contiguous."""
    if not isinstance(value, Tensor):
        return value
    random = torch.randn(value.shape, dtype=value.dtype)
    if value.ndim == 4:
        return random.contiguous(memory_format=torch.channels_last)
    if value.ndim == 2 and value.stride(0) == 1 and value.stride(1) == value.shape[0]:
        return random.t().contiguous().t()
    return random
