"""The flow prior: its density is that of its samples, and a fit finds what a Gaussian cannot."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch.testing import assert_close

from ganvae.config import Networks
from ganvae.networks import flow, zoo
from ganvae.networks.flow import Coupling, FlowPrior
from ganvae.networks.prior import MixturePrior
from ganvae.types import Noise, Shape


def ring(n: int, seed: int = 0) -> torch.Tensor:
    """Points about a circle, and a third dimension that follows the first: (n, 3)."""
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.rand(n, generator=generator)
    noise = 0.1 * torch.randn(n, 3, generator=generator)
    return 3 * torch.stack([angle.cos(), angle.sin(), angle.cos() ** 2], 1) + noise + 5


@pytest.fixture(scope="module")
def fitted() -> Iterator[FlowPrior]:
    prior = FlowPrior(3, hidden=32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "STEPS", 150)
        prior.fit(ring(2500))
    yield prior


def bent(latent: int, classes: int = 0) -> FlowPrior:
    """A flow in float64 with weights at random, whose splines are far from straight."""
    torch.manual_seed(latent)
    prior = FlowPrior(latent, couplings=3, hidden=8, bins=4, classes=classes).double()
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    prior.mean.normal_()
    prior.factor.copy_(torch.randn(latent, latent).tril(-1) + 2 * torch.eye(latent))
    return prior


def test_unfitted_it_is_the_standard_normal():
    prior, z = FlowPrior(5), torch.randn(4, 5)
    expected = torch.distributions.Normal(0, 1).log_prob(z).sum(1)
    assert_close(prior.log_prob(z), expected)
    assert_close(prior.sample(Noise(3, total=4)), Noise(3, total=4).normal(5))
    assert not prior.fitted


@pytest.mark.parametrize("latent", [1, 2, 3, 6])
@pytest.mark.parametrize("classes", [0, 2])
def test_the_density_is_that_of_the_samples(latent: int, classes: int):
    prior = bent(latent, classes)
    label = (torch.arange(7) % classes,) if classes else ()
    noise = Noise(0, total=7, dtype=torch.float64)
    z = prior.sample(noise, *label)
    eps = Noise(0, total=7, dtype=torch.float64).normal(latent)

    def one(e: torch.Tensor, i: int) -> torch.Tensor:
        c = prior._one_hot(label[0][i : i + 1]) if classes else None
        u = e[None]
        for coupling in reversed(prior.couplings):
            u = coupling.inverse(u, c)
        return (prior.mean + u @ prior.factor.T)[0]

    for i in range(7):
        jacobian = torch.autograd.functional.jacobian(lambda e, i=i: one(e, i), eps[i])
        assert_close(one(eps[i], i), z[i])
        expected = torch.distributions.Normal(0, 1).log_prob(eps[i]).sum()
        expected = expected - torch.linalg.slogdet(jacobian).logabsdet
        told = (label[0][i : i + 1],) if classes else ()
        assert_close(prior.log_prob(z[i : i + 1], *told)[0], expected)


def test_the_density_sums_to_one():
    prior = bent(1)
    z = torch.linspace(-30, 30, 20_001, dtype=torch.float64)[:, None]
    total = torch.trapezoid(prior.log_prob(z).exp(), z[:, 0]).item()
    assert_close(total, 1.0, atol=1e-4, rtol=0)


@pytest.mark.parametrize("latent", [1, 2, 3, 5, 32])
def test_all_dimensions_are_bent_and_none_decides_itself(latent: int):
    couplings = [Coupling(latent, i, 4, 3, 0) for i in range(4)]
    for pair in (couplings[:2], couplings[2:]):
        assert {i for c in pair for i in c.bent.tolist()} == set(range(latent))
    for coupling in couplings:
        assert not coupling.keep[coupling.bent].any()
        assert len(coupling.bent) <= max(1, latent - 1)


def test_a_fit_is_better_than_a_gaussian(fitted: FlowPrior):
    new = ring(1000, seed=1)
    gaussian = MixturePrior(3, 1)
    gaussian.fit(ring(2500))
    with torch.no_grad():
        assert fitted.log_prob(new).mean() > gaussian.log_prob(new).mean() + 0.8
        z = fitted.sample(Noise(5, total=2000))
    radius = (z[:, :2] - 5).norm(dim=1)
    assert_close(radius.mean().item(), 3.0, atol=0.15, rtol=0)
    assert radius.std() < 0.7 and fitted.fitted


def test_a_fit_is_deterministic_and_moves_nobodys_random_numbers(monkeypatch):
    monkeypatch.setattr(flow, "STEPS", 4)
    once, twice = (FlowPrior(3, hidden=8) for _ in range(2))
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    once.fit(ring(600))
    assert torch.equal(torch.random.get_rng_state(), before)
    twice.fit(ring(600))
    for name, value in once.state_dict().items():
        assert torch.equal(value, twice.state_dict()[name]), name
    twice.fit(ring(600))  # again, from where it is: the same
    assert torch.equal(once.couplings[0].outer.weight, twice.couplings[0].outer.weight)
    with torch.inference_mode():
        z = ring(600)
        twice.fit(z)
    assert torch.equal(once.couplings[0].outer.weight, twice.couplings[0].outer.weight)


@pytest.mark.parametrize("n", [1, 3, 30])
def test_few_points_are_enough(n: int, monkeypatch):
    monkeypatch.setattr(flow, "STEPS", 4)
    prior = FlowPrior(4, hidden=8)
    prior.fit(torch.randn(n, 4) + 2)
    assert prior.sample(Noise(0, total=9)).isfinite().all()
    assert prior.log_prob(torch.zeros(2, 4)).isfinite().all()


def test_classes_are_kept_apart(monkeypatch):
    monkeypatch.setattr(flow, "STEPS", 150)
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(1200) % 3
    centres = torch.tensor([[-4.0, 0], [0, 0], [4, 0]])
    z = centres[label] + 0.3 * torch.randn(1200, 2, generator=generator)
    prior = FlowPrior(2, hidden=32, classes=3)
    prior.fit(z, label)
    with torch.no_grad():
        for y in range(3):
            sample = prior.sample(Noise(y, total=400), torch.full((400,), y))
            assert_close(sample.mean(0), centres[y], atol=0.3, rtol=0)
        told, other = (prior.log_prob(z, (label + shift) % 3) for shift in (0, 1))
    assert (told - other).mean() > 3
    with pytest.raises(ValueError, match="label"):
        prior.sample(Noise(0, total=2))
    with pytest.raises(ValueError, match="label"):
        prior.fit(z)


def test_temperature_scales_the_spread(fitted: FlowPrior):
    with torch.no_grad():
        cold = fitted.sample(Noise(0, total=50), temperature=0.0)
    assert (cold == cold[0]).all()


def test_samples_do_not_depend_on_the_batch(fitted: FlowPrior):
    with torch.no_grad():
        whole = fitted.sample(Noise(2, total=20))
        part = fitted.sample(Noise(2, total=20, rows=slice(6, 11)))
    assert_close(whole[6:11], part)


def test_far_latents_have_a_finite_density(fitted: FlowPrior):
    with torch.no_grad():
        z = fitted.sample(Noise(0, total=20_000), temperature=3.0)
        assert z.isfinite().all()
        assert fitted.log_prob(torch.full((2, 3), 1e4)).isfinite().all()


def test_state_dict_carries_everything(fitted: FlowPrior):
    other = FlowPrior(3, hidden=32)
    other.load_state_dict(fitted.state_dict())
    z = ring(9)
    assert torch.equal(other.log_prob(z), fitted.log_prob(z))


@pytest.mark.parametrize("family", ["residual", "mlp"])
def test_the_zoo_builds_it(family: str):
    shape = Shape(channels=1, height=16, width=16, latent=4, classes=3)
    settings = Networks(family=family)  # type: ignore[arg-type]
    built = zoo.build("flow_prior", settings, shape)
    assert isinstance(built, FlowPrior) and built.classes == 3
    assert isinstance(zoo.build("mixture_prior", settings, shape), MixturePrior)
    with torch.device("meta"):
        zoo.build("flow_prior", settings, shape)


def test_bad_sizes_and_latents_are_refused():
    with pytest.raises(ValueError, match="coupling"):
        FlowPrior(3, couplings=0)
    with pytest.raises(ValueError, match="dimension"):
        FlowPrior(0)
    with pytest.raises(ValueError, match="finite"):
        FlowPrior(3).fit(torch.full((5, 3), math.nan))
    with pytest.raises(ValueError, match=r"\(5, 2\)"):
        FlowPrior(3).fit(torch.zeros(5, 2))
