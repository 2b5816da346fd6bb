"""Auxiliary variables: their densities against brute-force integration in one dimension each."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal
from torch.testing import assert_close

from ganvae.config import Networks
from ganvae.networks import zoo
from ganvae.networks.auxiliary import AuxiliaryEncoder, AuxiliaryPrior, Correction, shares
from ganvae.networks.prior import MixturePrior, NormalPrior
from ganvae.types import Noise, Posterior, Shape

KINDS = ("auxiliary_encoder", "generated_auxiliary_encoder")
LINE = torch.linspace(-9, 9, 361, dtype=torch.float64)
STEP = (LINE[1] - LINE[0]).item()


def stirred(net, scale=0.3):
    """In float64, with weights that start at zero made to count."""
    net = net.double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return net


def encoder(generated=False, latent=1):
    torch.manual_seed(4)
    shape = Shape(channels=1, height=2, width=2, latent=latent)
    body = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh())
    return stirred(AuxiliaryEncoder(shape, body, 3, hidden=8, generated=generated))


class Grid:
    """Random numbers that are a grid: all pairs of the numbers asked for first and second."""

    def __init__(self, line):
        self.numbers = list(torch.meshgrid(line, line, indexing="ij"))

    def normal(self, size):
        assert size == 1
        return self.numbers.pop(0).reshape(-1, 1)


def over_the_grid(posterior):
    """z and log q of every pair of numbers, (N,), and each pair's probability, (N,)."""
    with torch.no_grad():
        z, log_q = posterior.draw(Grid(LINE))
    standard = Normal(0.0, 1.0).log_prob(LINE).exp() * STEP
    return z, log_q, torch.outer(standard, standard).flatten()


def q_of_image(n=1, generated=False, latent=1):
    """The same posterior n times."""
    image = torch.tensor([[[[0.3, -0.8], [0.5, 1.0]]]], dtype=torch.float64)
    with torch.no_grad():
        return encoder(generated, latent)(image.expand(n, -1, -1, -1))


def test_a_correction_starts_as_none():
    torch.manual_seed(0)
    head, h, a = Correction(4, 2, 3, 16), torch.randn(5, 4), torch.randn(5, 2)
    q = Posterior(torch.randn(5, 3), torch.randn(5, 3))
    assert_close(head(q, h, a).mean, q.mean, rtol=0, atol=0)
    assert_close(head(q, h, a).logvar, q.logvar, rtol=0, atol=0)
    stirred(head).float()
    assert (head(q, h, a).mean - head(q, h, a + 1).mean).abs().max() > 1e-3


def test_an_auxiliary_variable_costs_nothing_to_begin_with():
    torch.manual_seed(0)
    shape = Shape(channels=1, height=2, width=2, latent=2)
    fresh = AuxiliaryEncoder(shape, nn.Flatten(), 4, hidden=8)
    q = fresh(torch.randn(6, 1, 2, 2))
    numbers = Noise(3, total=6)
    a_then_z = numbers.normal(2), numbers.normal(2)
    z, log_q = q.draw(Noise(3, total=6))
    plain = fresh.heads.latent(q.features)
    assert_close(z, plain.mean + plain.std * a_then_z[1])
    assert_close(log_q, plain.log_prob(z))


def test_draw_is_the_ratio_of_the_papers_densities():
    n = 6
    wide = q_of_image(n)
    z, log_q = wide.draw(Noise(3, total=n, dtype=torch.float64))
    numbers = Noise(3, total=n, dtype=torch.float64)

    def normal(p):
        return Independent(Normal(p.mean, (p.logvar / 2).exp()), 1)

    a = wide.auxiliary.mean + (wide.auxiliary.logvar / 2).exp() * numbers.normal(1)
    given = wide.heads.given(wide.features, a)
    assert_close(z, given.mean + (given.logvar / 2).exp() * numbers.normal(1))
    back = wide.heads.back(wide.auxiliary, wide.features, z)
    expected = normal(wide.auxiliary).log_prob(a) + normal(given).log_prob(z)
    assert_close(log_q, expected - normal(back).log_prob(a))


def test_weights_by_draw_integrate_any_density_of_z_to_one():
    """E g(z) p(a|x,z) / q(a|x) q(z|a,x) = ∫ g(z) dz, whatever p(a|x,z) is."""
    z, log_q, share = over_the_grid(q_of_image(len(LINE) ** 2))
    middle = (share[:, None] * z).sum().item()
    g = Normal(middle, 0.5).log_prob(z[:, 0])
    assert (share * (g - log_q).exp()).sum().item() == pytest.approx(1, abs=1e-4)


def test_what_a_costs_the_bound_is_never_negative():
    """E log q of draw − E log q(z|x) = KL(q(a|z,x) ‖ p(a|x,z)), with q(z|x) by integration."""
    z, log_q, share = over_the_grid(q_of_image(len(LINE) ** 2))
    q = q_of_image(len(LINE))
    with torch.no_grad():
        given = q.heads.given(q.features, q.auxiliary.mean + q.auxiliary.std * LINE[:, None])
    log_a = (Normal(0.0, 1.0).log_prob(LINE) + math.log(STEP))[:, None]
    some = slice(0, None, 37)
    each = Normal(given.mean, given.std).log_prob(z[some].T) + log_a
    gap = share[some] * (log_q[some] - each.logsumexp(0))
    assert gap.sum() > 1e-3 * share[some].sum()


def test_a_generated_pair_has_the_density_it_is_drawn_with():
    q = q_of_image(len(LINE) ** 2, generated=True, latent=2)
    pair, log_q, share = over_the_grid(q)
    g = Normal(q.mean[0], 0.7 * q.std[0]).log_prob(pair).sum(1)
    assert (share * (g - log_q).exp()).sum().item() == pytest.approx(1, abs=1e-4)


def tiny_prior(classes=0, first=None):
    torch.manual_seed(5)
    return stirred(AuxiliaryPrior(first or NormalPrior(1), 1, classes=classes, hidden=6))


@pytest.mark.parametrize("classes", [0, 3])
def test_the_prior_of_pairs_is_a_density_and_is_what_is_sampled(classes):
    prior = tiny_prior(classes)
    pairs = torch.cartesian_prod(LINE, LINE)
    n = 200_000
    told = (lambda k: (torch.full((k,), 2),)) if classes else (lambda k: ())
    with torch.no_grad():
        density = prior.log_prob(pairs, *told(len(pairs))).exp() * STEP**2
        found = prior.sample(Noise(1, total=n, dtype=torch.float64), *told(n))
    assert density.sum().item() == pytest.approx(1, abs=1e-3)
    for of in (lambda p: p, lambda p: p.square(), lambda p: p.prod(1, keepdim=True)):
        assert_close(of(found).mean(0), density @ of(pairs), rtol=0.03, atol=0.02)


def test_fitting_the_prior_of_pairs_fits_its_first_part_alone():
    prior = tiny_prior(first=MixturePrior(1, components=2))
    before = {k: v.clone() for k, v in prior.named_parameters()}
    torch.manual_seed(0)
    pairs = torch.cat([3 + torch.randn(500, 1), 9 * torch.ones(500, 1)], 1).double()
    prior.fit(pairs)
    assert all(torch.equal(v, before[k]) for k, v in prior.named_parameters())
    assert prior.sample(Noise(1, total=500))[:, 0].mean().item() == pytest.approx(3, abs=0.3)


@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_temperature_scales_both_spreads(temperature):
    prior = tiny_prior()
    with torch.no_grad():
        made = prior.sample(Noise(1, total=4, dtype=torch.float64), temperature=temperature)
        z = temperature * Noise(1, total=4, dtype=torch.float64).normal(1)
        p = prior.auxiliary(prior.body(z))
    assert_close(made[:, :1], z)
    close = (made[:, 1:] - p.mean).abs()
    assert close.max() == 0 if temperature == 0 else (close > 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["residual", "mlp"])
@pytest.mark.parametrize("classes", [0, 3])
def test_the_zoo_builds_encoders_and_the_prior_that_fits_them(kind, family, classes):
    torch.manual_seed(0)
    shape = Shape(channels=3, height=16, width=16, latent=5, classes=classes)
    config = Networks(family=family, width=8, prior="normal")
    told = (torch.tensor([0, 2, 1, 2]),) if classes else ()
    q = zoo.build(kind, config, shape)(Noise(1, total=4).normal(3, 16, 16), *told)
    z, log_q = q.draw(Noise(2, total=4))
    assert z.shape == q.mean.shape == q.logvar.shape == (4, 5) and log_q.shape == (4,)
    assert zoo.build("auxiliary_prior", config, shape)(z, *told).shape == (4,)
    both = Posterior.cat([q.rows(slice(0, 1)), q.rows(slice(1, 4))])
    assert_close(both.draw(Noise(2, total=4))[1], log_q)


def test_one_dimension_is_not_enough_for_two():
    assert shares(5) == (3, 2)
    with pytest.raises(ValueError, match="2 latent dimensions"):
        encoder(generated=True, latent=1)
    with pytest.raises(NotImplementedError, match="draw"):
        q_of_image().log_prob(torch.zeros(1, 1))
