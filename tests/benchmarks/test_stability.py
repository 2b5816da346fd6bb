"""When a run counts as healthy, and what the seeds come to."""

import argparse
import json
from pathlib import Path

import pytest
import torch

from benchmarks.ours import is_alarm
from benchmarks.stability import RATES, SETS, ailments, grid, spread, summary
from ganvae.training.guard import ALARMS, Alarms

WELL = {
    "diverged": None, "rollbacks": 0, "skipped": [], "alarms": [], "kid": 2.0, "diversity": 0.9,
    "wall_s": 60.0,
}  # fmt: skip


@pytest.fixture
def asked() -> argparse.Namespace:
    return argparse.Namespace(
        budget="30s", seeds=3, rates=1, data=list(SETS), samples=100, threads=2
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"diverged": "numbers that are not finite"}, ["diverged"]),
        ({"rollbacks": 1}, ["not finite"]),
        ({"skipped": ["step 3 skipped: not finite (a gradient)"]}, ["not finite"]),
        ({"alarms": ["the run diverges"]}, ["alarm"]),
        ({"kid": 30.0}, ["no better than untrained"]),
        ({"kid": None}, ["no better than untrained"]),
        ({"diversity": 0.1}, ["collapsed"]),
    ],
)
def test_a_run_is_healthy_unless_something_is_wrong(change, expected):
    assert ailments(WELL | change, untrained=30.0) == expected


def test_without_an_untrained_score_nothing_is_known_to_train():
    assert ailments(WELL, untrained=None) == ["no better than untrained"]


def test_every_alarm_is_known_as_one():
    alarms, told = Alarms(torch.rand(8, 1, 4, 4)), []
    net = torch.nn.Linear(1, 1)
    for step in range(1, 202):
        lead = 100.0 if step > 1 else 1.0
        values = {"loss/generator": 1e7 if step > 1 else 1.0, "real_logit": 1e3 * lead,
                  "fake_logit": 0.0}  # fmt: skip
        told += alarms.observe(step, values, torch.zeros(8, 1, 4, 4), {"generator": net})
    for step in range(1, 202):
        told += alarms.observe(step, {"real_logit": 0.0, "fake_logit": 0.0})
    assert len(told) == len(ALARMS)
    assert all(map(is_alarm, told))
    assert not is_alarm("stage 2 of 2: GANVAE")
    assert not is_alarm("step 3 skipped: not finite (generator)")


def test_the_grid_has_every_seed_once_and_one_untrained_run(asked):
    cells = grid(asked)
    assert len(cells) == len(SETS) * (1 + asked.seeds + len(RATES))
    assert len({cell.path(Path()) for cell in cells.values()}) == len(cells)
    tripled = cells["digits", "3", 0].settings["config"]["training"]
    assert (tripled["lr_scale"], tripled["budget"], tripled["seed"]) == (3.0, "30s", 0)
    assert cells["digits", "untrained", 0].settings["config"]["training"]["lr_scale"] == 0


def test_one_sick_run_shows(asked):
    found = {key: WELL | {"kid": 30.0 if key[1] == "untrained" else 2.0} for key in grid(asked)}
    assert summary(found, asked)["ratio"] == 1.0
    found["cifar10", "1", 2] = WELL | {"diversity": 0.01}
    found["digits", "3", 0] = {"diverged": "so", "alarms": [], "skipped": [], "wall_s": 1.0}
    result = summary(found, asked)
    assert result["ratio"] == round(13 / 15, 4)
    assert [goal["measured"] for goal in result["goals"]] == [round(8 / 9, 4), round(2 / 3, 4), 1]
    assert result["data"]["cifar10"]["learning rate x 1"]["ailments"] == {"2": ["collapsed"]}
    assert result["data"]["digits"]["learning rate x 3"]["divergences"] == 1
    json.dumps(result, allow_nan=False)


def test_the_spread_of_scores():
    found = spread([1.0, 2.0, 3.0, 4.0, 10.0])
    assert (found["median"], found["least"], found["largest"]) == (3.0, 1.0, 10.0)
    assert (found["between_quartiles"], found["largest_over_median"]) == (2.0, 3.333)
    assert spread([2.0])["between_quartiles"] == 0
