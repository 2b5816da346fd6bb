"""What a training is judged by while its prior is not fitted yet."""

import dataclasses

import numpy as np
import pytest
import torch
from harness import digest, images, settings, trainer
from torch.testing import assert_close

from ganvae import objectives
from ganvae.metrics import judge as judges
from ganvae.networks.prior import NormalPrior
from ganvae.training import quick_prior, watch
from ganvae.training.quick_prior import Gaussian
from ganvae.types import Noise


def test_it_has_the_mean_and_the_covariance_of_the_codes_of_each_class():
    codes = torch.randn(60, 3, generator=torch.Generator().manual_seed(1)) @ torch.randn(3, 3)
    label = torch.arange(60) % 2
    codes[label == 1] += 5
    prior = Gaussian(codes, label, classes=3)
    n = 10_000
    for y in range(3):
        own = codes if y == 2 else codes[label == y]  # nobody has met class 2
        z = prior.sample(Noise(y, total=n), torch.full((n,), y))
        assert_close(z.mean(0), own.mean(0), atol=0.1, rtol=0.05)
        assert_close(z.T.cov(), own.T.cov(correction=0), atol=0.2, rtol=0.1)
        mean = prior.sample(Noise(y, total=2), torch.full((2,), y), temperature=0.0)
        assert_close(mean, own.mean(0).expand(2, -1))
    z = Gaussian(codes).sample(Noise(0, total=n))
    assert_close(z.mean(0), codes.mean(0), atol=0.1, rtol=0.05)


@pytest.fixture
def data(tmp_path):
    return images(tmp_path / "images.npy")


def looked(chosen, out, monkeypatch):
    """The priors that a training's quick scores sample, its networks' own, and its digest."""
    seen = []

    def score(model, *given):
        made = model.generate(4)
        seen.append((model.prior, bool(made.isfinite().all())))
        return {"kid": 1.0 / len(seen), "kid_error": 0.1, "mse": 0.0}

    monkeypatch.setattr(watch, "quick", score)
    monkeypatch.setattr(judges, "load", lambda *given: None)
    run = trainer(chosen, out)
    run.run()
    assert all(finite for _, finite in seen)
    return [prior for prior, _ in seen], digest(out)


def test_scores_and_previews_leave_the_training_as_it_was(data, tmp_path, monkeypatch):
    plain = settings(data, "soft_intro_vae", budget="20steps")
    often = settings(data, "soft_intro_vae", budget="20steps", previews=4, evaluations=4)
    none, expected = looked(plain, tmp_path / "plain", monkeypatch)
    seen, found = looked(often, tmp_path / "often", monkeypatch)
    assert not none and len(seen) == 4
    assert all(isinstance(prior, Gaussian) for prior in seen)
    assert found == expected
    assert len(list((tmp_path / "often" / "previews").glob("*.png"))) == 4


def test_a_prior_that_is_trained_with_is_what_is_sampled(data, tmp_path, monkeypatch):
    """gan_vae's generator learns from the mixture of the stage before; a GAN from N(0, I)."""
    chosen = settings(data, "gan_vae", budget="20steps", evaluations=4)
    seen, _ = looked(chosen, tmp_path / "a", monkeypatch)
    assert [isinstance(prior, Gaussian) for prior in seen] == [True, True, False, False]
    assert bool(seen[-1].fitted)
    for name in ("gan", "bigan"):
        chosen = settings(data, name, budget="5steps", evaluations=1)
        seen, _ = looked(chosen, tmp_path / name, monkeypatch)
        assert not isinstance(seen[0], Gaussian)


def test_a_normal_prior_that_was_asked_for_stays(data, tmp_path, monkeypatch):
    chosen = settings(data, "vae", budget="5steps", evaluations=1)
    networks = dataclasses.replace(chosen.networks, prior="normal")
    chosen = dataclasses.replace(chosen, networks=networks)
    seen, _ = looked(chosen, tmp_path / "run", monkeypatch)
    assert isinstance(seen[0], NormalPrior)


def test_codes_of_some_images_are_read_in_batches_of_their_own(data, tmp_path, monkeypatch):
    run = trainer(settings(data, "vae", budget="2steps", batch=2), tmp_path / "run")
    model = run.run().model
    monkeypatch.setattr(quick_prior, "CODES", 200)
    sizes, encoder = [], model.networks["encoder"]
    encoder.register_forward_pre_hook(lambda net, given: sizes.append(len(given[0])))
    before = {key: value.clone() for key, value in model.prior.state_dict().items()}
    made = quick_prior.fitted(model, run.data.train)
    assert sizes == [200] and len(made.prior.codes) == 200
    assert model.prior is not made.prior
    assert all(torch.equal(value, before[key]) for key, value in model.prior.state_dict().items())


@pytest.mark.parametrize("name", objectives.names())
def test_an_objective_that_fits_its_prior_says_so(name):
    stages = [stage.objective for stage in objectives.build(name).stages()]
    expected = {
        "aae", "aux_gan_vae", "aux_vae", "cvae_gan", "kl_gan", "soft_intro_vae", "vae", "vae_gan"
    }  # fmt: skip
    assert stages[-1].fits_prior == (name in expected)


def test_what_alarms_look_at_is_drawn_from_the_codes(data, tmp_path):
    run = trainer(settings(data, "vae", budget="2steps"), tmp_path / "run")
    run.run()
    batch, nets = run.learner.batches.at(run.at.stage_step), run.learner.average.nets
    z = nets["encoder"](batch.image).rsample(Noise(run.at.step, total=16))
    assert_close(run.learner.sample(run.at), nets["decoder"](z))
    assert np.isfinite(run.learner.sample(run.at).detach().numpy()).all()
