"""Which images a model is judged by: the run's own held-out ones, or all of others."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ganvae
from ganvae import api, cli, config
from ganvae.data.dataset import judged_by, open_data
from ganvae.errors import ConfigError, DataError
from ganvae.runs import judging

QUICK: dict[str, Any] = {
    "networks.family": "mlp", "networks.width": 8, "networks.latent": 4,
    "networks.components": 2, "training.batch": 16, "training.previews": 0,
    "training.evaluations": 0, "training.tensorboard": False, "training.threads": 1,
    "evaluation.importance": 2, "evaluation.priors": False,
}  # fmt: skip


def fill(folder: Path, numbers: range, side: int = 16) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        pixels = np.random.default_rng(number).integers(0, 256, (side, side), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("judging")


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    """A finished run on 40 images."""
    images = fill(place / "own", range(40))
    out = place / "run"
    ganvae.train(images, objective="vae", size=16, budget="2steps", out=out, settings=QUICK)
    return out


def test_all_of_other_images_are_judged(run: Path, place: Path) -> None:
    others = fill(place / "others", range(100, 130))
    found = ganvae.evaluate(run, others)
    assert found["judged"] == "all of others, 30 images"
    assert (found["heldout_images"], found["split"], found["known"]) == (30, "all", 0)
    kid = found["figures"]["kid"]
    assert (kid["n_heldout"], kid["split"]) == (30, "all")
    assert found["memorisation"] is None and not found["reference"]
    few = ganvae.evaluate(run, others, settings={"evaluation.samples": 5})
    assert few["judged"] == "5 of all 30 images of others"


def test_a_share_asks_for_a_held_out_part(run: Path, place: Path) -> None:
    others = fill(place / "others", range(100, 130))
    found = ganvae.evaluate(run, others, settings={"data.test_share": 0.5})
    assert 0 < found["heldout_images"] < 30 and found["split"] == "held-out"
    assert found["judged"] == f"{found['heldout_images']} held-out images of others"


def test_a_split_of_others_counts_where_it_is_asked_for(run: Path, place: Path) -> None:
    others = place / "divided"
    fill(others / "train", range(200, 212))
    fill(others / "test", range(220, 225))
    assert ganvae.evaluate(run, others)["judged"] == "all of divided, 17 images"
    asked = ganvae.evaluate(run, others, settings={"data.test_share": 0.5})
    assert asked["judged"] == "5 held-out images of divided"
    alone = place / "alone"
    fill(alone / "test", range(220, 225))
    assert ganvae.evaluate(run, alone)["judged"] == "all of alone, 5 images"


def test_the_runs_own_images_stay_held_out_by_whatever_name(
    run: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = ganvae.load(run).info.trained
    copy = place / "copy"
    shutil.copytree(place / "own", copy)
    for data in (None, place / "own", copy):
        found = ganvae.evaluate(run, data)
        assert found["heldout_images"] == trained.test_images < 40
        assert found["split"] == "held-out" and "known" not in found
    assert cli.run(["evaluate", str(run)]) == 0
    held_out = f"On {trained.test_images} held-out images of own"
    assert held_out in " ".join(capsys.readouterr().out.split())
    assert held_out in (run / "report.html").read_text(encoding="utf-8")


def test_images_of_the_run_among_others_are_counted_and_said(
    run: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = fill(fill(place / "mixed", range(30, 50)), range(300, 310))
    assert ganvae.evaluate(run, mixed)["known"] == 10
    assert cli.run(["evaluate", str(run), "--data", str(mixed)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "all of mixed, 30 images" in said and "10 of them are also among the run's own" in said


def test_pairs_are_judged_whole(tmp_path: Path) -> None:
    for side in ("source", "target"):
        fill(tmp_path / "pairs" / side, range(12) if side == "source" else range(50, 62))
        for number in range(50, 62) if side == "target" else ():
            path = tmp_path / "pairs" / side / f"{number}.png"
            path.rename(path.with_name(f"{number - 50}.png"))
    chosen = config.Data(
        path=str(tmp_path / "pairs"), size=16, task="translate", cache=str(tmp_path / "cache")
    )
    whole = open_data(judged_by(chosen, "another's"))
    assert len(whole.test) == 12 and len(whole.train) == 0 and whole.paired
    divided = open_data(chosen)
    assert judged_by(chosen, divided.fingerprint) == chosen
    rows = {name: row for row, name in enumerate(whole.test.names())}
    for row, name in enumerate(divided.test.names()):
        same = whole.test.sources([rows[name]]) == divided.test.sources([row])
        assert bool(same.all())


def test_nothing_is_learnt_from_what_is_held_out_whole(place: Path, tmp_path: Path) -> None:
    images = fill(place / "own", range(40))
    with pytest.raises(ConfigError, match="test_share 1 holds all images out"):
        ganvae.train(images, out=tmp_path / "run", settings=QUICK | {"data.test_share": 1})
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match=r"test_share 1 .* data\.stream"):
        open_data(config.Data(path=str(images), test_share=1.0, stream=True))


def test_what_is_wrong_with_others_is_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images"):
        api.evaluate(run, fill(tmp_path / "empty", range(0)))


def test_pictures_are_of_all_over_the_held_out_set(run: Path, place: Path) -> None:
    """Reconstructions of a folder that is sorted by class show all classes."""
    folder = place / "sorted"
    for kind, level in (("dark", 20), ("grey", 120), ("light", 220)):
        for number in range(30):
            pixels = np.random.default_rng(number).integers(-9, 9, (16, 16)) + level
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / kind / f"{number}.png")
    opened = open_data(config.Data(path=str(folder), size=16, test_share=0.5))
    judging.pictures(ganvae.load(run), opened, place)
    with Image.open(place / "reconstructions.png") as sheet:
        pixels = np.asarray(sheet)[::4, ::4]  # 16 px are shown four times as large
    levels = [pixels[10 + 36 * row, 10 + 18 * column] for row in (0, 1) for column in range(8)]
    assert {round(int(level) / 100) for level in levels} == {0, 1, 2}
