"""Moves, schedules, averages and going back."""

import os
import resource

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from ganvae.training.ema import Average, decay
from ganvae.training.engine import Engine
from ganvae.training.memory import keep_memory
from ganvae.training.processes import Processes
from ganvae.training.undo import Undo
from ganvae.types import Optim


def nets():
    torch.manual_seed(0)
    return {"a": nn.Linear(3, 2), "b": nn.Linear(2, 1)}


def make(nets, **optim):
    return Engine(nets, Optim(**optim), Processes("cpu"))


def weights(nets):
    return {f"{n}.{k}": v.clone() for n, m in nets.items() for k, v in m.state_dict().items()}


X = torch.ones(4, 3)


def test_different_losses_of_one_yield_are_differentiated_at_the_same_weights():
    made, before = nets(), weights(nets())

    def step():
        h = made["a"](X)
        y = made["b"](h)
        yield {"a": y.mean(), "b": -y.mean()}
        return {}

    make(made, lr=0.1, beta1=0.0, beta2=0.0).step([step()])
    up = torch.autograd.grad(
        nets()["b"](nets()["a"](X)).mean(), list(nets()["b"].parameters()), allow_unused=True
    )
    assert up is not None
    moved = weights(made)
    # with these betas Adam moves each weight by lr against its gradient's sign
    assert_close(moved["b.bias"], before["b.bias"] + 0.1)
    fresh = nets()
    gradient = torch.autograd.grad(fresh["b"](fresh["a"](X)).mean(), fresh["a"].weight)[0]
    assert_close(moved["a.weight"], before["a.weight"] - 0.1 * gradient.sign())


def test_a_simultaneous_step_copies_no_weights_and_makes_no_second_move():
    made = nets()
    engine = Engine(made, Optim(), Processes("cpu"), simultaneous=True)

    def step(moves, wrong=1.0):
        for _ in range(moves):
            yield dict.fromkeys("ab", wrong * made["b"](made["a"](X)).mean())
        return {}

    assert engine.step([step(1)]).ok
    before = weights(made)
    assert not engine.step([step(1, wrong=torch.nan)]).ok
    assert all(torch.equal(value, before[key]) for key, value in weights(made).items())
    assert not engine.undo._copies  # after the first step, which could not know
    with pytest.raises(AssertionError, match="makes another"):
        engine.step([step(2)])


@pytest.mark.parametrize("simultaneous", [True, False])
@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_one_micro_batch_that_is_not_finite_stops_all_networks(simultaneous, wrong):
    made = nets()
    engine = Engine(made, Optim(), Processes("cpu"), simultaneous=simultaneous)

    def step(micro):
        spoilt = torch.nan if micro == wrong else 1
        yield {"a": made["b"](made["a"](X)).mean() * (spoilt if simultaneous else 1)}
        if not simultaneous:
            yield {"b": made["b"](X[:, :2]).mean() * spoilt}
        return {}

    before = weights(made)
    outcome = engine.step([step(micro) for micro in range(3)])
    assert not outcome.ok and not outcome.moved
    assert all(torch.equal(value, before[key]) for key, value in weights(made).items())


def test_micro_batches_share_no_more_than_the_moves_do():
    """Each is differentiated before the next begins; what a later move needs is there."""
    made, order = nets(), []

    def step(micro):
        order.append(("begun", micro))
        h = made["a"](X * (micro + 1))
        h.register_hook(lambda _: order.append(("differentiated", micro)))
        yield {"b": made["b"](h.detach()).square().mean()}
        yield {"a": h.square().mean()}
        return {}

    engine = make(made, lr=0.1)
    assert engine.step([step(micro) for micro in range(2)]).ok
    assert order == [(what, k) for what in ("begun", "differentiated") for k in range(2)]
    one_move, order = Engine(made, Optim(), Processes("cpu"), simultaneous=True), []

    def single(micro):
        order.append(("begun", micro))
        h = made["a"](X * (micro + 1))
        h.register_hook(lambda _: order.append(("differentiated", micro)))
        yield dict.fromkeys("ab", made["b"](h).square().mean())
        order.append(("ended", micro))
        return {}

    assert one_move.step([single(micro) for micro in range(2)]).ok
    assert order == [(w, k) for k in range(2) for w in ("begun", "differentiated", "ended")]


def test_later_moves_see_earlier_ones():
    made, seen = nets(), []

    def step():
        for _ in range(3):
            seen.append(made["a"].weight.detach().clone())
            yield {"a": made["a"](X).sum()}
        return {}

    make(made, lr=0.1).step([step()])
    assert not torch.equal(seen[0], seen[1]) and not torch.equal(seen[1], seen[2])


def test_clipping_bounds_the_norm_and_reports_the_unclipped_one():
    made = nets()

    def step(scale):
        yield {"a": scale * made["a"](X).sum()}
        return {}

    engine = make(made, clip=0.5)
    outcome = engine.step([step(100.0)])
    gradients = torch.cat([p.grad.flatten() for p in made["a"].parameters()])
    assert_close(gradients.norm(), torch.tensor(0.5), rtol=1e-4, atol=1e-4)
    expected = 100 * torch.cat([torch.full((6,), 4.0), torch.full((2,), 4.0)]).norm()
    assert_close(outcome.norms["a"], expected)


def test_clipping_is_torchs_to_the_last_digit_above_the_limit_and_below():
    def step(made):
        yield {"a": made["a"](X).square().sum()}
        return {}

    def gradients(clip):
        made = nets()
        outcome = make(made, clip=clip).step([step(made)])
        return [p.grad for p in made["a"].parameters()], float(outcome.norms["a"])

    _, norm = gradients(0.0)
    for clip in (1e-5, 0.5 * norm, norm, norm + 5e-7, 1.0005 * norm, 2 * norm):
        made = nets()
        made["a"](X).square().sum().backward()
        nn.utils.clip_grad_norm_(made["a"].parameters(), clip)
        for mine, theirs in zip(gradients(clip)[0], made["a"].parameters()):
            assert torch.equal(mine, theirs.grad), clip


def test_freed_memory_is_kept(monkeypatch):
    for key in [key for key in os.environ if key.startswith("MALLOC_") or "TUNABLES" in key]:
        monkeypatch.delenv(key)
    if not keep_memory():
        pytest.skip("malloc is not glibc's")
    pages = 4 * 24 * 2**20 // resource.getpagesize()

    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [torch.zeros(6 * 2**20).fill_(1.0) for _ in range(4)]
        del blocks
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults()
    assert min(faults() for _ in range(5)) < 0.1 * pages  # other threads may take what was freed
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "100000")
    assert not keep_memory()  # who says something about it is not overruled


def test_weights_whose_channels_are_last_move_as_by_plain_adam():
    """Fused Adam goes along the memory, and would mix up a gradient that lies there otherwise."""

    def fresh():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(8, 16, 3), nn.ConvTranspose2d(16, 8, 3))
        return {"a": net.to(memory_format=torch.channels_last)}

    made, plain = fresh(), fresh()
    image = torch.randn(4, 8, 6, 6)  # not channels last

    def loss(net):
        layouts = sum(p.mT.square().sum() for p in net.parameters() if p.ndim == 4)
        return net(image).square().mean() + layouts

    def step(nets):
        yield {"a": loss(nets["a"])}
        return {}

    engine = make(made, lr=0.1)
    adam = torch.optim.Adam(plain["a"].parameters(), 0.1, (0.5, 0.99), foreach=False)
    for _ in range(3):
        engine.step([step(made)])
        adam.zero_grad()
        loss(plain["a"]).backward()
        adam.step()
    assert_close(weights(made), weights(plain))
    moments = {key: value.clone() for key, value in engine.state()["a"].items()}
    for index, entry in enumerate(adam.state.values()):
        assert_close(moments[f"{index}.exp_avg"], entry["exp_avg"])

    resumed = fresh()
    resumed["a"].load_state_dict(made["a"].state_dict())
    other = make(resumed, lr=0.1)
    other.load_state({"a": moments})
    engine.step([step(made)])
    other.step([step(resumed)])
    assert_close(weights(made), weights(resumed), rtol=0, atol=0)


def test_adam_copies_no_weight_whose_channels_are_last():
    net = nn.Conv2d(8, 16, 3).to(memory_format=torch.channels_last)
    engine, image = make({"a": net}), torch.randn(4, 8, 6, 6)

    def step():
        yield {"a": net(image).square().mean()}
        return {}

    engine.step([step()])
    profile, adam = torch.profiler.profile(), engine.optimisers["a"].torch
    adam.register_step_pre_hook(lambda *given: profile.start())
    adam.register_step_post_hook(lambda *given: profile.stop())
    engine.step([step()])
    assert all(p.grad is None for group in adam.param_groups for p in group["params"])
    done = {event.key for event in profile.key_averages()}
    assert "aten::_fused_adam_" in done and not done & {"aten::contiguous", "aten::clone"}


def test_the_rate_scales_the_learning_rate():
    paths = []
    for rate in (0.0, 0.5, 1.0):
        made = nets()

        def step(made=made):
            yield {"a": made["a"](X).sum()}
            return {}

        make(made, lr=0.2, beta1=0.0, beta2=0.0).step([step()], rate)
        paths.append((weights(nets())["a.bias"] - weights(made)["a.bias"]).mean())
    assert_close(torch.stack(paths), torch.tensor([0.0, 0.1, 0.2]), rtol=1e-4, atol=1e-6)


def test_optimisers_continue_where_they_were():
    def run(engine, made, count):
        for k in range(count):

            def step(k=k):
                yield {"a": (made["a"](X) * (k + 1)).square().sum()}
                return {}

            engine.step([step()])

    straight, stopped = nets(), nets()
    engine = make(straight, lr=0.1)
    run(engine, straight, 4)
    run(engine, straight, 3)
    engine = make(stopped, lr=0.1)
    run(engine, stopped, 4)
    again = make(stopped, lr=0.1)
    again.load_state({k: {n: t.clone() for n, t in v.items()} for k, v in engine.state().items()})
    run(again, stopped, 3)
    for key, value in weights(straight).items():
        assert torch.equal(value, weights(stopped)[key])


def test_undo_restores_and_copies_only_what_changed():
    a, b = torch.zeros(3), torch.ones(3)
    undo = Undo()
    undo.remember([a, b])
    a += 5
    undo.remember([a, b])
    a += 1
    b *= 7
    undo.restore()
    assert_close(a, torch.full((3,), 5.0))
    assert_close(b, torch.ones(3))


def test_decay_halves_a_weight_in_a_half_life():
    assert_close(decay(10**9, 64, 640) ** 10, 0.5)
    assert decay(0, 64, None) == 0.0
    assert_close(decay(10_000, 50, None), 0.5 ** (50 / 500))
    assert_close(decay(10**9, 64, None), 0.5 ** (64 / 500_000))


def test_the_average_follows_what_moved_and_hands_over():
    made = nets()
    average = Average(made)
    with torch.no_grad():
        for net in made.values():
            net.weight += 1.0
    before = weights(average.nets)
    average.update(["a"], 0.75)
    after = weights(average.nets)
    assert_close(after["a.weight"], before["a.weight"] + 0.25)
    assert torch.equal(after["b.weight"], before["b.weight"])
    average.hand_over(made)
    assert all(torch.equal(v, after[k]) for k, v in weights(made).items())
    assert not any(p.requires_grad for net in average.nets.values() for p in net.parameters())
