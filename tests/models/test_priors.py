"""Priors fitted after training: what is fitted, how it is asked for, saved and chosen."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from ganvae import cli, config, tasks
from ganvae.errors import ConfigError
from ganvae.metrics import Allowance
from ganvae.models import Model
from ganvae.models.fitting import aggregate, fit_priors
from ganvae.models.prior_names import available
from ganvae.networks import flow
from ganvae.networks.code_prior import CodePrior
from ganvae.networks.prior import MixturePrior, NormalPrior
from ganvae.runs import priors as judged
from ganvae.types import Noise


class Pictures:
    """Grey images in memory, with classes."""

    fingerprint = "f00d"

    def __init__(self, n: int, classes: int = 0):
        self.all = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(n)) * 2 - 1
        self.labels = np.arange(n) % classes if classes else None

    def __len__(self) -> int:
        return len(self.all)

    def images(self, rows: np.ndarray) -> torch.Tensor:
        return self.all[torch.from_numpy(rows)]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "STEPS", 5)


@pytest.fixture
def ready(make: Callable[..., Model]) -> Model:
    """A model with all priors; it was trained with the mixture."""
    model = make()
    return model.offer({role: f.prior for role, f in fit_priors(model, Pictures(90), 300).items()})


def test_what_is_lacking_is_fitted(make: Callable[..., Model]):
    model = make()
    fits = fit_priors(model, Pictures(90), 300, seed=3)
    assert list(fits) == ["prior_normal", "prior_flow"]
    assert bool(fits["prior_flow"].prior.fitted) and fits["prior_flow"].seconds > 0
    again = fit_priors(model, Pictures(90), 300, seed=3)
    for name, value in fits["prior_flow"].prior.state_dict().items():
        assert torch.equal(value, again["prior_flow"].prior.state_dict()[name]), name
    model.offer({role: fit.prior for role, fit in fits.items()})
    assert model.priors == {
        "mixture": "prior", "normal": "prior_normal", "flow": "prior_flow"
    }  # fmt: skip
    assert fit_priors(model, Pictures(90), 300) == {}


def test_a_mixture_is_fitted_beside_the_normal_prior(make: Callable[..., Model]):
    model = make()
    model.networks["prior"] = NormalPrior(4)
    fits = fit_priors(model, Pictures(90), 300)
    assert list(fits) == ["prior_mixture", "prior_flow"]
    mixture = fits["prior_mixture"].prior
    z = aggregate(model, Pictures(90), 300, 0)[0]
    assert mixture.log_prob(z).mean() > NormalPrior(4).log_prob(z).mean()
    unfitted = {"prior": MixturePrior(4, 2)}
    assert available(unfitted) == {"normal": "prior"}


def test_the_aggregate_posterior_is_of_all_images(make: Callable[..., Model]):
    model, images = make(classes=("a", "b", "c")), Pictures(30, classes=3)
    z, label = aggregate(model, images, 70, seed=1)
    assert z.shape == (70, 4) and label.shape == (70,)
    assert torch.bincount(label[:30]).tolist() == [10, 10, 10]
    assert torch.equal(label[:30], label[30:60])
    q = model.encode(images.all, torch.from_numpy(images.labels))
    far = ((z[:30, None] - q.mean) / q.std).square().mean(2)
    order = np.random.default_rng(1).permutation(30)
    assert far[torch.arange(30), torch.from_numpy(order)].mean() < 3
    assert not torch.equal(z[:30], z[30:60])  # an image's draws differ
    assert torch.equal(z, aggregate(model, images, 70, seed=1)[0])


def test_models_that_have_no_use_for_it_are_left_alone(make: Callable[..., Model]):
    alone = make(("generator", "prior"))
    assert fit_priors(alone, Pictures(20), 50) == {}
    other = make()
    other.networks["prior"] = nn.Identity()
    assert fit_priors(other, Pictures(20), 50) == {}
    assert list(other.priors) == ["trained"]
    assert fit_priors(make(), Pictures(0), 50) == {}


def test_classes_are_told(make: Callable[..., Model]):
    model = make(classes=("a", "b"))
    fits = fit_priors(model, Pictures(60, classes=2), 200)
    model.offer({role: fit.prior for role, fit in fits.items()})
    for name in model.priors:
        assert model.generate(3, "b", prior=name).shape == (3, 1, 8, 8)
    assert model.prior is model.networks["prior"]


@pytest.mark.parametrize("name", ["normal", "mixture", "flow"])
def test_a_prior_is_asked_for_by_name(ready: Model, name: str):
    whole = ready.latents(70, seed=2, prior=name)
    assert_close(ready.latents(5, seed=2, prior=name, start=62), whole[62:67])
    expected = ready.networks[ready.priors[name]]
    with torch.inference_mode():
        assert_close(whole[:64], expected.sample(Noise(2, 0, total=64)))
    x = ready.generate(3, seed=2, prior=name)
    assert_close(x, ready.render(whole[:3]))


def test_the_chosen_prior_is_sampled_and_evaluated(ready: Model):
    assert torch.equal(ready.latents(4), ready.latents(4, prior="mixture"))
    ready.offer({}, "flow")
    assert ready.prior is ready.networks["prior_flow"]
    assert torch.equal(ready.latents(4), ready.latents(4, prior="flow"))


def test_an_unknown_prior_is_refused(ready: Model, model: Model):
    with pytest.raises(ConfigError, match="no prior 'mixtrue'; did you mean 'mixture'"):
        ready.generate(1, prior="mixtrue")
    with pytest.raises(ConfigError, match="no prior 'flow'; there are mixture"):
        model.generate(1, prior="flow")


def test_priors_are_saved_with_the_model(ready: Model, tmp_path: Path):
    ready.offer({}, "flow")
    loaded = Model.load(ready.save(tmp_path / "model"))
    assert loaded.info.prior == "prior_flow" and loaded.priors == ready.priors
    for name in loaded.priors:
        assert torch.equal(loaded.latents(9, prior=name), ready.latents(9, prior=name))
    assert torch.equal(loaded.latents(9), ready.latents(9, prior="flow"))


def test_older_and_broken_descriptions(model: Model, tmp_path: Path):
    folder = model.save(tmp_path / "model")
    path = folder / "config.json"
    record = json.loads(path.read_text())
    del record["model"]["prior"]
    path.write_text(json.dumps(record))
    assert Model.load(folder).info.prior == "prior"
    for wrong, message in (("prior_flow", "does not list the roles prior_flow"), ("x", "one of")):
        path.write_text(json.dumps(record | {"model": record["model"] | {"prior": wrong}}))
        with pytest.raises(ConfigError, match=message):
            Model.load(folder)


# -- truncation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0.1, 0.7, 2.0])
def test_truncation_limits_the_noise(ready: Model, limit: float):
    z = ready.latents(2000, prior="normal", truncation=limit)
    assert z.abs().max() <= limit
    wanted = torch.linspace(-limit, limit, 2001, dtype=torch.float64)
    density = (-0.5 * wanted**2).exp()
    expected = (density * wanted**2).sum() / density.sum()
    assert_close(z.square().mean().item(), expected.item(), rtol=0.05, atol=0)
    assert_close(ready.latents(9, prior="normal", truncation=limit, start=100), z[100:109])


def test_a_wide_truncation_changes_nothing(ready: Model):
    for name in ready.priors:
        plain = ready.latents(64, prior=name)
        assert_close(ready.latents(64, prior=name, truncation=40.0), plain, atol=1e-5, rtol=1e-5)


def test_truncation_keeps_the_order_of_the_numbers():
    plain, squeezed = (Noise(1, total=500).normal(1), Noise(1, total=500).truncated(1).normal(1))
    assert torch.equal(plain[:, 0].argsort(), squeezed[:, 0].argsort())
    assert Noise(1, total=3).truncated(0.5).dtype == torch.float32


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf")])
def test_truncation_must_be_positive(ready: Model, limit: float):
    with pytest.raises(ValueError, match="truncation"):
        ready.generate(1, truncation=limit)


# -- the choice ---------------------------------------------------------------------------------


def line(name: str, kid: float | None, error: float | None, trained: bool = False) -> dict:
    return {"name": name, "kid": kid, "kid_error": error, "trained": trained}


@pytest.mark.parametrize(
    ("lines", "best"),
    [
        ([line("mixture", 1.0, 0.1, True), line("flow", 0.8, 0.1)], "flow"),
        ([line("mixture", 1.0, 0.3, True), line("flow", 0.8, 0.1)], "mixture"),
        ([line("mixture", 1.0, 0.1, True), line("flow", 1.8, 0.1)], "mixture"),
        ([line("mixture", 1.0, None, True), line("flow", 0.8, 0.1)], "mixture"),
        ([line("normal", 1.0, 0.1, True), line("mixture", 0.5, 0.1), line("flow", 0.6, 0.1)],
         "mixture"),
    ],
)  # fmt: skip
def test_the_least_kid_wins_but_for_ties(lines: list[dict], best: str):
    assert judged.least(lines)["name"] == best


class Mean(nn.Module):
    """Features that tell bright from dark and rough from smooth."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        small = nn.functional.avg_pool2d(x, 2).flatten(1)
        return torch.cat([small, small.square()], 1)


def test_the_prior_that_makes_held_out_images_is_chosen(ready: Model, tmp_path: Path):
    """Held-out images that are the model's own of one prior are nearest to that prior's."""
    for name in ("normal", "flow"):
        ready.offer({}, "mixture")
        test = Pictures(400)
        test.all = ready.generate(400, seed=99, prior=name).clone()
        test.fingerprint = name
        data = SimpleNamespace(train=Pictures(90), test=test)
        settings = config.Evaluation(samples=400, size=8)
        lines = judged.choose(ready, data, settings, judge=Mean(), cache_folder=tmp_path)
        assert [each["name"] for each in lines] == ["mixture", "normal", "flow"]
        assert [each["chosen"] for each in lines].count(True) == 1
        chosen = next(each for each in lines if each["chosen"])
        assert chosen["name"] == name and ready.prior is ready.networks[f"prior_{name}"]
        json.dumps(lines, allow_nan=False)


def test_there_is_nothing_to_choose(make: Callable[..., Model], tmp_path: Path):
    settings = config.Evaluation(samples=8, size=8)
    data = SimpleNamespace(train=Pictures(20), test=Pictures(1))
    model = make()
    assert judged.choose(model, data, settings, judge=Mean(), cache_folder=tmp_path) == []
    assert model.info == replace(model.info, prior="prior") and len(model.priors) == 1
    alone = make(("generator", "prior"))
    data = SimpleNamespace(train=Pictures(20), test=Pictures(9))
    assert judged.choose(alone, data, settings, judge=Mean(), cache_folder=tmp_path) == []


# -- the command --------------------------------------------------------------------------------


def test_generate_takes_a_prior_and_a_truncation(ready: Model, tmp_path: Path):
    *_, index = tasks.generate(ready, 3, tmp_path / "out", prior="flow", truncation=0.8)
    told = json.loads(index.read_text())["generate"]
    assert told["prior"] == "flow" and told["truncation"] == 0.8
    x = torch.zeros(1, 1, 8, 8)
    with pytest.raises(ConfigError, match="posterior"):
        tasks.generate(ready, 3, tmp_path / "out", like=x, prior="flow")


def test_the_command_generates_from_a_prior(ready: Model, tmp_path: Path, capsys):
    folder = str(ready.save(tmp_path / "model"))
    out = ["--n", "2", "--out", str(tmp_path / "a.png")]
    assert cli.run(["generate", folder, "--prior", "normal", "--truncation", "0.5", *out]) == 0
    assert cli.run(["generate", folder, "--prior", "flwo", *out]) == 78
    assert "did you mean 'flow'" in capsys.readouterr().err


def test_a_prior_of_codes_is_not_truncated(ready: Model):
    ready.networks["prior"] = CodePrior((4, 2, 2), 8, dimensions=8, layers=1)
    with pytest.raises(ConfigError, match="codes"):
        ready.latents(1, truncation=1.0)


# -- as long as there is time ---------------------------------------------------------------------


def test_a_fit_ends_when_it_is_told_to_and_else_does_not_care(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(flow, "STEPS", 12)
    z = torch.randn(600, 4, generator=torch.Generator().manual_seed(0)).tanh()
    for kind in (MixturePrior, flow.FlowPrior):
        asked: list[tuple[int, int]] = []

        def goes_on(done: int, most: int, asked: list[tuple[int, int]] = asked) -> bool:
            asked.append((done, most))
            return True

        free, told, cut = kind(4), kind(4), kind(4)
        free.load_state_dict(told.state_dict())
        cut.load_state_dict(told.state_dict())
        free.fit(z)
        told.fit(z, goes_on=goes_on)
        cut.fit(z, goes_on=lambda done, most: done < 3)
        assert [done for done, _ in asked] == [*range(1, len(asked) + 1)]
        assert len(asked) > 3 and len({most for _, most in asked}) == 1
        pairs = zip(free.state_dict().values(), told.state_dict().values(), strict=True)
        assert all(torch.equal(*pair) for pair in pairs) and bool(cut.fitted)
        assert NormalPrior(4).log_prob(z).mean() < cut.log_prob(z).mean()


def test_without_time_fits_end_early_and_others_never_begin(make: Callable[..., Model]):
    ticks = iter(range(1000))
    fits = fit_priors(make(), Pictures(90), 300, left=lambda: max(0, 6 - next(ticks)))
    assert list(fits) == ["prior_normal", "prior_flow"]
    assert not fits["prior_flow"].whole and fits["prior_normal"].whole
    assert fit_priors(make(), Pictures(90), 300, left=lambda: 0.0) == {}


def test_what_was_not_tried_is_said(make: Callable[..., Model], tmp_path: Path):
    settings = config.Evaluation(size=8)
    data = SimpleNamespace(train=Pictures(90), test=Pictures(40))
    none, whole = Allowance(0.0), Allowance()
    assert judged.choose(make(), data, settings, judge=Mean(), allowance=none) == []
    assert none.shortened == ["no prior fitted beside the one trained with"]
    assert len(judged.choose(make(), data, settings, judge=Mean(), allowance=whole)) == 3
    assert whole.shortened == []
