"""Losses against torch.distributions, hand-computed numbers and finite differences."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from ganvae.losses.adversarial import (
    Adversary,
    games,
    hinge,
    least_squares,
    nonsaturating,
    relativistic,
)
from ganvae.losses.divergence import kl
from ganvae.losses.penalty import zero_centred
from ganvae.losses.reconstruction import squared
from ganvae.types import Clock, Noise, Posterior, mix

REAL, FAKE = torch.tensor([2.0, -0.5]), torch.tensor([-1.0, 0.25])


def posterior(batch=5, latent=3):
    noise = Noise(7, total=batch)
    return Posterior(noise.normal(latent), 0.5 * noise.normal(latent))


def test_kl_is_that_of_torch_distributions():
    q = posterior()
    expected = kl_divergence(Normal(q.mean, q.std), Normal(0.0, 1.0)).sum(1).mean()
    assert_close(kl(q), expected)


def test_free_bits_cost_a_dimension_at_least_that_much():
    q = posterior()
    by_dimension = kl_divergence(Normal(q.mean, q.std), Normal(0.0, 1.0)).mean(0)
    assert_close(kl(q, free_bits=0.3), by_dimension.clamp(min=0.3).sum())
    assert_close(kl(Posterior(torch.zeros(4, 3), torch.zeros(4, 3)), 0.25), torch.tensor(0.75))


def test_posterior_log_prob_is_that_of_torch_distributions():
    q = posterior()
    z = q.rsample(Noise(1, total=5))
    assert_close(q.log_prob(z), Normal(q.mean, q.std).log_prob(z).sum(1))


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_squared_sums_a_sample_and_averages_the_batch(a, b):
    x = torch.zeros(2, 3, 2, 2)
    x_hat = torch.stack([torch.full((3, 2, 2), a), torch.full((3, 2, 2), b)])
    expected = 12 * (a * a + b * b) / 2
    assert math.isclose(float(squared(x_hat, x)), expected, rel_tol=1e-4, abs_tol=1e-6)


def softplus(x):
    return math.log1p(math.exp(x))


def test_games_are_what_the_papers_say():
    expected = (softplus(-2.0) + softplus(0.5)) / 2 + (softplus(-1.0) + softplus(0.25)) / 2
    assert_close(nonsaturating.discriminator(REAL, FAKE), torch.tensor(expected))
    expected = (softplus(1.0) + softplus(-0.25)) / 2
    assert_close(nonsaturating.generator(FAKE, REAL), torch.tensor(expected))
    assert_close(hinge.discriminator(REAL, FAKE), torch.tensor((0 + 1.5) / 2 + (0 + 1.25) / 2))
    assert_close(hinge.generator(FAKE, REAL), torch.tensor(0.375))
    expected = (softplus(-3.0) + softplus(0.75)) / 2
    assert_close(relativistic.discriminator(REAL, FAKE), torch.tensor(expected))
    expected = (softplus(3.0) + softplus(-0.75)) / 2
    assert_close(relativistic.generator(FAKE, REAL), torch.tensor(expected))
    D = (1 + torch.stack([REAL, FAKE])) / 2  # the paper's targets are 1 and 0
    expected = ((D[0] - 1) ** 2 + D[1] ** 2).mean()
    assert_close(least_squares.discriminator(REAL, FAKE), expected)
    assert_close(least_squares.generator(FAKE, REAL), ((D[1] - 1) ** 2).mean())


@pytest.mark.parametrize("name", games)
def test_the_players_pull_a_fakes_logit_in_opposite_directions(name):
    game = games[name]
    fake = FAKE.clone().requires_grad_()
    (up,) = torch.autograd.grad(game.discriminator(REAL, fake), fake)
    (down,) = torch.autograd.grad(game.generator(fake, REAL), fake)
    assert (up >= 0).all() and (down <= 0).all() and up.sum() > 0 and down.sum() < 0


def small_discriminator():
    torch.manual_seed(0)
    flat = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(8, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1)
    ).double()
    return flat, lambda x: flat(x).squeeze(1)


def test_penalty_is_the_squared_gradient_by_finite_differences():
    _, D = small_discriminator()
    x = torch.randn(3, 2, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    total, h = 0.0, 1e-6
    for index in range(8):
        shift = torch.zeros(8, dtype=torch.float64)
        shift[index] = h
        shift = shift.view(1, 2, 2, 2)
        total = total + ((D(x + shift) - D(x - shift)) / (2 * h)) ** 2
    assert_close(zero_centred(D, x), total.mean().detach(), rtol=1e-6, atol=1e-9)


def test_penaltys_weight_gradient_is_right_by_finite_differences():
    net, D = small_discriminator()
    x = torch.randn(3, 2, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weight, h = net[1].weight, 1e-6
    (gradient,) = torch.autograd.grad(zero_centred(D, x), weight)
    with torch.no_grad():
        weight[2, 3] += h
    above = zero_centred(D, x)
    with torch.no_grad():
        weight[2, 3] -= 2 * h
    below = zero_centred(D, x)
    assert_close(gradient[2, 3], ((above - below) / (2 * h)).detach(), rtol=1e-5, atol=1e-8)


def test_lazy_penalties_have_the_weight_of_the_steps_left_out():
    _, D = small_discriminator()
    noise = Noise(3, total=4, dtype=torch.float64)
    x, x_hat = noise.normal(2, 2, 2), noise.normal(2, 2, 2)
    adversary = Adversary(gamma=0.7, every=4)
    bare = Adversary(gamma=0.0)
    plain = bare.discriminator(D, x, x_hat, Clock(step=0)).loss
    lazy = [adversary.discriminator(D, x, x_hat, Clock(step=s)).loss - plain for s in range(4)]
    expected = 4 * 0.7 / 2 * (zero_centred(D, x) + zero_centred(D, x_hat))
    assert_close(lazy[0], expected)
    assert all(abs(extra.item()) < 1e-12 for extra in lazy[1:])


def test_a_discriminators_loss_moves_no_generator():
    _, D = small_discriminator()
    fake = torch.zeros(2, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    real = torch.ones(2, 2, 2, 2, dtype=torch.float64)
    Adversary().discriminator(D, real, fake, Clock()).loss.backward()
    assert fake.grad is None


def test_noise_of_parts_is_the_noise_of_the_whole():
    whole = Noise(5, 9, total=6)
    parts = [Noise(5, 9, total=6, rows=slice(i, i + 2)) for i in (0, 2, 4)]
    for shape in ((3,), (2, 2)):
        expected = whole.normal(*shape)
        assert_close(torch.cat([part.normal(*shape) for part in parts]), expected, rtol=0, atol=0)
    expected = whole.uniform(2)
    assert_close(torch.cat([part.uniform(2) for part in parts]), expected, rtol=0, atol=0)
    assert not torch.equal(Noise(5, 9, total=6).normal(3), Noise(9, 5, total=6).normal(3))


def test_every_other_row_is_every_other_row():
    expected = Noise(5, total=6).normal(3)[0::2]
    assert_close(Noise(5, total=6).every(2).normal(3), expected, rtol=0, atol=0)


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=4, unique=True))
def test_mixed_seeds_depend_on_every_part_and_its_place(parts):
    assert 0 <= mix(*parts) < 2**63
    assert mix(*parts) != mix(*parts, 0)
    if len(parts) > 1:
        assert mix(*parts) != mix(*parts[::-1])
