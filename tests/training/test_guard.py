"""Skipping, going back, and alarms: row T17 of the fault list."""

import math

import pytest
import torch
from torch import nn

from ganvae.training.guard import Alarms, Guard, diversity, fingerprint


def test_single_bad_steps_are_skipped_for_ever():
    guard = Guard()
    for _ in range(100):
        assert [guard.step(ok) for ok in (True, False, False)] == ["ok", "skip", "skip"]
    assert guard.step(True) == "ok"


def test_three_in_a_row_go_back_twice_then_stop():
    guard = Guard()
    verdicts = [guard.step(False) for _ in range(9)]
    assert verdicts == ["skip", "skip", "rollback"] * 2 + ["skip", "skip", "stop"]


def test_a_guard_continues_from_its_state():
    guard, other = Guard(), Guard()
    for _ in range(4):
        guard.step(False)
    other.load_state(guard.state())
    assert [other.step(False) for _ in range(2)] == ["skip", "rollback"]
    assert [other.step(False) for _ in range(3)] == ["skip", "skip", "stop"]


REALS = torch.randn(64, 1, 4, 4, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)


def healthy(step: int) -> dict[str, float]:
    """Scalars like those of a healthy GAN: the game swings, an occasional step has a penalty."""
    wave = math.sin(step / 7)
    return {
        "loss/discriminator": 0.5 + 0.3 * wave + (80.0 if step % 8 == 0 else 0.0),
        "loss/generator": 1.0 + step / 200 + wave,
        "real_logit": 2 + wave,
        "fake_logit": 0.5 - 0.4 * wave,
        "kl": 1e9,
    }


def alarms(change=None, *, every=10, steps=400, sample=None, nets=None) -> list[tuple[int, str]]:
    watch, told = Alarms(REALS), []
    for step in range(1, steps + 1):
        if step == 1 or step % every == 0:
            scalars = healthy(step) | (change(step) if change else {})
            told += [(step, text) for text in watch.observe(step, scalars, sample, nets)]
    return told


@pytest.mark.parametrize("every", [1, 10, 50])
def test_a_healthy_run_gives_none(every):
    assert alarms(every=every, steps=3000, sample=REALS[:16] * 0.2) == []


@pytest.mark.parametrize("every", [1, 10, 50])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda n: {"loss/generator": 10.0**n if n < 300 else math.nan}, "generator's loss"),
        (lambda n: {"loss/generator": 1.0 if n == 1 else 2e4}, "generator's loss"),
        (lambda n: {"real_logit": 0.3, "fake_logit": 0.3}, "not told reals"),
        (lambda n: {"real_logit": -0.02, "fake_logit": 0.4}, "not told reals"),
        (lambda n: {"real_logit": 15.0, "fake_logit": -25.0}, "told every real"),
        (lambda n: {"real_logit": 1e5, "fake_logit": 9e4 * (1 + n % 2)}, "logits have been huge"),
    ],
)
def test_what_goes_wrong_is_told_within_200_steps(change, words, every):
    told = alarms(change, every=every)
    assert told and told[0][0] <= 200 and words in " ".join(text for _, text in told)
    assert len({text for _, text in told}) == len(told)
    assert len(told) <= 3


def test_samples_that_are_all_alike_are_told():
    constant = REALS[:1].expand(16, -1, -1, -1) + 1e-4 * torch.randn(16, 1, 4, 4)
    told = alarms(sample=constant)
    assert len(told) == 1 and told[0][0] <= 200 and "collapsed" in told[0][1]
    assert alarms(sample=REALS[:16] * 0.03) == []


def test_an_explosion_that_passes_is_told_too():
    told = alarms(lambda n: {"loss/encoder": 5.0 if n < 10 or n > 50 else 1e5})
    assert len(told) == 1 and "encoder" in told[0][1] and told[0][0] <= 50


def test_a_network_that_does_not_move_is_told():
    still, moving = nn.Linear(2, 2), nn.Linear(2, 2)

    def move(_step):
        moving.weight.data += 1e-3
        return {}

    told = alarms(move, nets={"discriminator": still, "generator": moving})
    assert [text for _, text in told] == [told[0][1]]
    assert "discriminator has not moved" in told[0][1] and told[0][0] <= 200


def test_an_alarm_is_told_again_only_after_it_was_long_over():
    def blind(during):
        return lambda n: {"real_logit": 0.0, "fake_logit": 0.0} if during(n) else {}

    flicker = alarms(blind(lambda n: n % 100 != 50), every=10, steps=2000)
    assert flicker == []  # never lasts
    short = alarms(blind(lambda n: n % 200 > 20), every=10, steps=2000)
    assert len(short) == 1  # over for 20 steps only
    long = alarms(blind(lambda n: n % 1000 < 500), every=10, steps=2000)
    assert len(long) == 2


def test_networks_without_parameters_are_left_alone():
    assert alarms(nets={"prior": nn.Identity()}) == []


def test_diversity_is_the_spread_of_pixels_over_images():
    images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 2, 2)
    assert diversity(images) == pytest.approx(math.sqrt(0.5))
    assert diversity(images[:1].expand(4, -1, -1, -1)) == 0


def test_a_fingerprint_changes_with_the_weights():
    net = nn.Linear(2, 2)
    before = fingerprint(net)
    assert fingerprint(net) == before
    net.bias.data[0] += 1e-6
    assert fingerprint(net) != before
