"""What cannot work is found before anything is packed or trained."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from pathlib import Path

import harness
import pytest
import torch
from torch import nn

import ganvae
from ganvae import api, cli
from ganvae.errors import CheckpointError, ConfigError
from ganvae.eyes import inception
from ganvae.runs import judging, tournament
from ganvae.runs import run as run_module
from ganvae.runs.run import start
from ganvae.training import preflight, watch


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return harness.images(tmp_path_factory.mktemp("data") / "images.npy")


class Eyes(nn.Module):
    """A judge of somebody's own."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.answer(x)


def refuse(x):
    raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


@pytest.fixture
def nothing_opened(monkeypatch) -> None:
    def opened(*args, **kwargs):
        pytest.fail("the images were opened first")

    monkeypatch.setattr(run_module, "open_data", opened)
    monkeypatch.setattr(judging, "open_data", opened)


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize("objective", ["vae", "vae,gan"])
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("--evaluation.judge=nonsense", "efficientnet-lite0"),
        ("--evaluation.judge=inception", "weights"),
        ("--evaluation.budget=300steps", "must be a time"),
        ("--training.device=tpu", "tpu"),
    ],
)
def test_settings_that_cannot_work_are_found_first(
    data, tmp_path, monkeypatch, capsys, nothing_opened, dry, objective, setting, words
):
    monkeypatch.setenv(inception.VARIABLE, "")
    out = tmp_path / "run"
    told = ["train", str(data), "--objective", objective, setting, "--out", str(out)]
    assert cli.run([*told, "--dry-run"] if dry else told) == 78
    assert words in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refuse, "shapes cannot be multiplied"),
        (lambda x: x, "into features"),
        (lambda x: x.flatten(1).log(), "not finite"),
        (lambda x: None, "into features"),
    ],
)
def test_a_judge_of_ones_own_is_tried_on_two_images(data, tmp_path, nothing_opened, answer, words):
    with pytest.raises(ConfigError, match=words):
        ganvae.train(data, objective="vae", out=tmp_path / "run", judge=Eyes(answer))
    assert not (tmp_path / "run").exists()


def test_a_model_is_judged_by_eyes_that_see_before_its_images_are_opened(
    data, tmp_path, nothing_opened, monkeypatch
):
    class Loaded:
        device = "cpu"

    monkeypatch.setattr(api, "load", lambda *args, **kwargs: Loaded())
    (tmp_path / "config.yaml").write_text("evaluation: {judge: nonsense}")
    with pytest.raises(ConfigError, match="nonsense"):
        api.evaluate(tmp_path)


def test_quick_scores_are_by_the_judge_that_was_given(data, tmp_path, monkeypatch):
    seen = []
    real = watch.quick

    def quick(model, test, judge, *args, **kwargs):
        seen.append(judge.label)
        return real(model, test, judge, *args, **kwargs)

    monkeypatch.setattr(watch, "quick", quick)
    monkeypatch.setattr(judging, "assess", lambda *args, judge, **kwargs: seen.append(judge.label))
    chosen = harness.settings(data, "vae", budget="4steps", evaluations=1)
    start(chosen, tmp_path / "run", judge=Eyes(lambda x: x.flatten(1)[:, :9]))
    assert seen == ["Eyes", "Eyes"]


def test_a_tournament_says_first_who_cannot_take_part(data, tmp_path, monkeypatch):
    told = harness.Notes()

    def start(*args, **kwargs):
        told.message("training")
        raise ConfigError("not now")

    monkeypatch.setattr(tournament, "start", start)
    chosen, out = tournament.settle(["vae", "cvae_gan", "gan"], {"data.path": str(data)},
                                 out=tmp_path / "t")  # fmt: skip
    with pytest.raises(ConfigError):
        tournament.run(chosen, out, display=told)
    left_out = [text for text in told.texts if text.startswith("cvae_gan is left out")]
    assert left_out and told.texts.index(left_out[0]) < told.texts.index("training")


# -- the place ----------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_place_that_takes_nothing_is_refused(data, tmp_path, monkeypatch, nothing_opened):
    chosen = harness.settings(data)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(CheckpointError, match="cannot be written"):
        start(chosen, tmp_path / "a" / "run")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CheckpointError, match="is no folder"):
        preflight.place(tmp_path / "file" / "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


Usage = namedtuple("Usage", "total used free")


def room(monkeypatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9 - free, free))


def test_a_run_whose_checkpoints_cannot_fit_is_refused_with_both_numbers(
    data, tmp_path, monkeypatch
):
    """What is written in the end is what was counted at the start, but for the headers."""
    chosen = harness.settings(data, "vae", keep=2)
    harness.train(chosen, tmp_path / "whole")
    sizes = [
        sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        for folder in sorted((tmp_path / "whole" / "checkpoints").iterdir())
    ]
    needed = sum(sizes) + sizes[-1] - 40_000  # three at once, of which one is the first
    room(monkeypatch, needed // 2)
    with pytest.raises(CheckpointError, match=rf"needs [\d,]+ bytes .* {needed // 2:,} are free"):
        harness.train(chosen, tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.safetensors"))
    room(monkeypatch, sum(sizes) + sizes[-1])
    harness.train(chosen, tmp_path / "run")
    assert harness.digest(tmp_path / "run") == harness.digest(tmp_path / "whole")


@pytest.mark.parametrize(
    ("budget", "every", "saves"),
    [("40steps", "10steps", 5), ("3m", "60s", 4), ("1kimg", "1m", 2), ("5steps", "10steps", 2)],
)
def test_so_many_checkpoints_are_written_at_least(budget, every, saves):
    assert preflight._saves(budget, every) == saves
