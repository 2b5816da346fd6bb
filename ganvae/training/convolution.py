"""Weight gradients of convolutions over few cells as one matrix product, in bfloat16 on a CPU.

There, oneDNN takes three to six times as long for them: docs/decisions.md, 16, has the measure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def quicken(nets: Iterable[nn.Module]) -> None:
    """Replaces the classes of the networks' convolutions by the faster ones of this file.

    Their weights and results stay the same.
    """
    for module in (part for net in nets for part in net.modules()):
        quick = {nn.Conv2d: Conv2d, nn.ConvTranspose2d: ConvTranspose2d}.get(type(module))
        if quick and _plain(module):
            module.__class__ = quick


def _plain(layer: Any) -> bool:
    numbers = not isinstance(layer.padding, str) and layer.padding_mode == "zeros"
    simple = layer.groups == 1 and {*layer.dilation} == {1} and {*layer.output_padding} == {0}
    return numbers and simple


class Conv2d(nn.Conv2d):
    """One that computes its weight's gradient by :class:`_WeightGradient` where that pays."""

    def forward(self, x: Tensor) -> Tensor:
        """As nn.Conv2d's."""
        size = [(side + 2 * p - k) // s + 1 for side, (k, s, p) in zip(x.shape[2:], _sides(self))]
        if not _pays(self, size):
            return super().forward(x)
        shape = (len(x), self.out_channels, *size)
        return convolve(self, x, shape, torch.get_autocast_dtype("cpu"))


class ConvTranspose2d(nn.ConvTranspose2d):
    """The same for transposed convolutions, whose cells are those of the input."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """As nn.ConvTranspose2d's."""
        if output_size is not None or not _pays(self, x.shape[2:]):
            return super().forward(x, output_size)
        size = [(side - 1) * s - 2 * p + k for side, (k, s, p) in zip(x.shape[2:], _sides(self))]
        shape = (len(x), self.out_channels, *size)
        return convolve(self, x, shape, torch.get_autocast_dtype("cpu"))


def _sides(layer: Any) -> list[tuple[int, int, int]]:
    """Kernel, stride and padding of height and of width."""
    return [*zip(layer.kernel_size, layer.stride, layer.padding)]


def _pays(layer: Conv2d | ConvTranspose2d, cells: Sequence[int]) -> bool:
    """Whether the matrix product is faster: where there are few cells for the channels."""
    learns = torch.is_grad_enabled() and layer.weight.requires_grad
    half = torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()
    channels = min(layer.in_channels, layer.out_channels)
    return learns and half and 2 * cells[0] * cells[1] <= channels


def convolve(
    layer: Conv2d | ConvTranspose2d, x: Tensor, shape: Sequence[int], dtype: torch.dtype
) -> Tensor:
    """The layer's result, of shape ``shape``, computed in ``dtype``; differentiable twice."""
    x, weight = x.to(dtype), layer.weight.to(dtype)
    bias = None if layer.bias is None else layer.bias.to(dtype)
    how = (layer.stride, layer.padding, layer.transposed)
    slope = _WeightGradient.apply(weight, x.detach(), shape, *how)
    return _Convolution.apply(x, weight, bias, slope, *how)


class _Convolution(torch.autograd.Function):
    """A convolution that hands the gradient of its result on to ``slope``, for its weight.

    An autograd.Function cannot tell which of its gradients are needed. The weight's therefore has
    a node of its own, which autograd skips where it is not needed.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, slope: Tensor, *how: Any
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how = how
        stride, padding, transposed = how
        return torch.convolution(x, weight, bias, stride, padding, (1, 1), transposed, (0, 0), 1)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, transposed = ctx.how
        of_x, _, of_bias, *_ = ctx.needs_input_grad
        dx = None
        if of_x:
            dx, _, _ = torch.ops.aten.convolution_backward(
                g, x, weight, None, stride, padding, (1, 1), transposed, (0, 0), 1,
                (True, False, False),
            )  # fmt: skip
        return dx, None, g.sum((0, 2, 3)) if of_bias else None, g, None, None, None


class _WeightGradient(torch.autograd.Function):
    """Zero, of the shape of the convolution's result; what flows back becomes the weight's."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, x: Tensor, shape: Sequence[int], *how: Any) -> Tensor:
        ctx.save_for_backward(x)
        ctx.kernel, ctx.how = weight.shape[2:], how
        return weight.new_zeros(()).expand(shape)

    @staticmethod
    @torch.autograd.function.once_differentiable  # x is detached: no second derivative
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        stride, padding, transposed = ctx.how
        image, cells = (g, x) if transposed else (x, g)
        (height, width), (down, along) = ctx.kernel, padding
        image = nn.functional.pad(image, (along, along, down, down))
        patches = image.unfold(2, height, stride[0]).unfold(3, width, stride[1])
        # (B, C, h, w, height, width) to (B·h·w, height·width·C), channels last in memory
        patches = patches.permute(0, 2, 3, 4, 5, 1).flatten(0, 2).flatten(1)
        flat = cells.permute(0, 2, 3, 1).flatten(0, 2)
        product = (flat.t() @ patches).unflatten(1, (height, width, -1))
        return product.permute(0, 3, 1, 2), None, None, None, None, None
