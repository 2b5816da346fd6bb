"""Several runs on one page, and the tournament that ends in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from reading import Page

import ganvae
from ganvae import api, cli, config
from ganvae.errors import ConfigError, DataError
from ganvae.pages import comparison
from ganvae.pages.record import open_runs, series
from ganvae.runs import judging, tournament
from ganvae.runs.place import latest_run, new_run

QUICK: dict[str, Any] = {
    "networks.width": 8, "networks.latent": 4, "networks.components": 2, "training.batch": 16,
    "training.previews": 1, "training.evaluations": 1, "training.tensorboard": False,
    "training.threads": 1, "evaluation.samples": 16, "evaluation.importance": 2,
    "evaluation.priors": False, "data.test_share": 0.4,
}  # fmt: skip


def folder(path: Path, seed: int) -> Path:
    path.mkdir()
    random = np.random.default_rng(seed)
    for number in range(40):
        Image.fromarray(random.integers(0, 256, (16, 16), np.uint8)).save(path / f"{number}.png")
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("data") / "photos", 0)


@pytest.fixture(scope="module")
def done(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tournament.Tournament:
    """A finished tournament of two."""
    out = tmp_path_factory.mktemp("runs") / "both"
    names = ["vae", "gan"]
    return ganvae.tournament(photos, names, size=16, budget="6steps", out=out, settings=QUICK)


def run_of(done: tournament.Tournament, name: str) -> Path:
    return done.path / name


def test_a_tournament_trains_each_and_ends_in_a_page(done: tournament.Tournament) -> None:
    assert done.status == "done" and not done.failures
    assert {run.config.objective for run in done.runs} == {"vae", "gan"}
    assert all(run.step == 6 and run.report.exists() for run in done.runs)
    kids = [run.evaluation["figures"]["kid"]["value"] for run in done.runs]
    assert kids == sorted(kids)
    text = done.report.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == [] and all(a.startswith("data:image/") for a in page.addresses)
    words = " ".join(page.words)
    for part in (
        "vae", "gan", "KID-EffLite0", "Samples", "held-out images", "objective.name",
        "objective.adversary.game", done.verdict,
    ):  # fmt: skip
        assert part in words, part
    pictures = [a for a in page.addresses if a.startswith("data:image/png")]
    assert len(pictures) == 4  # two of samples, the held-out images, one of reconstructions
    assert "budget" not in words.split("Differences")[1]


def test_a_finished_objective_is_not_trained_or_judged_again(
    done: tournament.Tournament, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: tree(run_of(done, name)) for name in ("vae", "gan")}
    assert cli.run(["train", "--resume", "--out", str(done.path)]) == 0
    told = capsys.readouterr()
    assert {name: tree(run_of(done, name)) for name in ("vae", "gan")} == before
    assert told.err.count("is finished") == 2
    first, second = (told.out.index(run.config.objective) for run in done.runs)
    assert first < second and done.verdict in told.out and str(done.report) in told.out


def tree(path: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in path.rglob("*") if file.is_file()}


def test_a_tournament_goes_on_where_it_stopped(
    done: tournament.Tournament, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "both"
    shutil.copytree(done.path, out)
    shutil.rmtree(out / "gan")  # as if it had been stopped before
    (out / "comparison.html").unlink()
    kept = tree(out / "vae")
    assert cli.run(["train", "--resume", "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {run["objective"] for run in told["runs"]} == {"vae", "gan"}
    assert all(run["step"] == 6 for run in told["runs"])
    assert tree(out / "vae") == kept and Path(told["report"]).exists()


def test_a_larger_budget_is_trained_on(done: tournament.Tournament, tmp_path: Path) -> None:
    out = tmp_path / "both"
    shutil.copytree(done.path, out)
    longer = {"training.budget": "8steps", "training.allow_changes": True}
    again = ganvae.tournament(out=out, resume=True, settings=longer)
    assert [run.step for run in again.runs] == [8, 8]
    later, _ = tournament.settle([], {}, out=out, resume=True)
    assert [one.training.allow_changes for one in later.values()] == [False, False]


def test_what_one_objective_cannot_do_does_not_stop_the_others(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mixed"
    found = ganvae.tournament(
        photos, ["bicycle", "gan"], size=16, budget="2steps", out=out, settings=QUICK
    )
    assert [run.config.objective for run in found.runs] == ["gan"]
    assert list(found.failures) == ["bicycle"] and not found.report.exists()
    assert tournament.is_one(out)  # and so it is what is resumed
    cli.run(["train", "--resume", "--out", str(out)])
    assert "gan/report.html" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("objectives", "sentence"),
    [
        ("vae,gna", "did you mean 'gan'?"),
        ("vae,", "at least two objectives, got 1"),
        ("vae,gan,vae", "vae is named twice"),
        ("vae,gan --objective.gamma 1", "--objective.gamma does not exist in vae"),
        ("vae,gan --objective.beta 2", "--objective.beta does not exist in gan"),
        ("vae,gan --budget 5parsecs", "'5parsecs'"),
        ("vae,gan --size 7", "7 px"),
        ("vae,gan --resume", "to resume: name it with --out"),
    ],
)
def test_bad_tournaments_are_one_sentence_and_leave_nothing(
    objectives: str, sentence: str, photos: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    code = cli.run(["train", str(photos), "--objective", *objectives.split()])
    lines = capsys.readouterr().err.strip().splitlines()
    assert code == 78 and sentence in lines[-1] and lines[-1].startswith("ganvae: ")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not list((tmp_path / "runs").glob("*"))


def test_a_tournament_does_not_overwrite(done: tournament.Tournament, photos: Path) -> None:
    with pytest.raises(ConfigError, match="already holds files"):
        ganvae.tournament(photos, ["vae", "gan"], out=done.path)


def test_many_processes_are_refused(monkeypatch: pytest.MonkeyPatch, photos: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="without torchrun"):
        ganvae.tournament(photos, ["vae", "gan"])


# -- the page -------------------------------------------------------------------------------------


def test_a_page_is_html(done: tournament.Tournament, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"page\.pdf must end in \.html"):
        ganvae.compare([done.path / "vae", done.path / "gan"], tmp_path / "page.pdf")


@pytest.mark.parametrize(
    ("runs", "error", "sentence"),
    [
        ([], ConfigError, "at least two runs, got 0"),
        (["vae"], ConfigError, "at least two runs, got 1"),
        (["vae", "nowhere"], DataError, "nowhere holds no run"),
        (["vae", "gan", "gan/."], ConfigError, "is named twice"),
        (["vae", "."], DataError, "but its folders do: gan, vae"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    runs: list[str], error: type[Exception], sentence: str, done: tournament.Tournament,
    tmp_path: Path,
) -> None:  # fmt: skip
    out = tmp_path / "page.html"
    with pytest.raises(error, match=sentence):
        ganvae.compare([done.path / run for run in runs], out)
    with pytest.raises(ConfigError, match="is a folder"):
        ganvae.compare([run_of(done, "vae"), run_of(done, "gan")], tmp_path)
    assert not out.exists()


def test_the_command_writes_the_page(
    done: tournament.Tournament, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "page.html"
    runs = [str(run_of(done, name)) for name in ("vae", "gan")]
    assert cli.run(["compare", *runs, "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"files": [str(out)]}
    assert out.stat().st_size > 10_000 and not list(out.parent.glob(".ganvae-*"))


def test_runs_of_other_images_and_unfinished_ones_are_shown_with_a_word(
    done: tournament.Tournament, tmp_path: Path
) -> None:
    other = folder(tmp_path / "others", 1)
    ganvae.train(
        other, objective="vae", size=16, budget="2steps", out=tmp_path / "vae", settings=QUICK
    )
    started = tmp_path / "<b>begun"
    started.mkdir()
    (started / "config.yaml").write_text(config.dump(config.Config()))
    runs = [run_of(done, "vae"), tmp_path / "vae", started]
    words = " ".join(Page(comparison.html(open_runs(runs))).words)
    assert "saw different images" in words and "Best by" not in words and "Bold" not in words
    assert "both/vae" in words  # two of the same name are told apart
    assert "<b>begun has no scores" in words and "it is not finished" in words
    assert words.count("held-out images") >= 2  # those of either
    both = open_runs([run_of(done, "vae"), tmp_path / "vae"])
    table = comparison._scores(both)
    for name, side in zip(("photos", "others"), both, strict=True):  # real images have their set
        assert f"<th>real images of {name}</th>" in table
        floor = comparison.scores.measured(side.record.evaluation["reference"]["kid"])
        assert f"<td>{floor}</td>" in table
    assert "<th>real images</th>" in comparison._scores(both[:1] * 2)
    assert "FID" not in table


def test_a_run_whose_images_have_changed_is_compared_without_them(
    done: tournament.Tournament, tmp_path: Path
) -> None:
    other = folder(tmp_path / "others", 2)
    ganvae.train(
        other, objective="vae", size=16, budget="2steps", out=tmp_path / "vae", settings=QUICK
    )

    def told() -> int:
        runs = open_runs([run_of(done, "vae"), tmp_path / "vae"])
        return " ".join(Page(comparison.html(runs)).words).count("held-out images")

    before = told()
    Image.new("L", (16, 16), 77).save(other / "new.png")
    assert told() == before - 1


def test_a_run_is_marked_as_judged_when_all_else_is_there(
    done: tournament.Tournament, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "vae"
    shutil.copytree(run_of(done, "vae"), out)
    before = (out / "evaluation.json").stat().st_mtime_ns

    def stopped(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(judging, "pictures", stopped)
    with pytest.raises(KeyboardInterrupt):
        api.evaluate(out)
    assert (out / "evaluation.json").stat().st_mtime_ns == before


def test_a_run_is_not_taken_for_that_of_a_set_whose_name_begins_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("vae-photos-1", "vae-photos-big-7"):
        Path("runs", name).mkdir(parents=True)
    assert latest_run("vae", "photos") == Path("runs/vae-photos-1")
    assert new_run("vae", "photos") == Path("runs/vae-photos-2")


def figure(value: float | None, error: float | None = None, **more: Any) -> dict[str, Any]:
    known = {"name": "KID", "better": "lower", "judge": "x", "resize": "y"}
    return {**known, "value": value, "error": error, **more}


@pytest.mark.parametrize(
    ("figures", "best"),
    [
        ([figure(1.0, 0.1), figure(2.0, 0.1)], [True, False]),
        ([figure(1.9, 0.1), figure(2.0, 0.1)], [True, True]),
        ([figure(0.5, better="higher"), figure(0.6, better="higher")], [False, True]),
        ([figure(1.0), None], [False, False]),
        ([figure(None), figure(3.0), figure(2.0)], [False, False, True]),
    ],
)
def test_the_best_stands_out_where_errors_allow(figures: Any, best: list[bool]) -> None:
    cells = comparison._cells(figures, comparable=True)
    assert [isinstance(cell, comparison.Cell) for cell in cells] == best
    assert not any(isinstance(c, comparison.Cell) for c in comparison._cells(figures, False))


def test_curves_end_in_the_final_score(done: tournament.Tournament) -> None:
    sides = open_runs([run_of(done, name) for name in ("vae", "gan")])
    logged = {side.name: series(side.record.lines) for side in sides}
    courses = comparison._course(sides, logged, "kid")
    assert set(courses) == {"vae", "gan"}
    for side in sides:
        assert courses[side.name][-1][1] == side.figures["kid"]["value"]
        assert [at for at, _ in courses[side.name]] == sorted(at for at, _ in courses[side.name])
