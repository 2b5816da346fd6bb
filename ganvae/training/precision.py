"""bfloat16 and compilation: where they pay, and float32 results in either case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
import torch._functorch.config as functorch
from torch import Tensor, nn


def pays(device: torch.device, nets: Iterable[nn.Module]) -> bool:
    """Whether bfloat16 is faster: on CUDA from Ampere on, and for convolutions on CPUs with AMX.

    Other processors have to emulate it. What it brings on AMX is in docs/training.md.
    """
    if device.type != "cpu":
        cuda = device.type == "cuda"
        return cuda and torch.cuda.is_bf16_supported(including_emulation=False)
    amx = torch.cpu.get_capabilities().get("amx_bf16", False)
    return amx and any(isinstance(part, _CONVOLUTIONS) for net in nets for part in net.modules())


_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


def compiles(device: torch.device, seconds: float | None) -> bool:
    """Whether compiling is worth its time: in :data:`LONG` trainings on CUDA, where Triton works.

    On CPUs it takes longer than it saves: docs/decisions.md, 12.

    seconds: that the training lasts; None: its budget is not of time
    """
    if device.type != "cuda" or (seconds is not None and seconds < LONG):
        return False
    from torch.utils._triton import has_triton

    return has_triton()


LONG = 1800
"""Seconds: compiling takes one or two minutes of them."""


def compile_networks(nets: Mapping[str, nn.Module], *, strict: bool = True) -> None:
    """Compiles the networks in place, when they are first called.

    Buffers may not be donated: moves share graphs, so a backward pass keeps them for the next.

    strict: raise where a part cannot be compiled; else it stays as it is, with a warning
    """
    from torch._dynamo import config as dynamo  # which takes a second

    functorch.donated_buffer = False
    dynamo.suppress_errors = not strict
    if hasattr(functorch, "force_non_lazy_backward_lowering"):  # errors there are warnings, too
        functorch.force_non_lazy_backward_lowering = not strict
    for net in nets.values():
        net.compile(dynamic=False)  # its batches have few sizes


def return_float32(nets: Iterable[nn.Module]) -> None:
    """Makes networks give float32 whatever they compute in: a loss adds up many numbers."""
    for net in nets:
        if _float32 not in net._forward_hooks.values():  # stages share networks
            net.register_forward_hook(_float32)


def _float32(net: nn.Module, args: Any, result: Any) -> Any:
    return raised(result)


def raised(result: Any) -> Any:
    """A tensor, or a tuple or dataclass of tensors, with float32 in place of bfloat16."""
    if isinstance(result, Tensor):
        return result.float() if result.dtype == torch.bfloat16 else result
    if isinstance(result, tuple):
        some = map(raised, result)
        return type(result)(*some) if hasattr(result, "_fields") else tuple(some)
    if is_dataclass(result) and not isinstance(result, type):
        return replace(result, **{f.name: raised(getattr(result, f.name)) for f in fields(result)})
    return result
