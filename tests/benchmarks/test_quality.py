"""The race against pythae: its search, its cells, and what is made of them."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import claim, ours, quality, race
from benchmarks.ours import Plan
from benchmarks.quality import Chosen
from benchmarks.race import Cell, missed

PLAN = Plan("10m", seeds=2, samples=5000, threads=2, marks=quality.MARKS)


def searched(
    kids: Mapping[Any, float | None],
    monkeypatch: pytest.MonkeyPatch,
    networks: str = "conv",
) -> tuple[Chosen, list[dict[str, Any]], list[str]]:
    """A search in which the KID of some settings is known and that of others 50."""
    labels: list[str] = []

    def measure(cells: Sequence[Cell], folder: Path) -> list[dict[str, Any]]:
        labels.extend(cell.label for cell in cells)
        peers = [cell.settings["peer"] for cell in cells]
        return [
            {"kid": kids.get((p["rate"], p["adversarial"], p["layer"]), 50.0), "label": c.label}
            for p, c in zip(peers, cells)
        ]

    monkeypatch.setattr(quality, "measure", measure)
    found = quality.search("cifar10", networks, PLAN, "2m", Path("nowhere"), quick=False)
    return *found, labels


def test_the_search_goes_from_the_best_rate_to_the_best_scale_to_the_layer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kids = {(1e-3, 0.5, None): 20.0, (1e-3, 0.2, None): 10.0, (1e-3, 0.2, 4): 30.0}
    best, log, labels = searched(dict(kids), monkeypatch)
    assert best == Chosen("conv", 1e-3, 0.2)
    assert [line["kid"] for line in log] == [50.0, 50.0, 20.0, 10.0, 50.0, 30.0]
    assert len(set(labels)) == len(labels) == 6
    best, log, _ = searched({**kids, (1e-3, 0.2, 4): 9.0}, monkeypatch)
    assert best == Chosen("conv", 1e-3, 0.2, 4)


def test_settings_whose_numbers_broke_are_not_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    best, *_ = searched({(1e-3, 0.5, None): None, (3e-4, 0.5, None): 40.0}, monkeypatch, "ours")
    assert best == Chosen("ours", 3e-4)
    every = {(r, s, None): None for r in quality.RATES for s in quality.SCALES}
    assert searched(every, monkeypatch, "ours")[0] == Chosen("ours")  # pythae's defaults


def test_everybody_gets_the_same_time_on_the_same_images() -> None:
    chosen = {"peer_own": Chosen("mlp"), "peer_ours": Chosen("ours", 1e-3)}
    cells = quality.grid("cifar10", PLAN, chosen)
    assert list(cells)[:5] == [
        (name, 0) for name in ("gan_vae", "vae_gan", "peer_own", "peer_ours", "short")
    ]
    assert len(cells) == 10 and len({cell.path(Path()) for cell in cells.values()}) == 10
    for (name, seed), one in cells.items():
        training = one.settings.get("config", {}).get("training", one.settings)
        assert training["budget"] == ("28.5714s" if name == "short" else "10m")
        assert training["seed"] == seed and one.settings["data"] == "cifar10"
        assert one.settings["threads"] == 2
        samples = one.settings.get("config", {}).get("evaluation", one.settings)["samples"]
        assert samples == 5000


def result(kid: float, mse: float, at: Sequence[tuple[float, float]] = ()) -> dict[str, Any]:
    course = [{"share": s / 600, "seconds": s, "kid": k, "mse": 1.0} for s, k in at]
    end = {"share": 1.0, "seconds": 600.0, "kid": kid, "mse": mse}
    about = {"steps": 9, "seconds": 600.0, "parameters": 5, "perceptual": mse}
    return {**about, "kid": kid, "mse": mse, "course": [*course, end]}


def contest(**changed: Any) -> dict[str, Any]:
    short = {**result(9.0, 0.1), "seconds": 30.0}
    short["course"] = [{"share": 1.0, "seconds": 30.0, "kid": 9.0}]
    runs: dict[str, list[dict[str, Any]]] = {
        "gan_vae": [result(2.0, 0.01, [(60, 20.0), (300, 8.0)])],
        "vae_gan": [result(4.0, 0.02)],
        "peer_own": [result(40.0, 0.04)],
        "peer_ours": [result(10.0, 0.08)],
        "short": [short],
    }
    return quality.contest({**runs, **changed})


def test_the_peers_best_is_what_counts() -> None:
    found = contest()
    assert found["kid_share"] == 0.2  # of the one with our networks
    assert found["mse_share"] == 0.25  # of the one with its own
    assert found["vae_gan_kid_share"] == 0.4
    assert found["time_share"] == 0.05  # by the short run
    assert [missed(goal) for goal in quality.goals("x", found)] == [True, True, False]
    assert contest(short=[result(50.0, 0.1)])["time_share"] == 0.5  # by the course
    never = contest(gan_vae=[result(11.0, 0.01)], short=[result(50.0, 0.1)])
    assert never["time_share"] is None and missed(quality.goals("x", never)[2])


def test_a_peer_that_broke_is_counted_and_left_out() -> None:
    broken = {"failed": "NaN", "kid": None}
    found = contest(peer_ours=[broken, broken], peer_own=[broken, result(40.0, 0.04)])
    assert found["failed"] == 3 and found["kid_share"] == 0.05
    with pytest.raises(SystemExit, match="nothing to compare"):
        contest(peer_ours=[broken], peer_own=[broken])


def test_the_ratio_is_of_the_worse_data_set() -> None:
    found = {"a": contest(), "b": contest(gan_vae=[result(0.5, 0.001)])}
    whole = quality.summary(found)
    assert whole["ratio"] == 0.2 and len(whole["goals"]) == 6


def test_the_peers_cell_is_judged_as_ours_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pythae")
    import numpy as np

    pixels = np.random.default_rng(0).integers(0, 256, (150, 16, 16, 1), np.uint8)
    np.save(tmp_path / "x.npy", pixels)
    seen = []

    def judged(model: Any, data: Any, chosen: Any, judge: Any) -> dict[str, Any]:
        x = data.test.images(np.arange(4))
        fake, again = model.generate(4, seed=0), model.reconstruct(x)
        assert fake.shape == again.shape == x.shape and fake.abs().max() <= 1
        assert torch.equal(fake, model.generate(4, seed=0))
        assert not torch.equal(fake, model.generate(4, seed=0, start=4))
        assert model.log_likelihood(x, model.encode(x).mean) is None
        seen.append((fake, chosen.evaluation.samples))
        return {"kid": 3.0 - len(seen)}

    monkeypatch.setattr(ours, "judged", judged)
    monkeypatch.setattr(quality.judges, "load", lambda *given: None)
    monkeypatch.setattr(quality, "fetch", lambda name: tmp_path / "x.npy")
    one = quality.theirs("x", replace(PLAN, samples=7, fit=32), "0.2s", 3, Chosen("mlp"), "label")
    found = quality.cell(one.settings)
    assert found["sampler"] == "mixture" and found["kid"] == 1.0
    assert found["kid_by_sampler"] == {"normal": 2.0, "mixture": 1.0}
    assert [samples for _, samples in seen] == [7, 7] and not torch.equal(seen[0][0], seen[1][0])
    assert found["steps"] >= 1 and found["seconds"] == 0.2
    claim.typical([found])


def test_broken_numbers_are_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def train(self, *given: Any, **more: Any) -> int:
            raise ArithmeticError("NaN detected")

    monkeypatch.setattr(Chosen, "build", lambda *given: Broken())
    monkeypatch.setattr(quality, "fetch", lambda name: "digits")
    one = quality.theirs("digits", PLAN, "1s", 0, Chosen("mlp"), "label")
    assert quality.cell(one.settings) == {"failed": "NaN detected", "kid": None}


def test_networks_are_left_out_where_it_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    args = argparse.Namespace(leave_out=["cifar10:conv"], quick=False, search="1s")
    log = [{"networks": "mlp", "kid": 1.0}]
    seen: list[tuple[str, str]] = []

    def search(data: str, kind: str, *_: object) -> tuple[Chosen, list[dict[str, object]]]:
        seen.append((data, kind))
        return Chosen(kind), log if kind == "mlp" else []

    monkeypatch.setattr(quality, "search", search)
    for data, kinds in (("cifar10", ["mlp", "ours"]), ("fashion-mnist", ["mlp", "conv", "ours"])):
        seen.clear()
        chosen, _ = quality.searched(data, PLAN, args, None)
        assert seen == [(data, kind) for kind in kinds]
        assert chosen["peer_own"] == Chosen("mlp")


def test_a_data_set_that_does_not_run_keeps_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {"cifar10": contest(gan_vae=[result(0.5, 0.001)]) | {"budget": "4m"}}
    (tmp_path / "quality.json").write_text(json.dumps({"data": before}))
    chosen = {"peer_own": Chosen("mlp"), "peer_ours": Chosen("ours")}
    one = {**result(40.0, 0.04), "load": [1.0, 2.0], "wall_s": 60.0}
    mine = {**result(2.0, 0.01), "load": [1.0, 2.0], "wall_s": 60.0}
    monkeypatch.setattr(race, "RESULTS", tmp_path)
    monkeypatch.setattr(quality, "searched", lambda *given: (chosen, []))
    monkeypatch.setattr(claim, "sheet", lambda *given: None)
    monkeypatch.setattr(
        race, "measure", lambda cells, _: [one if "peer" in c.label else mine for c in cells]
    )
    given = ["quality", "--data", "fashion-mnist", "--budget", "10m", "--seeds", "1"]
    monkeypatch.setattr(sys, "argv", given)
    race.run(quality.RACE, quality.__doc__)
    found = json.loads((tmp_path / "quality.json").read_text())
    assert found["data"]["cifar10"] == before["cifar10"] and found["ratio"] == 0.05
    assert found["data"]["fashion-mnist"]["budget"] == "10m" and len(found["goals"]) == 6
