"""Applications from training to files, through the command line."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ganvae import cli, config
from ganvae.runs.settings import settle

TINY = [
    "--size=16", "--budget=2steps", "--seed=1", "--networks.width=8", "--networks.latent=4",
    "--networks.components=2", "--training.batch=8", "--training.previews=1",
    "--training.evaluations=0", "--training.tensorboard=false", "--evaluation.samples=8",
    "--evaluation.importance=2", "--evaluation.priors=false",
]  # fmt: skip
KINDS = {
    "completion": "photos --task complete",
    "bicycle": "pairs --task translate",
    "edges": "photos --from edges",
    "unit": "sets --task translate",
    "classes": "photos --objective vae --data.labels",
    "gan": "photos --objective gan",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures for every task: in folders of classes, as pairs, as two sets."""
    home = tmp_path_factory.mktemp("place")
    random = np.random.default_rng(0)
    for number in range(20):
        image = Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8))
        for name in (
            f"photos/kind {number % 2}/{number}.png",
            f"pairs/target/{number}.png",
            f"sets/target/t{number}.png",
        ):
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            image.save(home / name)
        for name in (f"pairs/source/{number}.png", f"sets/source/s{number}.png"):
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            image.convert("L").save(home / name)
    pixels = random.integers(0, 256, (60, 50, 3), np.uint8)
    pixels[20:30, 5:40] = (255, 0, 255)
    Image.fromarray(pixels).save(home / "picture.png")
    Image.fromarray(np.uint8(255 * (pixels == (255, 0, 255)).all(2))).save(home / "mask.png")
    Image.fromarray(pixels).convert("L").save(home / "edges.png")
    Image.new("L", (50, 60)).save(home / "empty.png")
    return home


@pytest.fixture(scope="module")
def trained(place: Path) -> Callable[[str], str]:
    """Trains a model of a kind, once, to ``place / f"run of {kind}"``; what the command said."""

    @cache
    def train(kind: str) -> str:
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out:
            patch.chdir(place)
            line = ["train", *KINDS[kind].split(), "--out", f"run of {kind}", *TINY]
            assert cli.run(line) == 0
        return out.getvalue()

    return train


@pytest.mark.parametrize("kind", KINDS)
def test_what_to_try_next_works(
    kind: str,
    place: Path,
    trained: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(place)
    tried = [line.strip() for line in trained(kind).split("next:")[1].strip().splitlines()]
    assert len(tried) == 3
    for line in tried:
        words = shlex.split(line)
        words += ["--dry-run"] if words[1] == "train" else []
        code = cli.run(words[1:])
        assert words[0] == "ganvae" and code == 0, (line, capsys.readouterr().err)
    expected = {"completion": "complete", "classes": "generate", "gan": "generate"}
    assert tried[0].startswith(f"ganvae {expected.get(kind, 'translate')} 'run of {kind}' ")
    assert ("--class 'kind 0'" in tried[0]) == (kind == "classes")
    assert any("--reverse" in line for line in tried) == (kind == "unit")
    if kind == "completion":
        known = np.asarray(Image.open("mask.png")) == 0
        picture = np.asarray(Image.open("picture.png"))
        made = [*Path("completions").glob("0*.png"), Path("completed.png")]
        pixels = [np.asarray(Image.open(path)) for path in made]
        assert len(made) == 5
        assert all(np.array_equal(one[known], picture[known]) for one in pixels)
        assert all((one[~known] != picture[~known]).any() for one in pixels)


def test_a_process_ends_with_a_sentence_and_a_code(
    place: Path, trained: Callable[[str], str]
) -> None:
    trained("completion")
    line = "complete MODEL picture.png --mask empty.png --out nothing"
    words = [word.replace("MODEL", "run of completion") for word in line.split()]
    command = [sys.executable, "-m", "ganvae", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=place)
    assert done.returncode == 65 and done.stdout == ""
    assert done.stderr == (
        "ganvae: the mask empty.png marks nothing to fill in (its values run from 0 to 0 of 255, "
        "and what is light marks)\n"
    )
    assert not (place / "nothing").exists()


@pytest.mark.parametrize(
    "line",
    [
        "generate classes --n 0",
        "generate classes --temperature -1",
        "interpolate classes --steps 1",
        "interpolate classes --n 0",
        "interpolate classes --milliseconds 0",
        "complete completion picture.png --mask mask.png --variants 0",
        "complete completion picture.png --mask mask.png --context 99",
        "translate bicycle pairs/source --variants 0",
    ],
)
def test_numbers_that_make_no_sense_are_configuration(
    line: str,
    place: Path,
    trained: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(place)
    words = line.split()
    trained(words[1])
    words[1] = f"run of {words[1]}"
    capsys.readouterr()  # what training said
    assert cli.run([*words, "--out", "never"]) == 78
    error = capsys.readouterr().err
    assert error.startswith("ganvae: ") and error.count("\n") == 1
    assert not Path("never").exists()


@pytest.mark.parametrize("line", ["sets --task translate", "pairs --task translate --size 16"])
def test_options_are_those_of_the_objective_that_the_task_gets(
    line: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    kind, option = ("unit", "cycle") if "sets" in line else ("bicycle", "pace")
    given = {"data.path": line.split()[0], "data.task": "translate", f"objective.{option}": 0.25}
    chosen, _ = settle(given)
    assert chosen.objective == kind and chosen.objective_options[option] == 0.25
    words = ["train", *line.split(), "--objective.prior", "mixture", "--out", "never"]
    assert cli.run(words) == 78
    error = capsys.readouterr().err
    assert error.startswith("ganvae: ") and error.count("\n") == 1 and "prior" in error
    assert not Path("never").exists()


@pytest.mark.parametrize(
    ("line", "code", "sentence"),
    [
        ("sets --objective bicycle", 65, "but pairs are needed"),
        ("photos --task complete --data.labels --dry-run", 78, "completion knows no classes"),
        ("photos --data.origin grey --dry-run", 78, "what a translation starts from"),
        ("photos --objective vae --data.masks box", 78, "what a completion learns from"),
        ("photos --size 16 --resume --out 'run of classes' --training.lr_scale 3", 78,
         "was trained with other settings"),
    ],
)  # fmt: skip
def test_what_a_training_cannot_be_asked_for_is_one_sentence(
    line: str, code: int, sentence: str, place: Path, trained: Callable[[str], str],
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(place)
    trained("classes")
    capsys.readouterr()
    words = shlex.split(line) if "--out" in line else [*shlex.split(line), "--out", "never"]
    assert cli.run(["train", *words]) == code
    error = capsys.readouterr().err
    told = error.splitlines()  # a note on the data may stand before it
    assert [sentence in one for one in told if one.startswith("ganvae: ")] == [True]
    assert not Path("never").exists()


def test_changes_are_allowed_for_one_time_alone(
    place: Path, trained: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    trained("gan")
    again = {"training.allow_changes": True, "training.lr_scale": 2.0}
    chosen, _ = settle(again, out="run of gan", resume=True)
    assert chosen.training.allow_changes
    (place / "again").mkdir()
    (place / "again" / "config.yaml").write_text(config.dump(chosen))
    chosen, _ = settle({}, out="again", resume=True)
    assert chosen.training.lr_scale == 2.0 and not chosen.training.allow_changes


def test_sets_that_share_some_names_are_no_pairs_where_unit_is_named(
    place: Path, tmp_path: Path
) -> None:
    for side in ("source", "target"):
        shutil.copytree(place / "pairs" / side, tmp_path / "some" / side)
    (tmp_path / "some" / "source" / "0.png").unlink()
    given = ["--objective", "unit", "--out", str(tmp_path / "run"), *TINY]
    assert cli.run(["train", str(tmp_path / "some"), *given]) == 0
    assert cli.run(["evaluate", str(tmp_path / "run")]) == 0


def bulk(line: str) -> int:
    """Carries out a line in this process alone; RUN is the model of classes, KIND one of them."""
    known = {"RUN": "run of classes", "KIND": "kind 1"}
    words = [known.get(word, word) for word in line.split()]
    return cli.run(["bulk", *words, "--actors", "0"])


def test_bulk_verbs_say_what_the_others_say(
    place: Path,
    trained: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained("classes")
    monkeypatch.chdir(place)
    assert bulk("generate RUN --n 5 --class KIND --seed 3 --part 2 --out many --json") == 0
    parts = json.loads(capsys.readouterr().out)["files"]
    images = pa.concat_tables(map(pq.read_table, parts)).to_pylist()
    assert [Path(part).parent.name for part in parts] == ["many"] * 3
    assert [(row["seed"], row["index"], row["label"]) for row in images] == [
        (3, number, "kind 1") for number in range(5)
    ]
    assert bulk("encode RUN photos --spread --out codes") == 0
    assert capsys.readouterr().out.startswith("wrote ")
    assert {"mean", "logvar"} < set(pq.ParquetDataset("codes").read().column_names)
    assert bulk("evaluate RUN --n 4 --out judged") == 0
    assert "KID" in capsys.readouterr().out
    assert json.loads(Path("judged/evaluation.json").read_text())["figures"]["kid"]["value"]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("generate RUN --out never", "--n"),
        ("generate RUN photos --n 2 --out never", "takes a model and --n"),
        ("encode RUN --out never", "the images to encode"),
        ("encode RUN photos --n 3 --out never", "--n is no option of ganvae bulk encode"),
        ("evaluate RUN --class 1 --out never", "--class is no option of ganvae bulk evaluate"),
        ("generate RUN --n 0 --out never", "at least 1"),
    ],
)
def test_what_a_bulk_verb_does_not_take_is_said(
    line: str,
    word: str,
    place: Path,
    trained: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained("classes")
    monkeypatch.chdir(place)
    capsys.readouterr()  # what training said, where this test is the first to need it
    assert bulk(line) == 78
    error = capsys.readouterr().err
    assert word in error and error.count("\n") == 1
    assert not Path("never").exists()
