"""The long forms of the fault list: T1 with 50 kills, T17 with 20 healthy runs, T30."""

import gc
import json
import os
import random
from dataclasses import replace
from pathlib import Path

import harness
import pytest
import test_faults
from harness import digest, settings, train

from ganvae import config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return harness.images(tmp_path_factory.mktemp("data") / "images.npy")


def test_fifty_kills_leave_no_trace(data, tmp_path):  # T1
    """Runs are killed at random moments until 50 kills are made; each ends as if it never was."""
    train(settings(data), tmp_path / "whole")
    reference, chance, kills, number = digest(tmp_path / "whole"), random.Random(7), 0, 0
    while kills < 50:
        share = min(50 - kills, chance.randrange(4, 9))
        out = tmp_path / str(number)
        test_faults.kill_and_resume(settings(data), out, kills=share, seed=chance.randrange(10**6))
        assert digest(out) == reference
        kills, number = kills + share, number + 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("objective", test_faults.NAMES)
def test_twenty_healthy_runs_give_no_alarm(data, tmp_path, objective, seed):  # T17
    chosen = settings(
        data, objective, budget="400steps", checkpoint_every="1h", seed=seed, batch=32
    )
    train(chosen, tmp_path / "run")
    assert test_faults.alarms(tmp_path / "run") == []


@pytest.mark.parametrize("objective", test_faults.NAMES)
def test_healthy_convolutions_give_no_alarm(tmp_path, objective):  # T17
    images = harness.images(tmp_path / "images.npy", size=32)
    chosen = settings(images, objective, budget="200steps", checkpoint_every="1h")
    networks = config.Networks(latent=16, width=8, components=2)
    train(replace(chosen, networks=networks), tmp_path / "run")
    assert test_faults.alarms(tmp_path / "run") == []


def test_memory_and_files_do_not_grow(data, tmp_path):  # T30
    """Thousands of steps, hundreds of checkpoints and previews: nothing stays behind."""
    sizes: list[tuple[int, int]] = []

    def change(step, _batch, _now):
        sizes.append((resident(), len(os.listdir("/proc/self/fd"))))
        return (yield from step)

    chosen = settings(
        data, "gan_vae", budget="4000steps", checkpoint_every="20steps", previews=100,
        tensorboard=True,
    )  # fmt: skip
    train(chosen, tmp_path / "run", change=change)
    memory = [size for size, _ in sizes]
    late = len(sizes) // 2
    gc.collect()
    assert max(memory[-200:]) - max(memory[late : late + 200]) < 4 * 2**20
    files = [number for _, number in sizes]
    assert min(files[-200:]) == min(files[late : late + 200])
    assert max(files[late:]) <= min(files[late:]) + 1  # TensorBoard opens its own now and then
    assert all(json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open())


def resident() -> int:
    """Bytes of memory this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
