import json
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from ganvae import config
from ganvae.errors import ConfigError, DataError
from ganvae.metrics import (
    Allowance,
    Samples,
    copies,
    distances,
    distortion,
    evaluate,
    frechet,
    kernel,
    manifold,
    memorisation,
    quick,
    sampling,
)
from ganvae.metrics.distributions import Heldout
from ganvae.metrics.figures import Record
from ganvae.pages.scores import conditions, missing, rows
from ganvae.runs import judging
from ganvae.runs.pace import Pace
from ganvae.runs.pace import measure as measured_pace

SETTINGS = config.Evaluation(samples=80, importance=3, size=16)


@pytest.fixture
def real(kit, data):
    """A model that draws new images of the very distribution."""
    return kit.Sampler(kit.pictures(500, 9))


def judged(model, data, bumps, **kwargs):
    return evaluate(model, data, SETTINGS, judge=bumps, **kwargs)


def test_every_figure_is_labelled_and_json(real, data, bumps):
    found = judged(real, data, bumps)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    for part in ("figures", "reference"):
        assert found[part]
        for key, figure in found[part].items():
            assert figure["split"] == "held-out"
            assert figure["seed"] == 0
            assert figure["better"] in ("lower", "higher")
            assert figure["value"] is not None or figure["note"], key
            assert figure["n_heldout"] == 80
            assert figure["judge"] == "Bumps@16"
            assert "16x16" in figure["resize"]
            assert figure["seconds"] > 0
    assert (found["n_generated"], found["n_heldout"], found["data"]) == (80, 80, "d474")
    assert (found["heldout_images"], found["train_images"]) == (80, 120)
    assert found["seconds"] > 0


def test_nobody_has_counted_a_stream(real, data, bumps, monkeypatch):
    monkeypatch.setattr(data, "stream", object(), raising=False)
    assert judged(real, data, bumps)["train_images"] is None


def test_figures_are_those_of_the_measures(real, data, bumps, monkeypatch):
    monkeypatch.setattr(distances, "CHUNK", 32)
    found = judged(real, data, bumps)["figures"]
    fake = bumps(real.generate(80, seed=0))
    held = bumps(data.test.all)
    assert found["kid"]["name"] == "KID-Bumps"
    expected = kernel.unbiased(fake, held)
    assert found["kid"]["value"] == pytest.approx(expected.value, rel=1e-3, abs=1e-6)
    assert found["kid"]["error"] == pytest.approx(expected.error, rel=1e-3)
    expected = kernel.distance(fake, held)
    assert found["kid_subsets"]["value"] == pytest.approx(expected.value, rel=1e-3, abs=1e-6)
    assert found["kid_subsets"]["error"] == pytest.approx(expected.error, rel=1e-3)
    prdc = manifold.prdc(held, fake)
    for key in prdc._fields:
        assert found[key]["value"] == pytest.approx(getattr(prdc, key), abs=0.02)
    expected = distances.pairwise(fake) / distances.pairwise(held)
    assert found["diversity"]["value"] == pytest.approx(expected, rel=1e-4)


def test_compares_with_heldout_images_not_with_training_ones(kit, bumps):
    """Training and held-out images differ; a model of the former is far, of the latter near."""
    bright = (kit.pictures(120, 1) + 0.5).clamp(-1, 1)
    data = kit.Data(kit.Pictures(bright), kit.Pictures(kit.pictures(80, 2)))
    like_train = judged(kit.Sampler(bright), data, bumps)
    like_test = judged(kit.Sampler(kit.pictures(200, 3)), data, bumps)
    kid = [f["figures"]["kid"]["value"] for f in (like_test, like_train)]
    assert abs(kid[0]) < kid[1] / 5
    # and the reference says that the training images are as far
    assert like_test["reference"]["kid"]["value"] > kid[1] / 2
    assert like_test["reference"]["kid"]["n_train"] == 80


def test_broken_models_score_worse(kit, real, data, bumps):
    good = judged(real, data, bumps, training=False)["figures"]
    noisy = judged(kit.Sampler(real.stock, noise=0.7), data, bumps, training=False)["figures"]
    collapsed = judged(kit.Sampler(real.stock[:1]), data, bumps, training=False)["figures"]
    assert good["kid"]["value"] < noisy["kid"]["value"]
    assert good["kid"]["value"] < collapsed["kid"]["value"]
    assert noisy["precision"]["value"] < good["precision"]["value"]
    assert collapsed["coverage"]["value"] < 0.2 < good["coverage"]["value"]
    assert collapsed["diversity"]["value"] < 1e-3
    assert good["diversity"]["value"] == pytest.approx(1, abs=0.2)


def test_few_samples_have_no_fid_and_say_why(real, data, bumps, monkeypatch):
    few = judged(real, data, bumps)["figures"]["fid"]
    assert few["value"] is None
    assert "5,000" in few["note"]
    assert "KID" in few["note"]
    monkeypatch.setattr(frechet, "MINIMUM", 60)
    enough = judged(real, data, bumps)
    held, fake = bumps(data.test.all), bumps(real.generate(80, seed=0))
    expected = frechet.distance(fake, held)
    assert enough["figures"]["fid"]["value"] == pytest.approx(expected, rel=0.01)
    assert enough["reference"]["fid"]["value"] > 0


def test_without_encoder_no_reconstruction_and_no_likelihood(real, data, bumps):
    found = judged(real, data, bumps)["figures"]
    assert not {"mse", "psnr", "ssim", "perceptual", "elbo", "iwae"} & set(found)


def test_reconstruction_and_bounds(kit, data, bumps, lite0):
    model = kit.Coder(data.train.all, latent=4)
    model.generate = kit.Sampler(data.train.all).generate
    found = evaluate(model, data, SETTINGS, judge=lite0, training=False)["figures"]
    x = data.test.all
    y = ((model.reconstruct(x).clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
    assert found["mse"]["value"] == pytest.approx(float(((x - y) / 2).square().mean()), rel=1e-4)
    assert found["mse"]["judge"] is None
    assert found["perceptual"]["judge"] == "EffLite0@64"
    assert found["elbo"]["value"] <= found["iwae"]["value"]
    assert found["iwae_bits"]["value"] <= found["elbo_bits"]["value"]
    assert found["elbo"]["n_heldout"] == 80
    assert found["elbo"]["error"] > 0
    assert "K = 3" in found["iwae"]["name"]


def test_a_part_of_many_heldout_images_is_reconstructed(kit, data, lite0, monkeypatch):
    whole = sys.modules["ganvae.metrics.evaluate"]
    monkeypatch.setattr(whole, "RECONSTRUCTED", 50)
    monkeypatch.setattr(whole, "DETAILED", 20)
    model = kit.Coder(data.train.all, latent=4)
    found = evaluate(model, data, SETTINGS, judge=lite0, training=False)["figures"]
    assert [found[key]["n_heldout"] for key in ("mse", "psnr", "ssim", "perceptual")] == [
        50
    ] * 3 + [20]
    x = data.test.all[sampling.rows(80, 50, 0)]
    y = sampling.levels(model.reconstruct(x))
    assert found["mse"]["value"] == pytest.approx(float(((x - y) / 2).square().mean()), rel=1e-4)
    some = sampling.rows(50, 20, 0)
    expected = distortion.perceptual(x[some], y[some], lite0)
    assert found["perceptual"]["value"] == pytest.approx(float(expected.mean()), rel=1e-4)
    assert found["kid"]["n_heldout"] == 80


def test_perceptual_distance_has_a_judge_of_its_own_where_needed(kit, data, bumps):
    model = kit.Coder(data.train.all)
    found = judged(model, data, bumps, training=False)["figures"]
    assert found["perceptual"]["judge"] == "EffLite0@16"


def test_copies_are_reported_with_their_training_images(kit, data, bumps):
    model = kit.Sampler(data.train.all)
    found = judged(model, data, bumps)
    report = found["memorisation"]
    assert report["share"] == found["figures"]["copies"]["value"] > 0.9
    assert report["indices"][:3] == [0, 1, 2]
    assert len(report["pairs"]) == copies.PAIRS
    for pair in report["pairs"]:
        sample = model.generate(1, seed=0, start=pair["sample"])[0]
        assert torch.allclose(sample, data.train.all[pair["train"]])
        assert pair["suspicious"]
        assert pair["ratio"] < pair["threshold"]


def test_new_images_are_not_called_copies(kit, bumps):
    data = kit.Data(kit.Pictures(kit.pictures(600, 1)), kit.Pictures(kit.pictures(400, 2)))
    model = kit.Sampler(kit.pictures(3000, 9))
    settings = config.Evaluation(samples=400, importance=1, size=16)
    found = evaluate(model, data, settings, judge=bumps)
    assert found["memorisation"]["share"] < 0.05


def test_copies_among_more_training_images_than_are_judged(kit, bumps):
    """Features are taken of a part of them; pixels lead to the rest."""
    data = kit.Data(kit.Pictures(kit.pictures(2000, 1)), kit.Pictures(kit.pictures(60, 2)))
    settings = config.Evaluation(samples=40, importance=1, size=16)
    found = evaluate(kit.Sampler(data.train.all), data, settings, judge=bumps)
    assert found["memorisation"]["share"] > 0.9
    assert 40 < found["figures"]["copies"]["n_train"] < 200


def test_the_check_in_features_is_that_of_all_at_once(kit, bumps, tmp_path):
    """What is kept of held-out images, and of training images that samples lead to, is merged."""
    train, test = kit.Pictures(kit.pictures(200, 1)), kit.Pictures(kit.pictures(60, 2))
    run = Record(
        model=None, data=kit.Data(train, test), judge=bumps, settings=SETTINGS, seed=0,
        progress=lambda *_: None, cache=tmp_path,
    )  # fmt: skip
    bumps.cacheable = True
    numbers, chosen = sampling.rows(60, 50, 0), sampling.rows(200, 70, 0)
    twin = np.setdiff1d(np.arange(90, 125), chosen)[0]
    train.all[twin] = 0.99 * test.all[numbers[7]]  # it alone makes the threshold
    fake = bumps(torch.cat([train.all[100:130], kit.pictures(20, 3)]))
    heldout = Heldout(run, numbers, bumps(test.all[numbers]))
    nearest = manifold.Nearest(40)
    heldout.compared(fake, nearest)
    for extra in (np.setdiff1d(np.arange(90, 125), chosen), np.arange(0)):
        among = np.concatenate([chosen, extra])
        expected = memorisation.check(fake[:40], bumps(train.all[among]), heldout.features)
        found = copies._feature_check(
            run, train, fake, nearest, heldout, (chosen, bumps(train.all[chosen])), extra
        )
        assert torch.allclose(found.ratio, expected.ratio, rtol=1e-4)
        assert found.threshold == pytest.approx(expected.threshold, rel=1e-4)
        assert torch.equal(found.train, torch.from_numpy(among)[expected.train])
        assert torch.equal(found.heldout, torch.from_numpy(numbers)[expected.heldout])


class Mirrored(torch.nn.Module):
    """Features that do not tell an image from its mirror image."""

    def forward(self, x):
        return torch.nn.functional.adaptive_avg_pool2d(x + x.flip(3), (4, 4)).flatten(1)


def test_copies_that_only_features_see(kit):
    data = kit.Data(kit.Pictures(kit.pictures(300, 1)), kit.Pictures(kit.pictures(200, 2)))
    model = kit.Sampler(data.train.all.flip(3))
    found = evaluate(model, data, SETTINGS, judge=Mirrored())["memorisation"]
    assert found["share"] > 0.15  # the mirrored originals are among the 80 of 300 compared
    pair = found["pairs"][0]
    assert pair["space"] == "features"
    assert pair["suspicious"]
    sample = model.generate(1, seed=0, start=pair["sample"])[0]
    assert torch.equal(sample.flip(2), data.train.all[pair["train"]])
    # and the held-out image named is the nearest of the 80 of 200 compared
    held = Mirrored()(data.test.all[sampling.rows(200, 80, 0)])
    apart = (held - Mirrored()(sample[None])).norm(dim=1).min()
    named = (Mirrored()(data.test.all[[pair["heldout"]]]) - Mirrored()(sample[None])).norm()
    assert named == pytest.approx(float(apart), rel=1e-4)


@pytest.mark.parametrize("count", [120, 900])
def test_mirrored_copies_are_copies_where_the_training_mirrored(kit, bumps, count):
    """Whether all training images are judged, or pixels lead to most of them."""
    data = kit.Data(kit.Pictures(kit.pictures(count, 1)), kit.Pictures(kit.pictures(80, 2)))
    mirrored = data.train.all.flip(3)
    model = kit.Sampler(mirrored)
    unseen = judged(model, data, bumps)
    found = judged(model, data, bumps, flip=True)
    report, figure = found["memorisation"], found["figures"]["copies"]
    assert unseen["memorisation"]["share"] < 0.5
    assert report["share"] == figure["value"] >= 0.95
    assert "or its mirror image" in figure["note"] and report["mirrored"]
    assert "mirror" not in unseen["figures"]["copies"]["note"]
    assert 0 < figure["n_train"] <= count
    for pair in report["pairs"]:
        sample = model.generate(1, seed=0, start=pair["sample"])[0]
        assert pair["mirrored"] and torch.equal(sample, mirrored[pair["train"]])
    exact = kit.Sampler(data.train.all)
    assert judged(exact, data, bumps, flip=True)["memorisation"]["share"] >= 0.95
    fresh = kit.Sampler(kit.pictures(900, 9))
    assert judged(fresh, data, bumps, flip=True)["memorisation"]["share"] < 0.08


def test_a_run_is_judged_by_whether_it_mirrored(real, data, bumps, monkeypatch, tmp_path):
    class Told(Exception):
        pass

    def told(*given, flip, **more):
        raise Told(flip)

    monkeypatch.setattr(judging.metrics, "evaluate", told)
    for flip in (True, False):
        given = {"data.path": "x", "data.flip": flip, "evaluation.priors": False}
        chosen = config.override(config.Config(), given)
        with pytest.raises(Told, match=str(flip)):
            judging.assess(real, data, chosen, tmp_path, judge=bumps)


class Grain(torch.nn.Module):
    """Features that see the finest detail only, and lose an image under a little noise."""

    def forward(self, x):
        fine = x - torch.nn.functional.avg_pool2d(x, 3, 1, 1)
        return torch.nn.functional.adaptive_avg_pool2d(fine.abs(), 2).flatten(1)


def test_copies_that_only_pixels_see(kit):
    train, test = (kit.Pictures(kit.pictures(200, seed, side=32)) for seed in (1, 2))
    model = kit.Sampler(train.all, noise=0.1)
    settings = config.Evaluation(samples=150, importance=1, size=32)
    found = evaluate(model, kit.Data(train, test), settings, judge=Grain())["memorisation"]
    assert found["share"] > 0.5
    assert {pair["space"] for pair in found["pairs"]} == {"pixels"}


def test_heldout_images_that_are_training_images(kit, bumps):
    """Counted; and where there are no others, no check for copies."""
    stock = kit.Pictures(kit.pictures(50, 1))
    data = kit.Data(stock, kit.Pictures(stock.all[:30]), leaked=np.arange(30))
    found = judged(kit.Sampler(stock.all), data, bumps)
    assert found["leaked"] == 30
    assert found["memorisation"] is None
    assert found["figures"]["copies"]["value"] is None


def test_known_samples_are_not_made_again(real, data, bumps):
    def all_but_time(found):
        parts = [found["figures"], found["reference"]]
        return [{k: {**v, "seconds": 0} for k, v in part.items()} for part in parts]

    expected = judged(real, data, bumps)
    x = sampling.levels(real.generate(80, seed=0))
    real.generate = None
    found = judged(real, data, bumps, samples=Samples(bumps(x), memorisation.thumbnails(x)))
    assert all_but_time(found) == all_but_time(expected)
    assert found["memorisation"] == expected["memorisation"]


def test_without_training_images(real, data, bumps):
    found = judged(real, data, bumps, training=False)
    assert found["reference"] == {}
    assert found["memorisation"] is None
    assert data.train.reads == 0


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6])
def test_very_few_heldout_images(kit, real, bumps, n):
    data = kit.Data(kit.Pictures(kit.pictures(3, 1)), kit.Pictures(kit.pictures(n, 2)))
    found = judged(real, data, bumps)
    json.dumps(found, allow_nan=False)
    assert (found["figures"]["kid"]["value"] is None) == (n < 2)
    assert (found["figures"]["coverage"]["value"] is None) == (n <= 5)


def test_repeats_and_follows_the_seed(real, data, bumps):
    def values(seed):
        figures = judged(real, data, bumps, seed=seed, training=False)["figures"]
        return {key: figure["value"] for key, figure in figures.items()}

    assert values(1) == values(1)
    assert values(1) != values(2)


def test_progress_rises_to_its_total(real, data, bumps):
    seen = []
    judged(real, data, bumps, progress=lambda *what: seen.append(what))
    assert {"samples", "held-out images", "training images"} <= {what for what, _, _ in seen}
    assert all(0 <= done <= total for _, done, total in seen)
    assert ("samples", 80, 80) in seen


def test_real_features_are_computed_once(real, data, lite0, tmp_path):
    settings = config.Evaluation(samples=40, importance=1)
    for _ in range(2):
        lite0.memory.clear()
        evaluate(real, data, settings, judge=lite0, training=False, cache_folder=tmp_path)
    assert data.test.reads == 40


def test_what_real_images_alone_say_is_computed_once(real, data, bumps, tmp_path, monkeypatch):
    """The second evaluation compares its samples, and nothing else; and says the same."""
    calls = []
    plain, nearest = distances.read, memorisation.nearest

    def passed(a, b, *measures, **more):
        calls.extend((type(measure).__name__, b is None) for measure in measures)
        plain(a, b, *measures, **more)

    def looked(*args, **more):
        calls.append("pixels")
        return nearest(*args, **more)

    monkeypatch.setattr(distances, "read", passed)
    monkeypatch.setattr(memorisation, "nearest", looked)
    bumps.cacheable = True
    first = judged(real, data, bumps, cache_folder=tmp_path)
    before = Counter(calls)
    calls.clear()
    second = judged(real, data, bumps, cache_folder=tmp_path)
    after = Counter(calls)
    # within held-out images, samples and training images
    for measure in ("Sums", "Mean"):
        assert (before[measure, True], after[measure, True]) == (3, 1)
    for measure in ("Sums", "Balls"):
        assert (before[measure, False], after[measure, False]) == (2, 1)
    # samples and held-out images among training images, in pixels and in features
    assert (before["pixels"], after["pixels"]) == (4, 2)
    gone = before["Nearest", False] - after["Nearest", False]
    assert gone == 1 + 2 * 1  # one in features; each in pixels is one more
    for part in ("figures", "reference"):
        for key, figure in first[part].items():
            assert second[part][key] | {"seconds": 0} == figure | {"seconds": 0}
    assert first["memorisation"] == second["memorisation"]
    judged(real, data, bumps, cache_folder=tmp_path, seed=1)
    # other subsets: nothing is taken from the first seed
    assert Counter(calls)["Sums", True] - after["Sums", True] == 3


def test_fewer_training_than_heldout_images(kit, real, bumps, tmp_path):
    """The subsets of the KID are of another size then, and what is kept is told apart."""
    data = kit.Data(kit.Pictures(kit.pictures(50, 1)), kit.Pictures(kit.pictures(80, 2)))
    bumps.cacheable = True
    found = judged(real, data, bumps, cache_folder=tmp_path)
    held = bumps(data.test.all)
    for part, others in ("figures", real.generate(80)), ("reference", data.train.all):
        expected = kernel.distance(bumps(others), held)
        value = found[part]["kid_subsets"]
        assert value["value"] == pytest.approx(expected.value, rel=1e-3, abs=1e-6)
        assert value["error"] == pytest.approx(expected.error, rel=1e-3)


def test_refuses(real, data, kit, bumps):
    empty = kit.Data(data.train, kit.Pictures(kit.pictures(1, 0)[:0]))
    with pytest.raises(DataError, match="test_share"):
        judged(real, empty, bumps)
    with pytest.raises(ConfigError, match="no judge"):
        evaluate(real, data, config.Evaluation(judge="vgg"))
    with pytest.raises(DataError, match="samples"):
        evaluate(real, data, config.Evaluation(samples=1))
    broken = kit.Sampler(data.train.all * torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        judged(broken, data, bumps)


# -- quick -------------------------------------------------------------------------------------


def test_quick_scores_kid_and_mse(kit, data, bumps):
    model = kit.Coder(data.train.all, latent=4)
    found = quick(model, data.test, bumps, samples=60)
    json.dumps(found, allow_nan=False)
    assert (found["judge"], found["split"]) == ("Bumps@16", "held-out")
    assert (found["n_generated"], found["n_heldout"]) == (60, 60)
    assert found["mse"] > 0
    gan = quick(kit.Sampler(kit.pictures(300, 9)), data.test, bumps, samples=200)
    assert gan["mse"] is None
    assert (gan["n_generated"], gan["n_heldout"]) == (200, 80)
    assert gan["kid"] < quick(kit.Sampler(data.train.all[:1]), data.test, bumps)["kid"]


def test_quick_reads_the_heldout_images_once(real, data, bumps):
    first = quick(real, data.test, bumps, samples=50)
    reads = data.test.reads
    second = quick(real, data.test, bumps, samples=50)
    assert data.test.reads == reads == 50
    assert first["kid"] == second["kid"]


@pytest.mark.parametrize("n", [0, 1, 2])
def test_quick_never_ends_a_run_for_want_of_images(kit, data, bumps, n):
    found = quick(kit.Coder(data.train.all), kit.Pictures(kit.pictures(3, 0)[:n]), bumps)
    json.dumps(found, allow_nan=False)
    assert (found["kid"] is None) == (n < 2)
    assert (found["mse"] is None) == (n < 1)


# -- tables ------------------------------------------------------------------------------------


def test_every_figure_reads_as_a_row(real, data, bumps):
    found = judged(real, data, bumps)
    table = {row.name: row for row in rows(found)}
    kid = table["KID-Bumps"]
    assert kid.better == "lower" and "±" in kid.value and "±" in kid.real
    assert kid.reading == "not told from real images"
    assert kid.counts == "80 generated / 80 held-out" and "Bumps@16" in kid.how
    assert "FID-Bumps" not in table and "5,000" in missing(found)[0]
    assert table["Coverage"].better == "higher"


# -- as long as there is time ---------------------------------------------------------------------


def test_without_time_the_least_is_judged_and_what_is_missing_is_said(
    kit, data, lite0, monkeypatch
):
    monkeypatch.setattr(sampling, "CHUNK", 20)
    model = kit.Coder(data.train.all, latent=4)
    model.generate = kit.Sampler(data.train.all).generate
    found = evaluate(model, data, SETTINGS, judge=lite0, training=False, allowance=Allowance(0))
    assert found["shortened"] == [
        "20 of 80 held-out images reconstructed",
        "the bounds of the likelihood are left out",
    ]
    assert found["figures"]["mse"]["n_heldout"] == 20 and "elbo" not in found["figures"]
    assert found["figures"]["kid"]["n_generated"] == 80
    assert "20 of 80 held-out images reconstructed" in conditions(found)
    whole = evaluate(model, data, SETTINGS, judge=lite0, training=False)
    assert whole["shortened"] == [] and "time" not in conditions(whole)


def test_samples_are_as_many_as_can_be_afforded():
    pace, settings = Pace(sample=0.01, features=0.005, flow=0.0), config.Evaluation(samples=5000)
    data = SimpleNamespace(test=range(1000), train=range(9000))
    assert pace.affordable(data, settings, Allowance()) == settings
    assert pace.affordable(data, settings, Allowance(60)) == settings
    some, none = Allowance(20), Allowance(0)
    assert pace.affordable(data, settings, some).samples == pytest.approx(500, abs=2)
    assert pace.affordable(data, settings, none).samples == 64
    assert some.shortened[0].endswith("of 1,000 images a side judged")


def test_the_forecast_is_about_what_it_takes(kit, data, lite0):
    model = kit.Sampler(data.train.all)
    model.networks |= {"prior": nn.Identity()}
    settings = config.Evaluation(priors=False)
    pace = measured_pace(model, data, lite0, settings)
    assert 0 < pace.features < pace.sample and pace.flow == 0
    assert pace.forecast(model, data, settings) == pytest.approx(
        80 * pace.sample + 160 * pace.features
    )
