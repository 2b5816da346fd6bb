"""The same from the command line: options, files, sentences and exit codes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganvae import cli

CLASSES = ("bag", "boot", "sneaker")


@pytest.fixture(scope="module")
def place(tmp_path_factory, model, make, completion, make_translation) -> Path:
    """A model of each kind, and pictures."""
    folder = tmp_path_factory.mktemp("place")
    model.save(folder / "plain")
    make(classes=CLASSES).save(folder / "classes")
    make(roles=("generator", "prior")).save(folder / "gan")
    completion.save(folder / "completion")
    for name in ("bicycle", "unit"):
        make_translation(name).save(folder / name)
    random = np.random.default_rng(0)
    for i in range(6):
        path = folder / "photos" / CLASSES[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)).save(path)
    pixels = random.integers(0, 256, (40, 30, 3), np.uint8)
    pixels[10:14, 10:20] = (255, 0, 255)
    Image.fromarray(pixels).save(folder / "broken.png")
    for name, value in (("empty", 0), ("full", 255)):
        Image.new("L", (30, 40), value).save(folder / f"{name}.png")
    Image.new("L", (31, 40), 255).save(folder / "wide.png")
    return folder


def said(capsys: pytest.CaptureFixture[str], line: str) -> tuple[int, str, str]:
    code = cli.run(line.split())
    captured = capsys.readouterr()
    return code, captured.out, captured.err


WORKS = [
    ("generate classes --class sneaker --n 3", 1),
    ("generate classes --class 2 --n 3 --out made", 4),
    ("generate plain --like photos/bag/0.png --n 3 --temperature .5", 1),
    ("generate classes --like photos/bag/0.png --class bag --n 2", 1),
    ("reconstruct classes photos", 1),
    ("reconstruct classes photos/bag --class bag", 1),
    ("encode classes photos", 2),
    ("encode classes photos --class boot", 2),
    ("interpolate classes photos --out way.gif --steps 3", 1),
    ("interpolate plain photos --out way.webp --n 3 --milliseconds 40", 1),
    ("interpolate plain --out way.mp4 --n 3", 1),
    ("interpolate classes --class boot", 1),
    ("direction plain photos/bag photos/boot --out d.npz", 1),
    ("direction plain photos --class boot", 1),
    ("direction classes photos", 1),
    ("direction plain photos --principal 3", 1),
    ("direction classes photos/bag --principal 1 --class bag", 1),
    ("interpolate plain photos/bag/0.png photos/boot/1.png --steps 3", 1),
    ("complete completion broken.png --mask-colour #ff00ff --variants 2", 4),
    ("complete completion broken.png --mask-colour magenta --variants 1 --out one.png", 1),
    ("translate bicycle photos --variants 2 --n 3 --out sheet.png", 1),
    ("translate unit broken.png --reverse --variants 1", 3),
]


@pytest.mark.parametrize(("line", "count"), WORKS, ids=[line for line, _ in WORKS])
def test_a_command_names_the_files_it_wrote(line, count, place, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    if "--out" in line:
        first, _, last = line.partition("--out ")
        line = f"{first}--out {tmp_path}/{last}"
    else:
        line = f"{line} --out {tmp_path}/{_default(line)}"
    code, out, err = said(capsys, f"{line} --json")
    assert code == 0, err
    files = json.loads(out)["files"]
    assert len(files) == count and all(Path(file).is_file() for file in files)
    assert not list(tmp_path.rglob(".ganvae-*"))


def _default(line: str) -> str:
    command = line.split()[0]
    if command in ("encode", "direction"):
        return "out.npz"
    return "out" if command in ("complete", "translate") else "out.png"


def test_truncation_alone_is_at_one(place, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    made = []
    for given in ("", "--truncation", "--truncation 1", "--truncation=.2"):
        out = tmp_path / f"{len(made)}.png"
        line = f"generate classes --prior mixture --temperature .8 {given} --out {out}"
        code, _, err = said(capsys, line)
        assert code == 0, err
        made.append(out.read_bytes())
    assert made[1] == made[2] and len(set(made)) == 3


def test_directions_are_gone_along(place, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    code, _, err = said(capsys, f"direction plain photos --out {tmp_path}/d.npz")
    assert code == 0, err
    one = f"edit plain photos/bag/0.png --direction {tmp_path}/d.npz --which boot"
    code, _, err = said(capsys, f"{one} --amount 2 --out {tmp_path}/edited.png")
    assert code == 0, err
    assert Image.open(tmp_path / "edited.png").size == (8, 8)
    code, _, err = said(capsys, f"{one} --amount -2 0 2 --out {tmp_path}/strip.png")
    assert code == 0, err
    assert Image.open(tmp_path / "strip.png").size == ((4 * 10 + 2) * 8, 12 * 8)
    code, _, err = said(capsys, f"{one} --amount=-2 --amount=2 --out {tmp_path}/two.png")
    assert code == 0, err
    assert Image.open(tmp_path / "two.png").size == ((3 * 10 + 2) * 8, 12 * 8)


REFUSED = [
    ("edit plain --direction d.npz --amount 2 photos/bag/0.png", 78, "takes all that follow it"),
    ("direction completion photos --principal 2", 78, "trained to complete images"),
    ("encode plain photos more", 78, "'more' is more than this command takes (--help lists"),
    ("generate classes --class sneakr", 78, "no class 'sneakr'; did you mean 'sneaker'?"),
    ("generate classes --class 3", 78, "no class '3'; there are bag, boot, sneaker"),
    ("generate plain --class bag", 78, "knows no classes"),
    ("generate plain --like nowhere.png", 65, "nowhere.png does not exist"),
    ("generate plain --like photos", 65, "like one image"),
    ("generate gan --like photos/bag/0.png", 78, "has no encoder"),
    ("generate completion", 78, "was trained to complete images"),
    ("reconstruct classes photos/bag", 78, "name it with --class"),
    ("reconstruct plain photos --class bag", 78, "knows no classes"),
    ("direction plain photos/bag", 78, "give a second folder"),
    ("direction plain photos --class bot", 78, "no image is of class 'bot'; did you mean 'boot'?"),
    ("direction plain photos photos --principal 2", 78, "choose one of these"),
    ("direction plain photos/bag photos/bag", 65, "sees no difference"),
    ("direction gan photos", 78, "has no encoder"),
    ("edit plain photos --direction nowhere.npz", 65, "nowhere.npz does not exist"),
    ("edit plain photos --direction broken.png", 65, "broken.png holds no directions"),
    ("edit plain photos", 78, "--direction"),
    ("edit plain photos --direction x.npz --amount much", 78, "--amount"),
    ("complete completion broken.png", 78, "mark what is to be filled in"),
    ("complete completion broken.png --mask wide.png", 65, "is 31x40 pixels, the picture 30x40"),
    ("complete completion broken.png --mask empty.png", 65, "marks nothing"),
    ("complete completion broken.png --mask full.png", 65, "marks the whole picture"),
    ("complete completion broken.png --mask nowhere.png", 65, "nowhere.png does not exist"),
    ("complete completion broken.png --mask-alpha", 65, "has no transparency"),
    ("complete completion broken.png --mask-colour #f0f0f1", 65, "marks nothing"),
    ("complete completion broken.png --mask-colour purplish", 78, "is no colour"),
    ("complete completion nowhere.png --mask wide.png", 65, "nowhere.png does not exist"),
    ("complete plain broken.png --mask empty.png", 78, "cannot complete them"),
    ("complete bicycle broken.png --mask empty.png", 78, "cannot complete them"),
    ("translate completion photos", 78, "cannot translate them"),
    ("translate plain photos", 78, "cannot translate them"),
    ("translate bicycle photos --reverse", 78, "pairs, which have one direction"),
    ("translate bicycle nowhere", 65, "nowhere"),
]


@pytest.mark.parametrize(("line", "code", "sentence"), REFUSED, ids=[r[0] for r in REFUSED])
def test_bad_input_is_one_sentence_and_a_code(line, code, sentence, place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    found, out, err = said(capsys, line)
    assert sentence in err and found == code
    assert err.startswith("ganvae: ") and err.count("\n") == 1 and out == ""
    assert sorted(place.rglob("*")) == before  # nothing begun


def test_nothing_is_written_over_what_somebody_else_made(place, tmp_path, capsys) -> None:  # R10
    """Inputs, side files that were not named, and folders of others stay as they are."""
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("000000.png", "index.json", "notes.txt"):
        (mine / name).write_text("mine")
    (tmp_path / "x.json").write_text("mine")
    photo = place / "photos" / "bag" / "0.png"
    before = photo.read_bytes()
    for line, sentence in (
        (f"generate {place}/plain --n 2 --out {mine}", "holds files that ganvae has not written"),
        (f"reconstruct {place}/plain {place}/photos --out {mine}", "has not written"),
        (f"encode {place}/plain {place}/photos --out {tmp_path}/x.npz", "x.json would hold"),
        (f"reconstruct {place}/plain {photo} --out {photo}", "is one of the inputs"),
        (f"reconstruct {place}/plain {place}/photos --out {photo}", "is one of the inputs"),
    ):
        code, _, err = said(capsys, line)
        assert code == 78 and sentence in err, (line, err)
    assert photo.read_bytes() == before and not (tmp_path / "x.npz").exists()
    assert {path.name: path.read_text() for path in mine.iterdir()} == dict.fromkeys(
        ("000000.png", "index.json", "notes.txt"), "mine"
    )
    assert (tmp_path / "x.json").read_text() == "mine"


def test_what_ganvae_wrote_may_be_written_again(place, tmp_path, capsys) -> None:
    for line in (
        f"generate {place}/plain --n 2 --out {tmp_path}/made",
        f"generate {place}/plain --n 2 --out {tmp_path}/made",
        f"encode {place}/plain {place}/photos --out {tmp_path}/x.npz",
        f"encode {place}/plain {place}/photos --out {tmp_path}/x.npz",
    ):
        code, _, err = said(capsys, line)
        assert code == 0, err
    (tmp_path / "made" / ".ganvae").unlink()  # of an earlier version, which left no mark
    assert said(capsys, f"generate {place}/plain --n 2 --out {tmp_path}/made")[0] == 0
