"""The race over the article's claim: how a course is taken, and what is made of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import claim, ours
from benchmarks.ours import Course, Plan
from benchmarks.race import Cell, missed
from ganvae import config, objectives
from ganvae.data import open_data
from ganvae.training.trainer import Trainer

PLAN = Plan("8steps", seeds=1, samples=16, threads=1, marks=(0.25, 0.5))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 1), np.uint8)
    np.save(tmp_path / "x.npy", pixels)
    return tmp_path / "x.npy"


def small(images: Path, name: str) -> config.Config:
    given = {
        "data.path": str(images), "networks.width": 4, "networks.latent": 3, "training.batch": 4,
        "networks.components": 2,
    }  # fmt: skip
    plan = Plan(**{**PLAN.__dict__, "fit": 16})
    return config.override(config.parse(ours.complete(name, {}, plan, 0)), given)


@pytest.mark.parametrize("name", ["vae", "gan", "gan_vae"])
def test_judging_along_the_way_changes_nothing_but_the_clock(
    name: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def judged(model: Any, *rest: Any) -> dict[str, Any]:
        torch.rand(7)  # a judge may draw
        seen.append(bool(model.prior.fitted))
        return {"kid": 1.0}

    fit = objectives.get("vae").conclude

    def leave_a_mark(self: Any, nets: Any, batches: Any) -> None:
        fit(self, nets, batches)
        next(nets["decoder"].parameters()).detach().add_(1.0)

    monkeypatch.setattr(objectives.get("vae"), "conclude", leave_a_mark)
    monkeypatch.setattr(ours, "judged", judged)
    chosen = small(images, name)
    objective, data = objectives.build(name, chosen.objective_options), open_data(chosen.data)
    plain = Trainer(chosen, objective, data, tmp_path / "plain").run().model
    judge: Any = None
    course = Course(PLAN.marks, judge)
    result = ours.trainer(chosen, tmp_path / "judged", course).run()
    assert [point["share"] for point in course.points] == [0.25, 0.5]
    assert [point["step"] for point in course.points] == [2, 4]
    assert seen == [name != "gan"] * 2  # as if the run had ended there
    for role, net in plain.networks.items():
        again = result.model.networks[role].state_dict()
        for key, value in net.state_dict().items():
            assert torch.equal(value, again[key]), f"{role}.{key}"


def test_fitting_is_in_the_time_and_judging_is_not(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    fit = objectives.get("vae").conclude

    def slow_fit(self: Any, *rest: Any) -> None:
        now[0] += 100.0
        fit(self, *rest)

    def slow_judge(*rest: Any) -> dict[str, Any]:
        now[0] += 10_000.0
        return {"kid": 1.0}

    monkeypatch.setattr(ours.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(objectives.get("vae"), "conclude", slow_fit)
    monkeypatch.setattr(ours, "judged", slow_judge)
    chosen = small(images, "vae")
    course = Course((0.5,), None)  # type: ignore[arg-type]
    trainer = ours.trainer(chosen, tmp_path / "run", course)
    result = trainer.run()
    assert course.points[0]["seconds"] == 100.0
    assert result.position.seconds == 100.0


def run(
    kid: float, coverage: float, course: Sequence[tuple[float, float, float]]
) -> dict[str, Any]:
    points = [
        {"share": s / 100, "seconds": s, "step": int(s), "kid": k, "coverage": c}
        for s, k, c in course
    ]
    end = {"share": 1.0, "seconds": 100.0, "step": 100, "kid": kid, "coverage": coverage}
    about = {"steps": 100, "seconds": 100.0, "parameters": 9, "load": [1.0, 2.0], "wall_s": 60.0}
    return {**about, "kid": kid, "coverage": coverage, "course": [*points, end]}


def test_a_hybrid_is_held_against_both() -> None:
    flat = run(4.0, 0.2, [])
    results = {
        "vae": [flat],
        "gan": [run(8.0, 0.1, [])],
        "gan_vae": [run(2.0, 0.4, [(10, 9.0, 0.1), (25, 5.0, 0.15), (50, 3.0, 0.3)])],
        "vae_gan": [flat],
        "soft_intro_vae": [flat],
    }
    found = claim.summary(results, PLAN)
    assert found["hybrids"]["gan_vae"] == {
        "coverage_over_gan": 4.0,
        "vae_kid_over_kid": 2.0,
        "share_of_time_to_final": {
            "vae_kid": 0.5, "vae_coverage": 0.5, "gan_kid": 0.25, "gan_coverage": 0.1,
        },
    }  # fmt: skip
    assert found["ratio"] == 2.0 and not any(map(missed, found["goals"]))
    results["gan_vae"] = [run(5.0, 0.4, [])]
    found = claim.summary(results, PLAN)
    assert found["ratio"] == 0.8
    assert [missed(goal) for goal in found["goals"]] == [False, True, True]
    assert found["goals"][2]["measured"] is None  # never as good as the VAE


def test_seeds_come_to_medians_where_all_have_been_judged() -> None:
    runs = [run(k, 0.1, [(10, 9.0, 0.1)][: k < 4]) for k in (1.0, 2.0, 5.0)]
    found = claim.typical(runs)
    assert found["kid"] == 2.0 and found["kids"] == [1.0, 2.0, 5.0]
    assert [point["share"] for point in found["course"]] == [1.0]
    assert [p["kid"] for p in claim.typical(runs[:2])["course"]] == [9.0, 1.5]


def test_a_cells_file_follows_the_defaults_of_its_objective(tmp_path: Path) -> None:
    one = ours.cell("claim", "gan_vae", "fashion-mnist", ours.FASHION, PLAN, 0)
    changed = {**one.settings["config"], "objective": {"name": "gan_vae", "adversarial": 9.0}}
    other = Cell(one.race, one.label, {**one.settings, "config": changed})
    assert one.settings["config"]["objective"]["adversarial"] != 9.0
    assert one.path(tmp_path) != other.path(tmp_path)
