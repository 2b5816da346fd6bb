import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal
from torch.testing import assert_close

from ganvae.networks.prior import MixturePrior, NormalPrior, Prior
from ganvae.types import Noise


def clouds(n: int, d: int, k: int, seed: int = 0) -> torch.Tensor:
    random = np.random.default_rng(seed)
    centres = 4 * random.normal(size=(k, d))
    shape = random.normal(size=(d, d)) / math.sqrt(d)
    z = centres[random.integers(0, k, n)] + random.normal(size=(n, d)) @ shape
    return torch.tensor(z, dtype=torch.float32)


def reference(prior: MixturePrior) -> MixtureSameFamily:
    used = prior.weights > 0
    return MixtureSameFamily(
        Categorical(probs=prior.weights[used].double()),
        MultivariateNormal(prior.means[used].double(), scale_tril=prior.factors[used].double()),
    )


@pytest.fixture(scope="module")
def fitted() -> MixturePrior:
    prior = MixturePrior(5, 4)
    prior.fit(clouds(2000, 5, 4))
    return prior


@pytest.mark.parametrize("prior", [NormalPrior(3), MixturePrior(3, 7)])
def test_unfitted_priors_are_standard_normal(prior: Prior):
    z = prior.sample(Noise(3, total=20_000))
    assert z.shape == (20_000, 3)
    assert_close(z.mean(0), torch.zeros(3), atol=0.03, rtol=0)
    assert_close(z.T.cov(), torch.eye(3), atol=0.05, rtol=0)
    expected = torch.distributions.Normal(0, 1).log_prob(z).sum(1)
    assert_close(prior.log_prob(z), expected)
    assert_close(prior(z), expected)


def test_log_prob_equals_torch_distributions(fitted: MixturePrior):
    z = torch.cat([clouds(200, 5, 4, seed=1), 50 * torch.randn(20, 5)])
    assert_close(fitted.log_prob(z).double(), reference(fitted).log_prob(z.double()),
                 rtol=2e-4, atol=1e-3)  # fmt: skip


def test_log_prob_is_finite_far_out_and_its_gradient_too(fitted: MixturePrior):
    z = (1e4 * torch.randn(10, 5)).requires_grad_()
    value = fitted.log_prob(z)
    value.sum().backward()
    assert torch.isfinite(value).all() and torch.isfinite(z.grad).all()


def test_log_prob_gradient_of_the_unfitted_mixture_is_minus_z():
    z = torch.randn(6, 3, requires_grad=True)
    MixturePrior(3, 5).log_prob(z).sum().backward()
    assert_close(z.grad, -z.detach())


def test_samples_have_the_moments_of_the_mixture(fitted: MixturePrior):
    z = fitted.sample(Noise(0, total=60_000))
    other = reference(fitted)
    assert_close(z.mean(0).double(), other.mean, atol=0.1, rtol=0.03)
    assert_close(z.var(0).double(), other.variance, atol=0.1, rtol=0.04)


def test_samples_use_the_given_noise_alone_and_rows_agree(fitted: MixturePrior):
    whole = fitted.sample(Noise(1, 2, total=10))
    torch.manual_seed(5)
    assert torch.equal(whole, fitted.sample(Noise(1, 2, total=10)))
    part = fitted.sample(Noise(1, 2, total=10, rows=slice(3, 7)))
    assert torch.equal(whole[3:7], part)
    assert not torch.equal(whole, fitted.sample(Noise(1, 3, total=10)))


def test_temperature_scales_the_spread_within_components(fitted: MixturePrior):
    cold = fitted.sample(Noise(0, total=500), temperature=0.0)
    assert all((fitted.means == z).all(1).any() for z in cold)
    one, half = (
        fitted.sample(Noise(0, total=500)),
        fitted.sample(Noise(0, total=500), temperature=0.5),
    )
    assert_close(half - cold, 0.5 * (one - cold), atol=1e-5, rtol=1e-4)
    cold = NormalPrior(4).sample(Noise(0, total=5), temperature=0.5)
    assert_close(cold, 0.5 * NormalPrior(4).sample(Noise(0, total=5)))


def test_fit_equals_scikit_learn():
    from sklearn.mixture import GaussianMixture

    z = clouds(1500, 6, 5)
    prior = MixturePrior(6, 8)
    prior.fit(z)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = GaussianMixture(8, reg_covar=1e-4, random_state=0, max_iter=20).fit(z.double())
    assert_close(prior.weights.double(), torch.tensor(other.weights_), atol=1e-5, rtol=1e-4)
    assert_close(prior.means.double(), torch.tensor(other.means_), atol=1e-4, rtol=1e-4)
    covariances = prior.factors @ prior.factors.mT
    assert_close(covariances.double(), torch.tensor(other.covariances_), atol=1e-4, rtol=1e-3)


def test_fit_raises_the_held_out_likelihood_and_is_repeatable(fitted: MixturePrior):
    z = clouds(2000, 5, 4)
    held = MixturePrior(5, 4)
    held.fit(z[:1500])
    assert held.log_prob(z[1500:]).mean() > NormalPrior(5).log_prob(z[1500:]).mean() + 5
    again = MixturePrior(5, 4)
    again.fit(clouds(2000, 5, 4))
    for name, value in fitted.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert bool(fitted.fitted) and not bool(MixturePrior(5, 4).fitted)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 6), st.integers(1, 12), st.booleans())
def test_few_or_equal_points_fit(n: int, d: int, k: int, constant: bool):
    z = torch.ones(n, d) if constant else clouds(n, d, 2)
    prior = MixturePrior(d, k)
    prior.fit(z)
    assert_close(prior.weights.sum(), torch.tensor(1.0))
    sample = prior.sample(Noise(0, total=50))
    assert torch.isfinite(sample).all() and torch.isfinite(prior.log_prob(sample)).all()
    if constant:
        assert (sample - 1).abs().max() < 0.1
    used = int((prior.weights > 0).sum())
    assert used <= max(1, min(k, n // (2 * d)))


def test_a_second_fit_forgets_the_first():
    once, twice = MixturePrior(3, 6), MixturePrior(3, 6)
    twice.fit(clouds(500, 3, 6, seed=9))
    few = clouds(13, 3, 2)
    once.fit(few)
    twice.fit(few)
    for name, value in once.state_dict().items():
        assert torch.equal(value, twice.state_dict()[name]), name


def test_state_dict_carries_everything(fitted: MixturePrior):
    other = MixturePrior(5, 4)
    other.load_state_dict(fitted.state_dict())
    assert torch.equal(other.sample(Noise(4, total=9)), fitted.sample(Noise(4, total=9)))
    assert list(fitted.parameters()) == []


def test_components_of_weight_zero_are_never_met():
    prior = MixturePrior(2, 4)
    prior.weights.copy_(torch.tensor([0.0, 0.5, 0.0, 0.5]))
    prior.means.copy_(torch.tensor([[9.0, 9], [0, 0], [9, 9], [1, 1]]))
    prior.factors.mul_(1e-3)
    assert prior.sample(Noise(0, total=5000)).max() < 1.1


@pytest.mark.parametrize(("u", "component"), [(0.0, 1), (0.25, 1), (0.5, 3), (0.999999, 3)])
def test_numbers_on_an_edge_choose_a_component_that_has_weight(u: float, component: int):
    class Fixed(Noise):
        def uniform(self, *shape: int) -> torch.Tensor:
            return torch.full((self.total, *shape), u)

    prior = MixturePrior(2, 5)
    prior.weights.copy_(torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0]))
    prior.means.copy_(torch.arange(5.0)[:, None].expand(5, 2))
    assert (prior.sample(Fixed(0, total=3), temperature=0.0) == component).all()


@pytest.mark.parametrize(
    ("z", "message"),
    [
        (torch.zeros(0, 3), "N ≥ 1"),
        (torch.zeros(5, 2), r"\(5, 2\)"),
        (torch.full((5, 3), math.nan), "finite"),
    ],
)
def test_bad_latents_are_refused(z: torch.Tensor, message: str):
    with pytest.raises(ValueError, match=message):
        MixturePrior(3, 2).fit(z)


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="dimension"):
        NormalPrior(0)
    with pytest.raises(ValueError, match="component"):
        MixturePrior(3, 0)


def test_a_mixture_of_classes_keeps_them_apart():
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(600) % 3
    centres = torch.tensor([[-4.0, 0], [0, 0], [4, 0]])
    z = centres[label] + 0.3 * torch.randn(600, 2, generator=generator)
    prior = MixturePrior(2, components=6, classes=3)
    prior.fit(z, label)
    assert_close(prior.weights.sum(1), torch.ones(3))
    for y in range(3):
        sample = prior.sample(Noise(y, total=400), torch.full((400,), y))
        assert_close(sample.mean(0), centres[y], atol=0.15, rtol=0)
    told, other = (prior.log_prob(z, (label + shift) % 3) for shift in (0, 1))
    assert (told > other + 3).all()
    with pytest.raises(ValueError, match="label"):
        prior.sample(Noise(0, total=2))


def test_one_class_is_no_class():
    z = torch.randn(300, 3, generator=torch.Generator().manual_seed(1))
    plain, one = MixturePrior(3, components=5), MixturePrior(3, components=5, classes=1)
    plain.fit(z)
    label = torch.zeros(300, dtype=torch.long)
    one.fit(z, label)
    assert_close(one.weights[0], plain.weights, atol=2e-3, rtol=0)  # one more half step of EM
    assert_close(one.log_prob(z, label), plain.log_prob(z), atol=0.02, rtol=0)
