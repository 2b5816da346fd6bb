"""Bulk tasks by the actors of a local Ray: the same parts, whatever dies on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ganvae import bulk
from ganvae.bulk.farm import Crew, Work, digest_of
from ganvae.bulk.generate import Generate, make_parts
from ganvae.bulk.units import Piece
from ganvae.errors import ConfigError, DataError

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow  # Ray alone takes seconds to start, and an actor some more
TWO = {"part": 8, "batch": 4, "actors": 2}
SETTINGS = {"n": 80, "seed": 1, "start": 0, "part": 8}


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(
            num_cpus=2, include_dashboard=False, object_store_memory=100_000_000,
            log_to_driver=False, logging_level="ERROR",
        )  # fmt: skip
        from ray import cloudpickle

        cloudpickle.register_pickle_by_value(sys.modules[__name__])  # for the jobs below
        yield
        ray.shutdown()


@dataclass(frozen=True, kw_only=True)
class Unlucky(Generate):
    """Raises at one part for as long as there is a file, or dies of it once."""

    flag: str
    deadly: bool = False

    def begin(self) -> Work:
        work = super().begin()

        def carefully(piece: Piece):
            if piece.part == "part-000004" and Path(self.flag).exists():
                if self.deadly:
                    Path(self.flag).unlink()
                    os.kill(os.getpid(), signal.SIGKILL)
                raise DataError("out of luck")
            return work(piece)

        return carefully


def unlucky(folder: Path, flag: Path, **options) -> Unlucky:
    flag.write_text("")
    return Unlucky(
        model=str(folder), digest=digest_of(str(folder)), seed=1, batch=4, flag=str(flag),
        **options,
    )  # fmt: skip


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("*.parquet")}


@pytest.fixture
def whole(folder: Path, tmp_path: Path) -> dict[str, bytes]:
    """What one process makes in one go."""
    job = Generate(model=str(folder), digest=digest_of(str(folder)), seed=1, batch=4)
    make_parts(job, 80, tmp_path / "whole", SETTINGS, Crew(actors=0), None)
    return contents(tmp_path / "whole")


def test_actors_make_the_parts_of_one_process(folder, tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 8, 8), np.uint8)
    np.savez(tmp_path / "set.npz", images=pixels)
    for verb, what in ((bulk.encode, tmp_path / "set.npz"), (bulk.generate, 50)):
        seen: list[int] = []
        done = verb(
            folder, what, tmp_path / f"{verb.__name__}-ray",
            progress=lambda what, n, total, seen=seen: seen.append(n), **TWO,
        )  # fmt: skip
        assert done.images == 50 and len(seen) == 7 and seen == sorted(seen) and seen[-1] == 50
        verb(folder, what, tmp_path / f"{verb.__name__}-here", **TWO | {"actors": 0})
        by_ray = contents(tmp_path / f"{verb.__name__}-ray")
        assert by_ray == contents(tmp_path / f"{verb.__name__}-here")


def test_what_an_actor_raises_is_said_and_the_rest_is_made_later(folder, whole, tmp_path) -> None:
    out, flag = tmp_path / "out", tmp_path / "flag"
    job = unlucky(folder, flag)
    with pytest.raises(DataError) as caught:
        make_parts(job, 80, out, SETTINGS, Crew(actors=2), None)
    assert str(caught.value) == "out of luck" and type(caught.value) is DataError
    left = contents(out)
    assert "part-000004.parquet" not in left and not (out / "_index.json").exists()
    flag.unlink()

    def stop(what: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_parts(job, 80, out, SETTINGS, Crew(actors=2), stop)
    assert len(contents(out)) > len(left)
    left = contents(out)
    assert make_parts(job, 80, out, SETTINGS, Crew(actors=2), None).made == 10 - len(left)
    assert contents(out) == whole


def test_another_actor_takes_the_place_of_one_that_is_killed(folder, whole, tmp_path) -> None:
    job = unlucky(folder, tmp_path / "flag", deadly=True)
    make_parts(job, 80, tmp_path / "out", SETTINGS, Crew(actors=2), None)
    assert not (tmp_path / "flag").exists()
    assert contents(tmp_path / "out") == whole


def test_no_more_gpus_than_there_are(folder, tmp_path) -> None:
    with pytest.raises(ConfigError, match="2 GPUs were asked for, Ray has 0"):
        bulk.generate(folder, 8, tmp_path / "out", gpus=2, part=8, batch=4)
    with pytest.raises(ConfigError, match="0 or more, got -1"):
        bulk.generate(folder, 8, tmp_path / "out", actors=-1, part=8, batch=4)


def test_a_killed_process_leaves_whole_parts(folder, tmp_path) -> None:
    """SIGKILL half-way, with a Ray of its own; then the same call again."""
    out = tmp_path / "out"
    call = f"from ganvae import bulk; bulk.generate({str(folder)!r}, 60_000, {str(out)!r}, "
    call += "part=64, actors=2)"
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    code = f"import ray; ray.init('local', num_cpus=2, include_dashboard=False, \
object_store_memory=100_000_000, log_to_driver=False); {call}"
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    end = time.monotonic() + 900
    while len(contents(out)) < 3 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    time.sleep(2)  # its actors see that it is gone
    left = len(contents(out))
    assert 3 <= left < 938 and not (out / "_index.json").exists()
    again = bulk.generate(folder, 60_000, out, part=64, actors=2)
    assert again.made == 938 - left and again.images == 60_000
    bulk.generate(folder, 60_000, tmp_path / "whole", part=64, actors=0)
    assert contents(out) == contents(tmp_path / "whole")
    assert len(json.loads((out / "_index.json").read_text())["parts"]) == 938


def test_evaluate_by_actors(folder, tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (80, 8, 8), np.uint8)
    np.savez(tmp_path / "set.npz", images=pixels)
    settings = {"data.test_share": 0.4, "evaluation.size": 16, "evaluation.importance": 2}
    by_ray, here = (
        bulk.evaluate(
            folder, tmp_path / "set.npz", tmp_path / str(actors), settings=settings, samples=24,
            training=True, part=128, actors=actors,
        )
        for actors in (1, 0)
    )  # fmt: skip
    for key, figure in here["figures"].items():
        assert by_ray["figures"][key]["value"] == figure["value"], key
    assert by_ray["memorisation"] == here["memorisation"]
