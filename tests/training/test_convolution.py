"""The convolutions whose weight's gradient is a matrix product."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganvae.training import convolution
from ganvae.training.convolution import convolve, quicken

LAYERS = {
    "strided": (nn.Conv2d(6, 10, 4, 2, 1), 8),
    "three": (nn.Conv2d(6, 6, 3, 1, 1, bias=False), 5),
    "oblong": (nn.Conv2d(6, 4, (3, 5), (2, 1), (1, 0)), 7),
    "transposed": (nn.ConvTranspose2d(8, 6, 4, 2, 1), 4),
}


def quick(layer: nn.Module) -> Any:
    made = copy.deepcopy(layer)
    quicken([made])
    assert type(made) is not type(layer)
    return made


@pytest.mark.parametrize("name", LAYERS)
def test_all_gradients_are_the_layers_own_also_of_a_penalty(name: str) -> None:
    torch.manual_seed(0)
    layer, size = LAYERS[name]
    own = copy.deepcopy(layer).double()
    other = quick(own)
    image = torch.randn(3, own.in_channels, size, size, dtype=torch.float64)
    image = image.contiguous(memory_format=torch.channels_last)
    shape = own(image).shape

    def found(net: Any, call: Any) -> list[Tensor]:
        x = image.clone().requires_grad_()
        y = call(x)
        (slope,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        whole = slope.square().sum() + y.sin().sum()
        learnt = torch.autograd.grad(call(x).sin().sum(), [*net.parameters()])
        return [y, slope, *torch.autograd.grad(whole, [x, *net.parameters()]), *learnt]

    expected = found(own, own)
    for a, b in zip(found(other, lambda x: convolve(other, x, shape, x.dtype)), expected):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("transposed", [False, True])
def test_it_is_taken_in_bfloat16_where_it_pays_and_gives_the_same(transposed: bool) -> None:
    torch.manual_seed(0)
    kind, size = (nn.ConvTranspose2d, 4) if transposed else (nn.Conv2d, 8)
    own = kind(48, 64, 4, 2, 1).to(memory_format=torch.channels_last)
    other = quick(own)
    x = torch.randn(4, 48, size, size).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        expected, got = own(x), other(x)
        assert "Convolution" in got.grad_fn.name() and "_Convolution" in got.grad_fn.name()
        with torch.no_grad():
            assert torch.equal(other(x), expected)
    assert torch.equal(got, expected) and got.dtype == torch.bfloat16
    for net, y in ((own, expected), (other, got)):
        y.float().square().mean().backward()
        assert net.weight.grad.dtype == torch.float32
    torch.testing.assert_close(other.weight.grad, own.weight.grad, rtol=0.05, atol=1e-5)
    torch.testing.assert_close(other.bias.grad, own.bias.grad, rtol=0.05, atol=1e-5)
    assert "_Convolution" not in other(x).grad_fn.name()  # float32 is oneDNN's
    big = torch.randn(1, 48, 4 * size, 4 * size)
    with torch.autocast("cpu", torch.bfloat16):
        assert "_Convolution" not in other(big).grad_fn.name()


def test_a_weights_gradient_that_nobody_asks_for_is_not_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []
    backward = convolution._WeightGradient.backward
    monkeypatch.setattr(
        convolution._WeightGradient,
        "backward",
        staticmethod(lambda ctx, g: (made.append(1), backward(ctx, g))[1]),
    )
    layer = quick(nn.Conv2d(8, 8, 3, 1, 1))
    x = torch.randn(2, 8, 4, 4, requires_grad=True)
    y = convolve(layer, x, (2, 8, 4, 4), torch.float32).sum()
    y.backward(inputs=[x], retain_graph=True)
    assert not made and x.grad is not None
    y.backward(inputs=[layer.weight])
    assert made and layer.weight.grad is not None


def test_only_what_it_can_do_is_changed_and_not_what_it_holds() -> None:
    plain = [nn.Conv2d(8, 8, 3), nn.ConvTranspose2d(8, 8, 3)]
    others = [
        nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 8, 3, dilation=2), nn.Conv1d(8, 8, 3),
        nn.Conv2d(8, 8, 3, padding="same"), nn.Conv2d(8, 8, 3, 1, 1, padding_mode="reflect"),
        nn.ConvTranspose2d(8, 8, 3, 2, output_padding=1), nn.Linear(8, 8),
    ]  # fmt: skip
    net = nn.Sequential(*plain, *others)
    said, held = repr(net), {name: value.clone() for name, value in net.state_dict().items()}
    quicken([net])
    assert [type(part).__module__ == convolution.__name__ for part in net] == [True] * 2 + [
        False
    ] * len(others)
    assert repr(net) == said
    assert all(torch.equal(value, held[name]) for name, value in net.state_dict().items())
    types = [type(part) for part in net]
    quicken([net])
    assert [type(part) for part in net] == types
