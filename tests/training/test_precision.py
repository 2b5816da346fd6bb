"""Where bfloat16 is used by itself, and what comes back from it."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
import torch.utils._triton
from functorch.compile import make_boxed_func
from torch import Tensor, nn
from torch._dynamo.backends.common import aot_autograd
from torch.nn.functional import group_norm
from torch.testing import assert_close

from ganvae.networks.prior import MixturePrior
from ganvae.networks.residual import norm
from ganvae.training import precision
from ganvae.training.precision import compile_networks, pays, raised, return_float32
from ganvae.types import Noise, Posterior


@pytest.mark.parametrize(
    ("device", "has", "net", "expected"),
    [
        ("cuda", True, nn.Linear(1, 1), True),
        ("cuda", False, nn.Conv2d(1, 1, 1), False),
        ("mps", True, nn.Conv2d(1, 1, 1), False),
        ("cpu", True, nn.Sequential(nn.Conv2d(1, 1, 1)), True),
        ("cpu", True, nn.ConvTranspose2d(1, 1, 1), True),
        ("cpu", True, nn.Linear(1, 1), False),
        ("cpu", False, nn.Conv2d(1, 1, 1), False),
    ],
)
def test_it_pays_on_new_gpus_and_for_convolutions_on_amx(monkeypatch, device, has, net, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": has})
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has)
    assert pays(SimpleNamespace(type=device), [nn.ReLU(), net]) is expected


def test_processors_that_know_nothing_of_it_use_float32(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert pays(torch.device("cpu"), [nn.Conv2d(1, 1, 1)]) is False


@pytest.mark.parametrize(
    ("device", "seconds", "works", "expected"),
    [
        ("cuda", None, True, True),
        ("cuda", 1800, True, True),
        ("cuda", 1799, True, False),
        ("cuda", None, False, False),
        ("cpu", None, True, False),
        ("mps", 3600, True, False),
    ],
)
def test_networks_are_compiled_in_long_trainings_where_kernels_can_be(
    monkeypatch, device, seconds, works, expected
):
    monkeypatch.setattr(torch.utils._triton, "has_triton", lambda: works)
    assert precision.compiles(SimpleNamespace(type=device), seconds) is expected


class Scale(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (2 * x).sin()


@pytest.mark.parametrize("broken", ["forward", "backward"])
def test_what_cannot_be_compiled_stays_as_it_is_unless_it_was_asked_for(monkeypatch, broken):
    def works(graph, inputs):
        return make_boxed_func(graph.forward)

    def fails(graph, inputs):
        raise RuntimeError("there is no compiler")

    backend = aot_autograd(
        fw_compiler=fails if broken == "forward" else works,
        bw_compiler=fails if broken == "backward" else works,
    )
    compiled = nn.Module.compile
    monkeypatch.setattr(
        nn.Module, "compile", lambda net, dynamic: compiled(net, backend=backend, dynamic=dynamic)
    )
    net, x = Scale(), torch.ones(2, requires_grad=True)
    try:
        compile_networks({"decoder": net})
        with pytest.raises(Exception, match="there is no compiler"):
            net(x).sum().backward()
        torch.compiler.reset()
        compile_networks({"decoder": net}, strict=False)
        (grad,) = torch.autograd.grad(net(x).sum(), x)
        assert_close(grad, 2 * (2 * x).cos().detach())
    finally:
        compile_networks({})
        torch.compiler.reset()


@dataclass(frozen=True)
class Noted(Posterior):
    codes: Tensor
    note: str


def test_results_of_any_form_come_back_in_float32():
    low, whole = torch.ones(2, dtype=torch.bfloat16), torch.arange(2)
    found = raised((low, Noted(low, low, whole, "as it was")))
    assert found[0].dtype == torch.float32
    assert type(found[1]) is Noted
    assert found[1].mean.dtype == found[1].logvar.dtype == torch.float32
    assert found[1].codes is whole
    assert found[1].note == "as it was"
    exact = torch.ones(2, dtype=torch.float64)
    assert raised(exact) is exact


def test_a_norm_of_bfloat16_is_computed_in_float32():
    torch.manual_seed(0)
    x = (3 + torch.randn(2, 16, 4, 4)).bfloat16()
    made = norm(16)
    nn.init.normal_(made.weight)
    with torch.autocast("cpu", torch.bfloat16):
        found = made(x)
    expected = group_norm(x.float(), 2, made.weight, made.bias)
    assert found.dtype == torch.bfloat16
    assert_close(found, expected.bfloat16(), rtol=0, atol=0)
    assert_close(made.double()(x.double()).float(), expected)


def test_a_mixture_is_sampled_in_float32():
    prior = MixturePrior(4, components=2)
    prior.factors.mul_(1 + 2**-12)  # what bfloat16 would lose
    expected = prior.sample(Noise(0, total=8))
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(prior.sample(Noise(0, total=8)), expected, rtol=0, atol=0)


def test_two_stages_leave_one_hook_on_a_network():
    net = nn.Linear(2, 2)
    return_float32([net])
    return_float32([net])
    assert len(net._forward_hooks) == 1
    with torch.autocast("cpu", torch.bfloat16):
        assert net(torch.ones(1, 2)).dtype == torch.float32
