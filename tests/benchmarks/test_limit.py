"""The limit: what is counted, what is replayed, and where the profiler's time goes."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from benchmarks import limit
from benchmarks.flops import Recorder
from benchmarks.limit import Turns, kind, shares, summary, whole
from benchmarks.timing import Watch, share


def recorded(penalty=False):
    conv, head = nn.Conv2d(3, 8, 4, 2, 1), nn.Linear(8 * 16, 2)
    x = torch.randn(5, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    with Recorder() as recorder:
        for _ in range(2):
            if penalty:
                x.requires_grad_()
                y = head(conv(x).flatten(1)).sum()
                torch.autograd.grad(y, x, create_graph=True)[0].square().sum().backward()
            else:
                head(conv(x).flatten(1)).sum().backward()
    return list(recorder.calls.values())


def test_operations_are_counted_forward_and_backward():
    calls = recorded()
    one = 2 * 5 * 16 * 8 * 3 * 16, 2 * 5 * 128 * 2  # of the convolution and of the product
    # the convolution: forward, weights; the product: forward, weights and input
    assert sum(call.flop * call.count for call in calls) == 2 * (2 * one[0] + 3 * one[1])
    assert {call.count for call in calls} == {2}


def test_what_is_replayed_has_the_shapes_of_what_was_recorded():
    calls = recorded(penalty=True)
    assert any("convolution_backward" in call.name for call in calls)
    turns = Turns(calls)
    with Recorder() as again:
        turns.replay()
    assert sorted(call.name for call in again.calls.values()) == sorted(c.name for c in calls)
    assert sum(c.flop * c.count for c in again.calls.values()) == turns.flop * limit.TURN
    for call in calls:
        four = [a for a in call.args if isinstance(a, torch.Tensor) and a.ndim == 4]
        assert all(a.is_contiguous(memory_format=torch.channels_last) for a in four)


def test_the_ratio_is_the_median_over_turns_taken_in_pairs():
    steps, kernels = ([Watch(w, 1) for w in v] for v in ((2, 2, 9), (1, 1.5, 1)))
    assert share(kernels, steps) == 0.5


def event(name, parent=None, taken=1.0):
    return SimpleNamespace(name=name, cpu_parent=parent, self_cpu_time_total=taken)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("aten::mkldnn_convolution", "convolutions and products"),
        ("aten::_convolution", "convolutions and products"),
        ("aten::addmm", "convolutions and products"),
        ("aten::native_group_norm_backward", "normalisation"),
        ("aten::leaky_relu_", "activations"),
        ("aten::copy_", "copies"),
        ("aten::add", "everything else"),
    ],
)
def test_operations_are_told_apart(name, expected):
    assert kind(event(name)) == expected


def test_the_part_of_the_trainer_around_an_operation_comes_first():
    around = event(limit.OWN + "undo")
    inner = event("aten::copy_", event("aten::_foreach_copy_", around), taken=3.0)
    adam = event("aten::_fused_adam_", event("Optimizer.step#Adam.step"))
    found = shares([inner, adam])
    assert found == {"undo": 0.75, "optimiser": 0.25}


def test_a_run_weighs_its_stages_and_the_worse_size_counts():
    stages = {
        "VAE": {"ratio": 0.5, "ratio_cpu": 1.0},
        "GANVAE": {"ratio": 1.0, "ratio_cpu": 0.5},
    }
    assert whole(stages, 32) == {"ratio": 0.8, "ratio_cpu": 0.7}  # the first has .4 of the time
    one = {"stages": stages, "ratio": 0.8, "ratio_cpu": 0.7}
    result = summary({32: one, 64: one | {"ratio": 0.6}}, 2)
    assert result["ratio"] == 0.6 and [g["measured"] for g in result["goals"]] == [0.8, 0.6]
