"""Faults that a training survives, by breaking real runs: rows T1-T31 of the fault list."""

import errno
import itertools
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import harness
import numpy as np
import pytest
import torch
from harness import digest, events, last, saved_steps, settings, spoilt, train, trainer
from torch import nn

from ganvae import config, files, objectives
from ganvae.errors import BusyError, CheckpointError, ConfigError, DivergedError
from ganvae.networks.prior import MixturePrior
from ganvae.training import (
    build,
    checkpoint,
    convolution,
    precision,
    previews,
    processes,
    watch,
)
from ganvae.training.learner import Learner
from ganvae.training.trainer import Watcher

NAMES = ("gan", "gan_vae", "vae", "vae_gan")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return harness.images(tmp_path_factory.mktemp("data") / "images.npy")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """H of an uninterrupted run, by objective."""
    known = {}

    def run(objective: str = "gan_vae") -> str:
        if objective not in known:
            out = tmp_path_factory.mktemp("whole") / "run"
            train(settings(data, objective), out)
            known[objective] = digest(out)
        return known[objective]

    return run


def no_leftovers(out: Path) -> bool:
    return not [path for path in out.rglob("*") if files.is_scratch(path) or "-old" in path.name]


# -- killed -------------------------------------------------------------------------------------


def start(*args):
    """A process of its own that trains; and the connection on which it tells its steps."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["harness"])
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=harness.child, args=(*args, there))
    process.start()
    there.close()
    assert here.poll(120) and here.recv() == "started"
    return process, here


def told(connection) -> list[int]:
    steps = []
    try:
        while connection.poll(0):
            steps.append(connection.recv())
    except EOFError:
        pass
    return steps


def kill_and_resume(chosen, out: Path, kills: int, seed: int, interval: int = 10) -> None:
    """Kills a run at random moments, each time resuming it, then lets it end."""
    chance = random.Random(seed)
    for number in range(kills):
        process, connection = start(chosen, out, number > 0, 0.02)
        moment = chance.uniform(0, 1.0)
        process.join(moment)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        began = told(connection)
        if began and process.exitcode:
            assert began[-1] - last(out).step <= interval
    train(chosen, out, resume=True)
    assert no_leftovers(out)


@pytest.mark.parametrize("objective", ["gan_vae", pytest.param("vae_gan", marks=pytest.mark.slow)])
def test_a_run_killed_again_and_again_ends_as_if_it_never_was(
    data, whole, tmp_path, objective
):  # T1
    kill_and_resume(settings(data, objective), tmp_path / "run", kills=3, seed=len(objective))
    assert digest(tmp_path / "run") == whole(objective)
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert steps == sorted(steps)


@pytest.mark.parametrize(
    "call",
    ["rename", *(pytest.param(name, marks=pytest.mark.slow) for name in ("fsync", "rmdir"))],
)
def test_a_run_killed_inside_a_save_ends_as_if_it_never_was(
    data, whole, tmp_path, monkeypatch, call
):  # T2, T26
    class Crash(BaseException):
        pass

    real, calls = getattr(os, call), []

    def crash(*args, **kwargs):
        calls.append(call)
        if len(calls) == 12:
            raise Crash
        return real(*args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(os, call, crash)
        train(settings(data, checkpoint_every="1steps"), tmp_path / "run")
    chosen = settings(data, checkpoint_every="1steps")
    (tmp_path / "run" / "previews").mkdir(exist_ok=True)
    left = files.scratch(tmp_path / "run" / "previews" / "half.png")
    left.write_bytes(b"as a kill leaves it")
    train(chosen, tmp_path / "run", resume=True)
    assert digest(tmp_path / "run") == whole() and no_leftovers(tmp_path / "run")


@pytest.mark.parametrize("begun", [True, False])
def test_a_run_goes_on_in_the_precision_it_was_begun_in(data, tmp_path, monkeypatch, begun):
    class Crash(BaseException):
        pass

    def crash(step, batch, now):
        if now.step == 15:
            raise Crash
        return (yield from step)

    monkeypatch.setattr(precision, "pays", lambda device, nets: begun)
    with pytest.raises(Crash):
        train(settings(data), tmp_path / "run", change=crash)
    monkeypatch.setattr(precision, "pays", lambda device, nets: not begun)
    resumed = trainer(settings(data), tmp_path / "run", resume=True)
    resumed.run()
    assert resumed.learner.engine.bf16 is begun
    new = trainer(settings(data), tmp_path / "other")
    new.run()
    assert new.learner.engine.bf16 is not begun


@pytest.mark.parametrize(("pays", "told", "strict"), [
    (True, None, False), (True, True, True), (False, True, True), (True, False, None),
    (False, None, None),
])  # fmt: skip
def test_networks_are_compiled_where_it_pays_or_as_told(
    data, tmp_path, monkeypatch, pays, told, strict
):
    compiled: list[tuple[set[str], bool]] = []

    def note(nets, *, strict):
        compiled.append((set(nets), strict))

    monkeypatch.setattr(precision, "compile_networks", note)
    monkeypatch.setattr(precision, "compiles", lambda device, seconds: pays and seconds is None)
    train(settings(data, budget="2steps", compile=told), tmp_path / "run")
    roles = {"encoder", "decoder", "prior", "likelihood", "generator", "discriminator"}
    assert compiled == ([] if strict is None else [(roles, strict)])


def test_convolutions_in_bfloat16_end_as_if_the_run_had_never_been_interrupted(tmp_path):
    """Also those whose weight's gradient is a matrix product."""

    class Crash(BaseException):
        pass

    made = []

    def crash(step, batch, now):
        made.append(now)
        if len(made) == 9:  # in the second stage
            raise Crash
        return (yield from step)

    chosen = settings(
        harness.images(tmp_path / "images.npy", 64, size=16),
        budget="12steps", checkpoint_every="5steps", bf16=True,
    )  # fmt: skip
    convolutional = config.Networks(family="residual", width=32, depth=1, latent=4, components=2)
    chosen = replace(chosen, networks=convolutional)
    whole = trainer(chosen, tmp_path / "whole")
    whole.run()
    nets = whole.learner.nets.values()
    quick = [type(part).__module__ for net in nets for part in net.modules()]
    assert convolution.__name__ in quick
    with pytest.raises(Crash):
        train(chosen, tmp_path / "run", change=crash)
    train(chosen, tmp_path / "run", resume=True)
    assert digest(tmp_path / "run") == digest(tmp_path / "whole")


# -- asked to stop ------------------------------------------------------------------------------


def hit(patch, place: str, number: signal.Signals) -> None:
    """The n-th call of some part of the training is met by a signal."""
    parts = {
        "save": (checkpoint, "save", 3),
        "evaluation": (watch, "quick", 1),
        "conclusion": (Learner, "conclude", 1),
        "start-up": (Learner, "build", 1),
        "preparation": (objectives.get("vae"), "prepare", 1),
        "fit": (MixturePrior, "fit", 1),
        "second preparation": (objectives.get("gan_vae"), "prepare", 1),
        "preview": (previews, "write", 1),
    }
    home, name, nth = parts[place]
    real, calls = getattr(home, name), []

    def call(*args, **kwargs):
        calls.append(name)
        if len(calls) == nth:
            os.kill(os.getpid(), number)
        return real(*args, **kwargs)

    patch.setattr(home, name, call)


PLACES = [
    "save", "evaluation", "conclusion", "start-up", "preview", "preparation", "fit",
    "second preparation",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_sigterm_anywhere_loses_nothing(data, whole, tmp_path, monkeypatch, place):  # T4
    chosen = settings(data, evaluations=1, previews=1)
    score = {"kid": 1.0, "kid_error": math.nan, "mse": 0.5}
    monkeypatch.setattr(watch.judges, "load", lambda *_a, **_k: None)
    monkeypatch.setattr(watch, "quick", lambda *_a, **_k: score)
    with monkeypatch.context() as patch:
        hit(patch, place, signal.SIGTERM)
        began = time.monotonic()
        result = train(chosen, tmp_path / "run")
        assert time.monotonic() - began < 30
    if place == "preview":  # the only preview is the last thing of the run
        assert result.status in ("SIGTERM", "done")
    else:
        assert result.status == "SIGTERM" and result.position.step < 40
        saved = [result.position.step] if result.position.step else []  # nothing to save before
        assert saved_steps(tmp_path / "run")[-1:] == saved
    assert train(chosen, tmp_path / "run", resume=True).status == "done"
    assert digest(tmp_path / "run") == whole()


@pytest.mark.parametrize(
    ("what", "objective", "number"),
    [
        ("conclusion", "gan_vae", signal.SIGTERM),
        ("conclusion", "vae", signal.SIGINT),  # after the last step
        ("preparation", "gan_vae", signal.SIGINT),
        ("preview", "gan_vae", signal.SIGTERM),
        ("score", "gan_vae", signal.SIGINT),
    ],
)
def test_long_work_between_steps_is_cut_short(
    data, whole, tmp_path, monkeypatch, what, objective, number
):
    """A conclusion, preparation, preview or score ends when the signal comes, not later."""
    chosen = settings(data, objective, evaluations=1, previews=2)
    monkeypatch.setattr(watch.judges, "load", lambda *_a, **_k: None)
    score = {"kid": 1.0, "kid_error": 0.1, "mse": 0.5}
    monkeypatch.setattr(watch, "quick", lambda *_a, **_k: score)
    slept = []

    def sleepy(*_args, **_kwargs):
        threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
        slept.append(what)
        for _ in range(600):
            time.sleep(0.1)

    home, name = {
        "conclusion": (MixturePrior, "fit"),
        "preparation": (objectives.get("gan_vae"), "prepare"),
        "preview": (previews, "write"),
        "score": (watch, "quick"),
    }[what]
    with monkeypatch.context() as patch:
        patch.setattr(home, name, sleepy)
        began = time.monotonic()
        result = train(chosen, tmp_path / "run")
    assert slept and time.monotonic() - began < 30
    assert result.status == number.name
    assert last(tmp_path / "run").step == result.position.step > 0
    assert train(chosen, tmp_path / "run", resume=True).status == "done"
    assert digest(tmp_path / "run") == whole(objective)


@pytest.mark.parametrize("batch", [1, 16])
def test_a_fit_reads_in_batches_of_its_own(data, tmp_path, monkeypatch, batch):
    """However small the training's batches are, and although there are fewer images than asked."""
    read, fitted = [], []
    real = build.images

    def images(*given):
        for one in real(*given):
            read.append(len(one.image))
            yield one

    monkeypatch.setattr(build, "images", images)
    monkeypatch.setattr(MixturePrior, "fit", lambda self, z, *_: fitted.append(z))
    chosen = settings(data, "vae", budget="2steps", batch=batch)
    train(replace(chosen, objective_options={"fit": 600}), tmp_path / "run")
    assert read == [256, 256, 256] and len(fitted[0]) == 600
    # every image of this set has been met before one comes again
    assert len(fitted[0].unique(dim=0)) == 600


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("step", [0, 19])
def test_a_signal_during_a_step_loses_nothing(data, whole, tmp_path, number, step):  # T4, T5
    change = harness.signalling(number, lambda now: now.step == step)
    result = train(settings(data), tmp_path / "run", change=change)
    assert result.status == number.name and result.position.step == step + 1
    assert last(tmp_path / "run").step == step + 1
    train(settings(data), tmp_path / "run", resume=True)
    assert digest(tmp_path / "run") == whole()


# -- disks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, r"needs [\d,]+ bytes and [\d,]+ are free"), (errno.EROFS, "read-only")],
)
def test_a_save_that_fails_in_mid_run_is_loud(
    data, whole, tmp_path, monkeypatch, number, words
):  # T6, T8
    real = checkpoint.save

    def save(folder, step, *args, **kwargs):
        if step < 20:
            return real(folder, step, *args, **kwargs)

        def refuse(*_args):
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", refuse)
            return real(folder, step, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", save)
        with pytest.raises(CheckpointError, match=words) as caught:
            train(settings(data), tmp_path / "run")
    assert "step-00000020" in str(caught.value)
    assert saved_steps(tmp_path / "run") == [0, 10]
    train(settings(data), tmp_path / "run", resume=True)
    assert digest(tmp_path / "run") == whole()


def test_a_place_that_cannot_be_written_is_refused_before_the_first_step(
    data, tmp_path, monkeypatch
):  # T8
    def refuse(*_args, **_kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    stepped = []
    change = harness.signalling(signal.SIGTERM, lambda now: bool(stepped.append(now)))
    run = trainer(settings(data), tmp_path / "run", change=change)
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(CheckpointError, match="read-only"):
        run.run()
    assert not stepped


# -- damaged checkpoints ------------------------------------------------------------------------


def test_a_damaged_checkpoint_is_passed_over_and_told(data, whole, tmp_path):  # T10, T12
    out = tmp_path / "run"
    stop = harness.signalling(signal.SIGTERM, lambda now: now.step == 15)
    train(settings(data), out, change=stop)
    assert saved_steps(out) == [10, 16]
    file = out / "checkpoints" / "step-00000016" / "optim.discriminator.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    shown = harness.Notes()
    train(settings(data), out, resume=True, display=shown)
    texts = " ".join(shown.texts)
    assert "step-00000016" in texts and file.name in texts and "from step 10" in texts
    assert digest(out) == whole()


def test_nothing_but_damaged_checkpoints_is_refused(data, tmp_path):  # T13
    out = tmp_path / "run"
    train(settings(data), out)
    for file in out.glob("checkpoints/*/manifest.json"):
        file.unlink()
    before = sorted(out.rglob("*"))
    with pytest.raises(CheckpointError, match="none of the 2 checkpoints"):
        train(settings(data), out, resume=True)
    assert sorted(out.rglob("*")) == before


# -- numbers that are not finite ----------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("step", [0, 7])
@pytest.mark.parametrize("last_move", [True, False])
def test_one_bad_batch_moves_nothing(data, tmp_path, value, step, last_move):  # T14
    """With ``last_move`` the discriminator's move is whole and has been made by then."""
    kept = {}

    def parts(run):
        state = run.learner.state()
        return {name: checkpoint.digest({name: state[name]}) for name in state}

    class Compare(Watcher):
        def before_step(self, run):
            kept["before"] = parts(run)

        def after_step(self, run, outcome):
            if not outcome.ok:
                kept["after"] = parts(run)
                assert kept["after"] == kept["before"]
            else:
                assert parts(run) != kept["before"]

    chosen = settings(data, "gan", budget="20steps")
    change = spoilt(lambda now: now.step == step, value, last_move)
    result = train(chosen, tmp_path / "run", change=change, watchers=[Compare()])
    assert "after" in kept and result.status == "done" and result.position.step == 20
    assert any(f"step {step + 1} skipped" in text for text in events(tmp_path / "run"))
    checkpoint.finite(last(tmp_path / "run").state)


def test_from_some_step_on_only_nan_goes_back_twice_then_stops(data, tmp_path):  # T16
    out = tmp_path / "run"
    change = spoilt(lambda now: now.step >= 25)
    chosen = settings(data, "gan")
    with pytest.raises(DivergedError, match="lr_scale"):
        train(chosen, out, change=change)
    found = last(out)
    assert 20 <= found.step <= 28
    checkpoint.finite(found.state)
    told = events(out)
    assert sum("back to step" in text for text in told) == 2
    lines = [json.loads(line) for line in (out / "metrics.jsonl").open()]
    assert all(line["step"] <= 28 for line in lines)
    result = train(chosen, out, resume=True)  # with what was wrong put right
    assert result.status == "done"


def test_nan_from_the_start_of_a_stage_on_goes_back_twice_then_stops(data, tmp_path):  # T16
    """Going back across the stage's beginning does not forget how often that was done."""
    out, bad = tmp_path / "run", iter(range(100))

    def second(step, batch, now):
        nonlocal bad
        losses = next(step)
        wrong = torch.nan if "discriminator" in losses and next(bad) < 50 else 1.0
        yield {name: wrong * loss for name, loss in losses.items()}
        return (yield from step)

    with pytest.raises(DivergedError, match="lr_scale"):
        train(settings(data, checkpoint_every="1h"), out, change=second)
    assert sum("back to step" in text for text in events(out)) == 2
    assert next(bad) == 9


def test_three_bad_batches_are_left_behind_by_going_back(data, tmp_path):
    """Another order of the images lets a run pass what stopped it."""
    count = iter(range(3))

    def three(now):
        return now.step >= 25 and next(count, None) is not None

    result = train(settings(data, "gan"), tmp_path / "run", change=spoilt(three))
    assert result.status == "done" and result.position.rollbacks == 1
    assert sum("back to step 20" in text for text in events(tmp_path / "run")) == 1


# -- alarms -------------------------------------------------------------------------------------


def long(data, objective="gan", **training) -> config.Config:
    return settings(data, objective, budget="160steps", checkpoint_every="1h", **training)


def alarms(out: Path) -> list[str]:
    words = (" for ", "steps")
    return [text for text in events(out) if all(word in text for word in words)]


@pytest.mark.parametrize(
    "objective", ["gan", *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[1:])]
)
def test_a_healthy_run_gives_no_alarm(data, tmp_path, objective):  # T17
    train(long(data, objective), tmp_path / "run")
    assert alarms(tmp_path / "run") == []


def test_a_hundredfold_learning_rate_gives_an_alarm(data, tmp_path):  # T17
    train(long(data, lr_scale=100.0), tmp_path / "run")
    assert alarms(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["gan", "gan_vae", "vae_gan"])  # a clipped VAE survives it
def test_a_hundredfold_learning_rate_gives_an_alarm_in_convolutions(tmp_path, objective):  # T17
    chosen = long(harness.images(tmp_path / "images.npy", size=32), objective, lr_scale=100.0)
    out, networks = tmp_path / "run", config.Networks(latent=16, width=8, components=2)
    try:
        train(replace(chosen, networks=networks), out)
    except DivergedError:
        return
    assert alarms(out)


class Constant(nn.Module):
    """The same image for every z."""

    def __init__(self):
        super().__init__()
        self.image = nn.Parameter(torch.zeros(1, 1, 8, 8))

    def forward(self, z):
        return torch.tanh(self.image).expand(len(z), -1, -1, -1)


def test_a_constant_generator_gives_an_alarm(data, tmp_path):  # T17
    train(long(data), tmp_path / "run", networks={"generator": Constant()})
    assert any("the same image" in text for text in alarms(tmp_path / "run"))


class Frozen(nn.Module):
    """A discriminator whose parameters cannot be trained."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
        self.requires_grad_(False)

    def forward(self, x, features=False):
        logit = self.net(x)[:, 0]
        return (logit, x.flatten(1)) if features else logit


@pytest.mark.parametrize("objective", ["gan", pytest.param("vae_gan", marks=pytest.mark.slow)])
def test_a_frozen_discriminator_gives_an_alarm(data, tmp_path, objective):  # T17
    torch.manual_seed(0)
    train(long(data, objective), tmp_path / "run", networks={"discriminator": Frozen()})
    assert any("discriminator has not" in text for text in alarms(tmp_path / "run"))


# -- changes between runs -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "count"),
    [
        (lambda x: np.concatenate([x, 255 - x[:3]]), "3 added"),
        (lambda x: x[:-2], "2 removed"),
        (lambda x: np.concatenate([x[:100], 255 - x[100:101], x[101:]]), "1"),
    ],
)
def test_changed_images_are_refused_with_counts(tmp_path, edit, count):  # T19
    path, out = harness.images(tmp_path / "images.npy"), tmp_path / "run"
    stop = harness.signalling(signal.SIGTERM, lambda now: now.step == 12)
    train(settings(path), out, change=stop)
    np.save(path, edit(np.load(path)))
    with pytest.raises(ConfigError) as caught:
        train(settings(path), out, resume=True)
    assert count in str(caught.value) and "images" in str(caught.value)
    train(settings(path, allow_changes=True), out, resume=True)
    assert any("although changed" in text and count in text for text in events(out))
    assert any(count in change for change in last(out).meta["changes"])


def test_a_changed_configuration_is_shown_and_refused(data, tmp_path):  # T20
    out = tmp_path / "run"
    stop = harness.signalling(signal.SIGTERM, lambda now: now.step == 12)
    train(settings(data), out, change=stop)
    before = digest(out)
    for changed, words in (
        (settings(data, batch=8), ("training.batch", "16", "8")),
        (settings(data, seed=1), ("training.seed", "0", "1")),
        (replace(settings(data), objective_options={"share": 0.25}), ("share", "0.25")),
    ):
        with pytest.raises(ConfigError) as caught:
            train(changed, out, resume=True)
        assert all(word in str(caught.value) for word in words)
        assert digest(out) == before


def test_what_was_allowed_once_is_the_runs_own_from_then_on(tmp_path):  # T19, T20
    path, out = harness.images(tmp_path / "images.npy"), tmp_path / "run"
    stop = harness.signalling(signal.SIGTERM, lambda now: now.step == 12)
    train(settings(path), out, change=stop)
    before = np.load(path)
    np.save(path, np.concatenate([before, 255 - before[:3]]))

    class Crash(BaseException):
        pass

    def crash(step, batch, now):
        raise Crash

    with pytest.raises(Crash):  # before another checkpoint is due
        train(settings(path, batch=8, allow_changes=True), out, resume=True, change=crash)
    assert config.load(out / "config.yaml").training.batch == 8
    np.save(path, before)
    with pytest.raises(ConfigError, match="3 removed"):
        train(settings(path, batch=8), out, resume=True)
    np.save(path, np.concatenate([before, 255 - before[:3]]))
    train(settings(path, batch=8), out, resume=True)
    assert last(out).step == 40


def test_processes_that_find_different_checkpoints_are_told_so(data, tmp_path, monkeypatch):
    out = tmp_path / "run"
    stop = harness.signalling(signal.SIGTERM, lambda now: now.step == 12)
    train(settings(data), out, change=stop)
    before = digest(out)

    def other(self, *numbers):  # the largest of each, where another process has found nothing
        return [max(number, theirs) for number, theirs in zip(numbers, (-1.0, 1.0), strict=True)]

    monkeypatch.setattr(processes.Processes, "agree", other)
    with pytest.raises(ConfigError, match=r"\(steps -1 and \d+\): --out must be a directory"):
        train(settings(data), out, resume=True)
    assert digest(out) == before


@pytest.mark.parametrize("change", ["latent", "stages"])
def test_changes_that_do_not_fit_what_was_trained_are_refused(data, tmp_path, change):  # T20
    out, steps = tmp_path / "run", itertools.count()
    stop = harness.signalling(signal.SIGTERM, lambda now: next(steps) == 25)
    train(settings(data), out, change=stop)
    before, free = digest(out), settings(data, allow_changes=True)
    other = replace(free, networks=replace(free.networks, latent=8))
    if change == "stages":  # of which the run is in the second
        other = replace(free, objective="vae", objective_options={"fit": 64})
    with pytest.raises(ConfigError, match=r"go back to its objective, networks and data\.size"):
        train(other, out, resume=True)
    assert digest(out) == before


def test_a_larger_budget_goes_on_in_the_last_stage_from_where_it_was(data, tmp_path):
    out, seen = tmp_path / "run", []

    def told(step, batch, now):
        seen.append((now.step, now.progress))
        return (yield from step)

    train(settings(data, budget="20steps"), out, change=told)
    train(settings(data, budget="60steps", allow_changes=True), out, resume=True, change=told)
    steps, progress = zip(*seen[20:])
    assert steps == tuple(range(10, 50))  # of the game, whose first ten were made before
    assert progress == pytest.approx([step / 50 for step in steps])


@pytest.mark.parametrize(("batch", "accumulate"), [(2, 2), (6, 2), (9, 3)])
def test_micro_batches_that_cannot_be_halved_are_refused_at_once(
    data, tmp_path, batch, accumulate
):
    chosen = settings(data, batch=batch, accumulate=accumulate)
    with pytest.raises(ConfigError, match=f"training.batch as a multiple of {2 * accumulate}"):
        train(chosen, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()
    train(settings(data, "vae", batch=batch, accumulate=accumulate, budget="2steps"),
          tmp_path / "other")  # fmt: skip


def test_what_cannot_matter_may_change(data, whole, tmp_path):
    out = tmp_path / "run"
    stop = harness.signalling(signal.SIGTERM, lambda now: now.step == 12)
    train(settings(data), out, change=stop)
    train(settings(data, keep=5, checkpoint_every="7steps"), out, resume=True)
    assert digest(out) == whole()


# -- two runs in one place ----------------------------------------------------------------------


def test_a_second_run_is_refused_until_the_first_is_gone(data, whole, tmp_path):  # T24
    out = tmp_path / "run"
    process, connection = start(settings(data), out, False, 0.2)
    while not told(connection):
        time.sleep(0.01)
    began = time.monotonic()
    with pytest.raises(BusyError, match=f"process {process.pid} on "):
        train(settings(data), out, resume=True)
    assert time.monotonic() - began < 5
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    train(settings(data), out, resume=True)
    assert digest(out) == whole()


# -- the command line ---------------------------------------------------------------------------

FLAGS = {
    "objective": "vae", "objective.fit": "64", "networks.family": "mlp", "networks.latent": "4",
    "networks.components": "2", "training.batch": "16", "training.checkpoint-every": "5steps",
    "training.evaluations": "0", "training.previews": "0", "training.threads": "1",
    "training.tensorboard": "false", "evaluation.samples": "8", "evaluation.importance": "2",
    "evaluation.priors": "false",
}  # fmt: skip


def command(data: Path, out: Path, budget: str, *more: str) -> list[str]:
    flags = [part for name, value in FLAGS.items() for part in (f"--{name}", value)]
    chosen = [str(data), "--budget", budget, "--out", str(out), *flags]
    return [sys.executable, "-m", "ganvae", "train", *chosen, *more]


def begin(data: Path, out: Path, budget: str = "1h", *more: str, **env: str) -> subprocess.Popen:
    process = subprocess.Popen(
        command(data, out, budget, *more),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | env, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while process.poll() is None and not (out / "checkpoints" / "step-00000010").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


@pytest.mark.parametrize(
    ("name", "code"), [("SIGTERM", 143), pytest.param("SIGINT", 130, marks=pytest.mark.slow)]
)
def test_the_command_stops_when_asked(data, tmp_path, name, code):  # T4, T5
    out = tmp_path / "run"
    process = begin(data, out)
    process.send_signal(signal.Signals[name])
    said = process.communicate(timeout=30)[1]
    assert process.returncode == code, said
    assert "--resume" in said and "Traceback" not in said
    assert f"step {last(out).step:,}" in said


@pytest.mark.slow
def test_a_second_sigint_ends_the_command_at_once(data, tmp_path):  # T5
    out = tmp_path / "run"
    process = begin(data, out)
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)  # two that wait to be delivered would count as one
    process.send_signal(signal.SIGINT)
    assert process.wait(2) in (130, -signal.SIGINT)  # a shell calls both 130
    assert last(out).step >= 5


@pytest.mark.slow
def test_a_second_command_is_refused(data, tmp_path):  # T24
    out = tmp_path / "run"
    process = begin(data, out)
    try:
        second = subprocess.run(
            command(data, out, "1h", "--resume"), capture_output=True, text=True, timeout=60
        )
        assert second.returncode == 75
        assert f"process {process.pid} on " in second.stderr
        assert "Traceback" not in second.stderr
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_without_home_and_output_it_still_completes(data, tmp_path):  # T31
    out = tmp_path / "run"
    shell = " ".join(map(repr, command(data, out, "20steps"))) + " >&- 2>&- <&-"
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "OMP_NUM_THREADS")}
    done = subprocess.run(
        ["/bin/sh", "-c", shell], env=kept, cwd=tmp_path, timeout=120, check=False
    )
    assert done.returncode == 0
    assert last(out).meta["position"]["done"]
    assert (out / "report.html").stat().st_size > 1000


@pytest.mark.slow
def test_a_reader_that_leaves_does_not_end_the_training(data, tmp_path):  # T31
    out = tmp_path / "run"
    shell = " ".join(map(repr, command(data, out, "20steps"))) + " 2>&1 | true"
    subprocess.run(["/bin/sh", "-c", shell], cwd=tmp_path, timeout=120, check=False)
    assert last(out).meta["position"]["done"]


# -- many processes -----------------------------------------------------------------------------

PROGRAM = """
import sys, pickle
import torch, harness
from pathlib import Path
from ganvae.training import checkpoint
data, out, budget, mode = sys.argv[1:]
chosen = harness.settings(Path(data), "vae_gan", budget=budget)
def change(step, batch, now):
    import os, time
    if mode == "spoil" and now.step == 5 and os.environ["RANK"] == "1":
        spoil = lambda losses: {name: loss * float("nan") for name, loss in losses.items()}
        return (yield from harness.follow(step, spoil))
    if mode == "slow":
        time.sleep(0.1)
    return (yield from step)
run = harness.trainer(chosen, Path(out), resume=mode == "resume", change=change)
run.run()
print("rank", run.processes.rank, checkpoint.digest(run.learner.state()), flush=True)
"""


def launch(data: Path, out: Path, mode: str, *, processes: int = 2, budget: str = "40steps"):
    program = out.parent / "program.py"
    program.write_text(PROGRAM)
    return subprocess.Popen(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone",
            "--nproc-per-node", str(processes), str(program), str(data), str(out), budget, mode,
        ],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def digests(output: str) -> list[str]:
    return sorted(line.split()[2] for line in output.splitlines() if line.startswith("rank "))


@pytest.mark.slow
def test_nan_on_one_of_two_processes_skips_the_step_on_both(data, tmp_path):  # T15
    process = launch(data, tmp_path / "run", "spoil")
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert len(digests(output)) == 2 and len(set(digests(output))) == 1
    assert sum("step 6 skipped" in text for text in events(tmp_path / "run")) == 1
    checkpoint.finite(last(tmp_path / "run").state)


def workers(parent: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True)
    return [int(pid) for pid in listed.stdout.split()]


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
def test_one_of_two_processes_killed_ends_both_and_resumes(data, tmp_path, which):  # T21
    out = tmp_path / "run"
    process = launch(data, out, "slow")
    while not (out / "checkpoints" / "step-00000010").exists():
        assert process.poll() is None
        time.sleep(0.05)
    pids = sorted(workers(process.pid))
    assert len(pids) == 2
    os.kill(pids[which], signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    resumed = launch(data, out, "resume")
    output = resumed.communicate(timeout=120)[0]
    assert resumed.returncode == 0, output
    other = tmp_path / "whole"
    reference = launch(data, other, "plain")
    reference.communicate(timeout=120)
    assert digest(out) == digest(other)


@pytest.mark.slow
def test_one_process_becomes_two(data, tmp_path):  # T28
    out, alone = tmp_path / "run", tmp_path / "alone"
    stop = harness.signalling(signal.SIGTERM, lambda now: now.step == 12)
    chosen = settings(data, "vae_gan")
    train(chosen, out, change=stop)
    train(chosen, alone)
    resumed = launch(data, out, "resume")
    output = resumed.communicate(timeout=120)[0]
    assert resumed.returncode == 0, output
    assert any("not bit-exact" in text for text in events(out))
    one, two = last(alone).state, last(out).state
    for group in (name for name in one if name.startswith("networks.")):
        for name, value in one[group].items():
            if value.is_floating_point():
                torch.testing.assert_close(two[group][name], value, rtol=1e-3, atol=1e-4)


def test_a_copy_of_a_run_continues_elsewhere(data, whole, tmp_path):
    stop = harness.signalling(signal.SIGTERM, lambda now: now.step == 12)
    train(settings(data), tmp_path / "run", change=stop)
    shutil.copytree(tmp_path / "run", tmp_path / "elsewhere")
    train(settings(data), tmp_path / "elsewhere", resume=True)
    assert digest(tmp_path / "elsewhere") == whole()
