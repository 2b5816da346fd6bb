"""How growth is measured: synthetic images, turns and fits."""

import json
import math

import numpy as np
import pytest

from benchmarks import growth
from benchmarks.data import synthetic
from benchmarks.growth import Contestant, pace, power, race
from benchmarks.ours import shares


def test_synthetic_images_all_differ(tmp_path):
    images = np.load(synthetic(tmp_path / "images.npy", 2500, 16))
    assert images.shape == (2500, 16, 16, 1) and images.dtype == np.uint8
    assert len(np.unique(images.reshape(2500, -1), axis=0)) == 2500


def test_a_power_law_is_found_again():
    law = power([32, 64, 128], [3 * x**2.0 for x in (32, 64, 128)])
    assert law["exponent"] == 2.0 and math.isclose(law["factor"], 3.0)
    assert law["off_by"] == 1.0
    assert power([1, 2, 4], [1.0, 3.0, 4.0])["off_by"] > 1.1
    with pytest.raises(ValueError, match="two positive points"):
        power([32], [1.0])
    with pytest.raises(ValueError, match="two positive points"):
        power([32, 64], [1.0, 0.0])


def test_the_pace_weighs_stages_as_the_default_does():
    first, second = shares().values()
    turns = [[{"seconds": 1.0}, {"seconds": 9.0}, {"seconds": 1.0}], [{"seconds": 2.0}]]
    assert pace(turns, 100) == pytest.approx(first * 100 + second * 50)


class Sham:
    """A process that is always alive."""

    def poll(self) -> None:
        return None


def test_contestants_take_turns(tmp_path, monkeypatch):
    order = []

    def wait(self):
        order.append((self.place.name, self.number))
        return {"seconds": float(self.number)}

    monkeypatch.setattr(Contestant, "wait", wait)
    both = {name: Contestant(tmp_path / name, Sham()) for name in "ab"}
    for one in both.values():
        one.place.mkdir()
    taken = race(both, 2)
    # the warm-up together, and turns one after the other; then the same in the second stage
    assert order[:6] == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert order[6:8] == [("a", 3), ("b", 3)]
    assert [[turn["seconds"] for turn in stage] for stage in taken["a"]] == [[1, 2], [4, 5]]
    assert sorted(path.name for path in both["a"].place.iterdir()) == [f"go-{i}" for i in range(5)]


def test_a_dead_contestant_ends_the_race(tmp_path):
    class Dead:
        def poll(self):
            return 1

    with pytest.raises(SystemExit, match="did not reach its next hold: gone"):
        Contestant(tmp_path / "gone", Dead()).wait()


def test_fits_and_their_picture(tmp_path):
    def one(x):
        return {"step_s": 0.1 * x**2, "step_s_by_stage": [0.1, 0.1], "memory_mb": 5.0 * x,
                "parameters": x}  # fmt: skip

    found = {f"{what} {x}": one(x) for what in ("size", "width") for x in (32, 64)}
    grown = growth.fits(found | {"numbers": {}, "processes": {}})
    assert (
        grown["size"]["step_s"]["exponent"] == 2 and grown["width"]["memory_mb"]["exponent"] == 1
    )
    growth.draw(grown, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 5000
    json.dumps(grown, allow_nan=False)


@pytest.mark.slow
def test_two_processes_race_one():
    found = growth.cell({"what": "processes", "size": 32, "turn": 2, "rounds": 1, "threads": 2})
    assert found["ratio"] > 0 and set(found["images_per_s"]) == {"one", "two"}


@pytest.mark.slow
def test_numbers_of_images_race():
    found = growth.cell(
        {"what": "numbers", "counts": [200, 400], "size": 16, "turn": 2, "rounds": 1, "threads": 1}
    )
    assert found["flat"] > 0 and 0.5 < found["memory"] < 2
