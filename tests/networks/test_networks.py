"""Shapes, sizes and ranges of the networks, and what keeps samples apart."""

import pytest
import torch
from torch.distributions import Bernoulli, Normal
from torch.testing import assert_close

from ganvae.config import Networks
from ganvae.networks import mlp, zoo
from ganvae.networks.likelihood import LEVELS, Likelihood
from ganvae.networks.residual import Residual, Tanh, levels
from ganvae.types import Noise, Shape


def shape(side, channels=1):
    return Shape(channels=channels, height=side, width=side, latent=6)


@pytest.mark.parametrize("family", ["residual", "mlp"])
@pytest.mark.parametrize("side", [16, 28, 32, 48, 64])
def test_every_role_has_the_shapes_it_promises(family, side):
    config, made = Networks(family=family, width=8), shape(side, 3)
    x = Noise(1, total=2).uniform(3, side, side) * 2 - 1
    roles = ("encoder", "decoder", "generator", "discriminator")
    nets = {role: zoo.build(role, config, made) for role in roles}
    q = nets["encoder"](x)
    assert q.mean.shape == q.logvar.shape == (2, 6)
    for role in ("decoder", "generator"):
        image = nets[role](q.mean)
        assert image.shape == x.shape and image.abs().max() <= 1
    logit, features = nets["discriminator"](x, features=True)
    assert logit.shape == (2,) and features.shape[0] == 2 and features.ndim == 2
    assert_close(nets["discriminator"](x), logit)


@pytest.mark.slow
def test_256_pixels():
    made, config = shape(256, 3), Networks(width=8)
    x = torch.zeros(1, 3, 256, 256)
    q = zoo.build("encoder", config, made)(x)
    assert zoo.build("decoder", config, made)(q.mean).shape == x.shape


@pytest.mark.parametrize("side", [8, 50, 66, 2048])
def test_sizes_that_do_not_fit_are_refused_in_one_sentence(side):
    with pytest.raises(ValueError, match="px"):
        levels(side)


def test_a_refused_size_names_one_that_fits():
    with pytest.raises(ValueError, match="try 56 px"):
        levels(50)
    assert levels(56) == 3


def test_the_articles_layers_are_the_articles():
    made = Shape(channels=1, height=28, width=28, latent=10)

    def sizes(net):
        linear = [m for m in net.modules() if isinstance(m, torch.nn.Linear)]
        return [linear[0].in_features, *(m.out_features for m in linear)]

    assert sizes(mlp.Encoder(made)) == [784, 128, 64, 32, 20]
    assert sizes(mlp.Decoder(made)) == [10, 32, 64, 128, 784]
    generator = zoo.build("generator", Networks(family="mlp"), made)
    assert sizes(generator) == [10, 128, 64, 32, 784]
    assert sizes(mlp.Discriminator(made)) == [784, 32, 64, 128, 1]


@pytest.mark.parametrize("role", ["encoder", "decoder", "discriminator"])
def test_no_sample_sees_another(role):
    torch.manual_seed(0)
    net = zoo.build(role, Networks(width=8), shape(32)).train()
    row = (6,) if role == "decoder" else (1, 32, 32)
    x = Noise(1, total=4).normal(*row)

    def run(x):
        out = net(x)
        return out.mean if role == "encoder" else out

    changed = x.clone()
    changed[1:] = 3.0
    assert_close(run(x)[0], run(changed)[0], rtol=1e-5, atol=1e-6)


def test_a_discriminator_has_no_normalisation():
    net = zoo.build("discriminator", Networks(width=8), shape(32))
    kinds = (torch.nn.GroupNorm, torch.nn.BatchNorm2d, torch.nn.LayerNorm)
    assert not any(isinstance(m, kinds) for m in net.modules())


@pytest.mark.parametrize("normalise", [True, False])
def test_a_block_leaves_its_input_alone_and_computes_what_it_says(normalise):
    torch.manual_seed(0)
    block = Residual(8, normalise)
    torch.nn.init.normal_(block.conv2.weight, std=0.1)
    x = torch.randn(2, 8, 4, 4, requires_grad=True)
    before = x.detach().clone()
    act = torch.nn.functional.leaky_relu
    h = block.conv1(act(block.norm1(x), 0.2))
    expected = x + block.conv2(act(block.norm2(h), 0.2))
    y = block(x * 1.0)
    assert torch.equal(y, expected) and torch.equal(x, before)
    for create_graph in (False, True):  # the second one as gradient penalties ask for it
        (mine,), (theirs,) = (
            torch.autograd.grad(of.square().sum(), x, create_graph=True) for of in (y, expected)
        )
        assert torch.equal(mine, theirs)
        if create_graph:
            again = [torch.autograd.grad(g.square().sum(), x)[0] for g in (mine, theirs)]
            assert_close(again[0], again[1])


def test_gaussian_likelihood_is_that_of_torch_distributions():
    noise = Noise(2, total=3)
    x_hat, x = noise.uniform(1, 4, 4) * 2 - 1, noise.uniform(1, 4, 4) * 2 - 1
    expected = Normal(x_hat, 0.3).log_prob(x).flatten(1).sum(1)
    assert_close(Likelihood("gaussian", 0.3)(x_hat, x), expected)


def test_bernoulli_likelihood_is_that_of_torch_distributions():
    noise = Noise(2, total=3)
    p, x = noise.uniform(1, 4, 4), (noise.uniform(1, 4, 4) > 0.5).float()
    expected = Bernoulli(p.clamp(1e-6, 1 - 1e-6)).log_prob(x).flatten(1).sum(1)
    assert_close(Likelihood("bernoulli")(2 * p - 1, 2 * x - 1), expected)


def test_a_pixel_that_is_wholly_wrong_has_a_slope():
    h = torch.tensor([[3.0, 3.6, 5.0, 7.0, 30.0]], requires_grad=True)
    for dtype in (torch.float32, torch.bfloat16):
        x_hat = Tanh()(h.to(dtype))
        assert x_hat.dtype == torch.float32
        (-Likelihood("bernoulli")(x_hat, -torch.ones(1, 5))).sum().backward()
        assert_close(h.grad[:, :3], torch.full((1, 3), 2.0), rtol=0.03, atol=0)
        assert (h.grad[:, :4] > 0.5).all()
        h.grad = None
    double = torch.zeros(2, dtype=torch.float64)
    assert Tanh()(double).dtype == torch.float64


@pytest.mark.parametrize("scale", [0.003, 0.05, 1.0])
def test_the_discretised_logistics_levels_sum_to_one(scale):
    values = torch.linspace(-1, 1, LEVELS + 1).view(-1, 1, 1, 1)
    for centre in (-1.0, -0.3, 0.99):
        log_p = Likelihood("logistic", scale)(torch.full_like(values, centre), values)
        assert_close(log_p.exp().sum(), torch.tensor(1.0), rtol=2e-4, atol=2e-4)


def test_the_fitted_scale_is_the_gaussians_best():
    noise = Noise(2, total=3)
    x_hat, x = noise.uniform(1, 4, 4), noise.uniform(1, 4, 4)
    best = Likelihood("gaussian")
    best.fit_scale(x_hat, x)
    (gradient,) = torch.autograd.grad(best(x_hat, x).sum(), best.log_scale)
    assert abs(float(gradient)) < 1e-3
    assert_close(best.log_scale.exp() ** 2, (x - x_hat).square().mean())
