"""The weight of a game against a reconstruction, the pyramid, and games on parts of an image."""

import pytest
import torch
from torch.nn.functional import relu
from torch.testing import assert_close

from ganvae.losses.adversarial import Adversary, games
from ganvae.losses.balance import Balance, last_layer, ratio
from ganvae.losses.perceptual import absolute, perceptual, pyramid
from ganvae.types import Clock, Noise


def images(seed, n=3, side=16):
    return Noise(seed, total=n, dtype=torch.float64).normal(2, side, side)


def test_the_ratio_is_that_of_the_two_gradients_norms():
    w = torch.tensor([[1.0, -2.0]], requires_grad=True)
    reconstruction, gan = (
        (w * torch.tensor([3.0, 4.0])).sum(),
        (w * torch.tensor([0.0, 2.0])).sum(),
    )
    found = ratio(reconstruction, gan, w)
    assert_close(found, torch.tensor(5 / (2 + 1e-6)))
    assert not found.requires_grad


def test_the_ratio_is_bounded_and_in_full_precision():
    w = torch.ones(4, dtype=torch.bfloat16, requires_grad=True)
    found = ratio((300 * w).sum(), 0 * w.sum(), w, limit=7.0)
    assert found.dtype == torch.float32 and found == 7
    assert_close(ratio((3 * w).sum(), (7 * w).sum(), w), torch.tensor(6 / (14 + 1e-6)))


def test_after_weighing_the_two_gradients_have_the_ratio_w():
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    last = last_layer(net)
    assert last is net[2].weight
    out = net(torch.ones(5, 3))
    reconstruction, gan = out.square().sum(), out[:, 0].exp().mean()
    weighed = Balance(weight=0.3, adaptive=True).weigh(gan, reconstruction, 99, last)
    (a,) = torch.autograd.grad(reconstruction, last, retain_graph=True)
    (b,) = torch.autograd.grad(weighed, last)
    assert_close(b.norm(), 0.3 * a.norm(), rtol=1e-4, atol=0)


def test_a_fixed_weight_counts_once_for_each_value():
    gan = torch.tensor(-2.0)
    assert_close(Balance(weight=0.1).weigh(gan, gan, 1024, gan), torch.tensor(-204.8))


def test_the_game_starts_late():
    assert not Balance(start=0.2).playing(Clock(progress=0.19))
    assert Balance(start=0.2).playing(Clock(progress=0.2))


def test_hinge_on_parts_is_the_mean_over_the_parts():
    real, fake = images(1).flatten(1, 2), images(2).flatten(1, 2)
    samples = [relu(1 - r).mean() + relu(1 + f).mean() for r, f in zip(real, fake)]
    expected = torch.stack(samples).mean()
    assert_close(games["hinge"].discriminator(real, fake), expected)
    of_means = relu(1 - real.flatten(1).mean(1)) + relu(1 + fake.flatten(1).mean(1))
    assert not torch.isclose(of_means.mean(), expected)


@pytest.mark.parametrize("game", games)
def test_logits_of_parts_that_are_alike_count_as_one(game):
    one = [torch.tensor([0.3, -2.0]), torch.tensor([1.5, 0.1])]
    parts = [logit[:, None, None].expand(2, 3, 5) for logit in one]
    for player in games[game]:
        assert_close(player(*parts), player(*one))


def test_penalties_are_on_a_samples_mean_logit():
    def parts(x):
        return x.square().mean(1)  # (B, H, W)

    def whole(x):
        return parts(x).flatten(1).mean(1)

    adversary, now = Adversary(game="hinge", gamma=2.0, every=1), Clock()
    with_parts = adversary.discriminator(parts, images(1), images(2), now).loss
    without = Adversary(game="hinge", gamma=0).discriminator(parts, images(1), images(2), now).loss
    x, y = (image.requires_grad_() for image in (images(1), images(2)))
    gradients = torch.autograd.grad(whole(x).sum() + whole(y).sum(), (x, y))
    expected = sum(g.square().flatten(1).sum(1).mean() for g in gradients)
    assert_close(with_parts - without, expected)


def test_a_pyramid_counts_every_level_as_the_image():
    x = images(1)
    assert pyramid(x, x) == 0
    flat = torch.full_like(x, 0.25)
    assert_close(pyramid(x + flat, x), absolute(x + flat, x))  # all of it is in the coarsest level
    assert_close(perceptual(x + flat, x, 0.5), 1.5 * absolute(x + flat, x))
    assert_close(perceptual(x + flat, x, 0), absolute(x + flat, x))


def test_a_pyramid_minds_a_shade_more_than_a_grain_of_the_same_size():
    x, grain = torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16)
    grain[..., ::2, ::2], grain[..., 1::2, 1::2] = -1, -1
    assert_close(absolute(x + grain, x), torch.tensor(256.0))
    assert_close(pyramid(x + grain, x), torch.tensor(256.0))  # in the finest level alone
    edge = torch.ones(1, 1, 16, 16)
    edge[..., :5] = -1
    assert pyramid(x + edge, x) > 256
    # against one per level by hand: 16 and 8 px wide bands, then 4 px of means
    again = torch.nn.functional.interpolate(
        torch.nn.functional.avg_pool2d(edge, 2), scale_factor=2, mode="bilinear"
    )
    coarse = torch.nn.functional.avg_pool2d(edge, 2)
    coarser = torch.nn.functional.avg_pool2d(coarse, 2)
    twice = torch.nn.functional.interpolate(coarser, scale_factor=2, mode="bilinear")
    expected = (edge - again).abs().sum() + 4 * (coarse - twice).abs().sum()
    assert_close(pyramid(edge, x), expected + 16 * coarser.abs().sum())
