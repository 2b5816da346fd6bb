import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from ganvae.metrics import bound


def evidence(model, x):
    """log p(x) of the linear-Gaussian model in closed form: N(0, W Wᵀ + σ² I)."""
    w = model.matrix.double()
    covariance = w @ w.T + model.sigma**2 * torch.eye(len(w), dtype=torch.float64)
    zero = torch.zeros(len(w), dtype=torch.float64)
    return MultivariateNormal(zero, covariance).log_prob(x.flatten(1).double())


@pytest.fixture
def x(kit):
    return kit.pictures(12, 3, side=3)


@pytest.fixture
def exact(kit, x):
    """One latent dimension, so that the encoder's diagonal Gaussian is the true posterior."""
    return kit.Coder(x, latent=1, kind="logistic")  # scored as it is, without dequantising


def test_both_bounds_are_tight_with_the_true_posterior(exact, x):
    found = bound.bounds(exact, x, 5)
    truth = evidence(exact, x)
    assert torch.allclose(found.elbo, truth, atol=1e-3)
    assert torch.allclose(found.iwae, truth, atol=1e-3)


def test_bounds_are_ordered_with_a_wrong_posterior(kit, x):
    model = kit.Coder(x, latent=3, kind="logistic")
    model.logvar = 0.5
    truth = evidence(model, x)
    few, many = (bound.bounds(model, x, k) for k in (3, 400))
    assert (few.elbo <= few.iwae + 1e-9).all()
    assert many.elbo.mean() < few.iwae.mean() < many.iwae.mean() < truth.mean() + 0.05
    assert (truth - many.iwae).abs().max() < 0.5 < (truth - many.elbo).mean() + 0.3


def test_elbo_is_likelihood_minus_kl(kit, x):
    """Against torch.distributions, with many samples."""
    model = kit.Coder(x, latent=3, kind="logistic")
    model.logvar = 0.3
    q = model.encode(x)
    posterior = torch.distributions.Normal(q.mean, q.std)
    prior = torch.distributions.Normal(torch.zeros(3), torch.ones(3))
    kl = torch.distributions.kl_divergence(posterior, prior).sum(1)
    w = model.matrix
    residual = x.flatten(1) - q.mean @ w.T
    variance = (q.std**2) @ (w**2).sum(0)
    d, s2 = w.shape[0], model.sigma**2
    given = -0.5 * (residual.square().sum(1) + variance) / s2
    given -= d * (math.log(model.sigma) + 0.5 * math.log(2 * math.pi))
    found = bound.bounds(model, x, 3000)
    assert torch.allclose(found.elbo.float(), given - kl, atol=0.35)
    assert float((found.elbo.float() - given + kl).mean()) == pytest.approx(0, abs=0.1)


def test_same_seed_same_bound(exact, x):
    a, b = (bound.bounds(exact, x, 2, seed=s) for s in (1, 1))
    assert torch.equal(a.elbo, b.elbo)


def test_bits_per_dim_of_uniform_models():
    # 256 equally likely levels cost 8 bits each
    log_p = torch.tensor([-10 * math.log(256)])
    assert float(bound.bits_per_dim(log_p, 10, True)) == pytest.approx(8)
    # a density of 1/2 on [-1, 1]: a level is 2/255 wide, so 255 of them fill it
    log_p = torch.tensor([10 * math.log(0.5)])
    assert float(bound.bits_per_dim(log_p, 10, False)) == pytest.approx(math.log2(255))


def test_gaussian_density_codes_like_its_discretisation(kit, x):
    """Dequantised bits/dim bound the code length under the Gaussian's mass of each level."""
    model = kit.Coder(x, latent=1, sigma=0.3)
    model.matrix.zero_()  # x does not depend on z
    found = bound.bounds(model, x, 400)
    normal = torch.distributions.Normal(0.0, torch.tensor(0.3, dtype=torch.float64))
    half = bound.LEVEL / 2
    v = x.flatten(1).double()
    exact = -torch.log2(normal.cdf(v + half) - normal.cdf(v - half)).mean(1)
    assert not found.discrete
    assert torch.allclose(found.elbo_bits, exact, atol=0.01)
    assert (found.iwae_bits <= found.elbo_bits + 1e-9).all()


def test_dequantising_stops_cheating_densities(kit):
    """σ → 0 on images that are all black: the density is unbounded, the code length is not."""
    black = torch.full((4, 1, 3, 3), -1.0)
    model = kit.Coder(black, latent=1, sigma=1e-4)
    model.matrix.zero_()
    plain = kit.Coder(black, latent=1, sigma=1e-4, kind="logistic")
    plain.matrix.zero_()
    model.decode = plain.decode = lambda z: black
    cheat = bound.weights(plain, black, 3, 0, dequantise=False)
    assert bound.bits_per_dim(cheat, 9, False).max() < -3
    honest = bound.bounds(model, black, 3)
    assert (honest.elbo_bits > 0).all()


def test_bernoulli_codes_binary_images_only(kit, x):
    model = kit.Coder(x, latent=1, kind="bernoulli")
    grey = bound.bounds(model, x, 2)
    assert grey.elbo.isfinite().all()
    assert grey.elbo_bits is None
    assert grey.iwae_bits is None
    binary = torch.where(x > 0, 1.0, -1.0)
    found = bound.bounds(model, binary, 2)
    assert torch.allclose(found.elbo_bits, -found.elbo / 9 / math.log(2))


def test_none_without_encoder_or_likelihood(kit, x):
    assert bound.bounds(kit.Sampler(x), x) is None
    model = kit.Coder(x)
    model.log_likelihood = lambda x, z: None
    assert bound.bounds(model, x, 2) is None


def test_refuses_no_samples(exact, x):
    with pytest.raises(ValueError, match="at least 1"):
        bound.bounds(exact, x, 0)
