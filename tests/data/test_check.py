from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from ganvae import cli, config
from ganvae.data import near, open_data
from ganvae.data.check import check
from ganvae.errors import DataError

from .conftest import photo

Make = Callable[..., Path]
Setting = Callable[..., config.Data]


def recompressed(image: Image.Image, random: np.random.Generator) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(random.integers(30, 90)))
    return Image.open(file)


def resized(image: Image.Image, random: np.random.Generator) -> Image.Image:
    share = random.uniform(0.5, 1.5)
    return image.resize((int(image.width * share), int(image.height * share)))


def cropped(image: Image.Image, random: np.random.Generator) -> Image.Image:
    left, top, right, bottom = random.uniform(0, 0.06, 4) * (image.size * 2)
    return image.crop((int(left), int(top), int(image.width - right), int(image.height - bottom)))


def brightened(image: Image.Image, random: np.random.Generator) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(random.uniform(0.8, 1.15))


@pytest.mark.parametrize("change", [recompressed, resized, cropped, brightened])
def test_d15_near_duplicates_are_found_and_others_are_not(
    change: Callable[..., Image.Image], tmp_path: Path, setting: Setting
) -> None:
    random = np.random.default_rng(0)
    for number in range(120):
        image = photo(number, 96, 96)
        image.save(tmp_path / f"{number:03d}.png")
        if number < 40:
            change(image, random).save(tmp_path / f"{number:03d}-copy.png")
    report = check(setting(tmp_path, size=64))
    found = {(a, b) for a, b, _ in report.near_duplicates}
    planted = {(f"{number:03d}-copy.png", f"{number:03d}.png") for number in range(40)}
    assert len(found & planted) >= 38
    assert len(found - planted) <= 1


def test_d15_near_duplicates_of_real_photographs(tmp_path: Path, setting: Setting) -> None:
    load = pytest.importorskip("sklearn.datasets").load_sample_images
    random = np.random.default_rng(0)
    planted = 0
    for photograph, pixels in enumerate(load().images):
        image = Image.fromarray(pixels)
        for row in range(4):
            for column in range(6):
                tile = image.crop((105 * column, 105 * row, 105 * column + 104, 105 * row + 104))
                name = f"{photograph}{row}{column}"
                tile.save(tmp_path / f"{name}.png")
                change = [recompressed, cropped][planted % 2]
                change(tile, random).save(tmp_path / f"{name}-copy.png")
                planted += 1
    report = check(setting(tmp_path, size=64))
    pairs = {(a, b) for a, b, _ in report.near_duplicates}
    right = {(a, b) for a, b in pairs if a.replace("-copy", "") == b}
    assert len(right) >= 0.95 * planted
    assert len(pairs - right) <= 2


def test_d15_equal_images_are_all_found(make: Make, setting: Setting) -> None:
    root = make(30)
    for number in range(10):
        shutil.copy(root / f"{number}.png", root / f"a copy of {number}.png")
        Image.open(root / f"{number}.png").save(root / f"{number}.bmp")  # the same pixels
    report = check(setting(root))
    assert sorted(map(sorted, report.duplicates)) == sorted(
        sorted([f"{n}.bmp", f"{n}.png", f"a copy of {n}.png"]) for n in range(10)
    )
    assert report.leaks == [] and not report.ok


def test_d16_leaks_equal_and_near(tmp_path: Path, setting: Setting) -> None:
    random = np.random.default_rng(1)
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
    for number in range(30):
        image = photo(number, 64, 64)
        image.save(tmp_path / "train" / f"{number}.png")
        if number < 5:
            image.save(tmp_path / "test" / f"equal{number}.png")
        elif number < 10:
            recompressed(image, random).save(tmp_path / "test" / f"near{number}.jpg", quality=60)
        else:
            photo(number + 100, 64, 64).save(tmp_path / "test" / f"{number}.png")
    report = check(setting(tmp_path, size=64))
    equal = {(a, b) for a, b, how in report.leaks if how == "equal"}
    assert equal == {(f"test/equal{n}.png", f"train/{n}.png") for n in range(5)}
    nearly = {(a, b) for a, b, how in report.leaks if how == "near"}
    assert nearly == {(f"test/near{n}.jpg", f"train/{n}.png") for n in range(5, 10)}


def test_everything_wrong_is_in_one_report(make: Make, setting: Setting) -> None:
    root = make(20)
    (root / "page.png").write_text("<html>")
    (root / "cut\n.png").write_bytes((root / "1.png").read_bytes()[:60])
    (root / "loop").symlink_to(root)
    (root / "notes.txt").touch()
    report = check(setting(root))
    assert {name for name, _ in report.defects} == {"page.png", "cut\n.png"}
    assert report.images == 20 == report.train + report.test
    assert report.listed == [
        ("loop", "link to a folder, not followed: its contents are taken in place")
    ]
    assert "2 unreadable images are more than data.max_bad=0.01" in report.problems[0]
    assert json.loads(json.dumps(report.to_dict()))["ok"] is False
    text = "\n".join(report.lines())
    for said in ("20 images of 16x16, RGB", "unreadable: 2", '"cut\\n.png": ', "1 .txt"):
        assert said in text


def write(root: Path, files: dict[str, int | None]) -> Path:
    """Photographs by name, from their numbers; None writes something else."""
    for name, number in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if number is None:
            (root / name).write_text("<html>")
        else:
            photo(number, 16, 16).save(root / name)
    return root


FEW = {f"{n}.png": n for n in range(12)}
SETS: dict[str, tuple[dict[str, int | None], dict[str, object], bool, bool]] = {
    # files, settings, whether anything is found, whether a training would refuse them
    "nothing wrong": (FEW, {}, False, False),
    "one broken": (FEW | {"x.png": None}, {"max_bad": 0.5}, True, False),
    "too many broken": (FEW | {"x.png": None}, {}, True, True),
    "copies": (FEW | {"x.png": 3}, {}, True, False),
    "leaks": ({"train/a.png": 1, "train/b.png": 2, "test/c.png": 1}, {}, True, False),
    "one image": ({"a.png": 1}, {}, True, True),
    "one image twice": ({"a.png": 1, "b.png": 1}, {}, True, True),
    "no images": ({"a.txt": None}, {}, True, True),
    "classes": ({"a/1.png": 1, "b/2.png": 2, "b/3.png": 3}, {"labels": True}, False, False),
    "no classes": (FEW, {"labels": True}, True, True),
    "pairs": (
        {f"{s}/a/{n}.png": n + k for n in range(9) for s, k in (("source", 0), ("target", 50))},
        {"task": "translate", "labels": True}, False, False,
    ),
    "pairs without sources' classes": (
        {f"source/{n}.png": n for n in range(9)} | {f"target/a/t{n}.png": n + 9 for n in range(9)},
        {"task": "translate", "labels": True}, False, False,
    ),
    "half in pairs": (
        {f"source/{n}.png": n for n in range(9)} | {f"target/{n}.png": n for n in range(5, 14)},
        {"task": "translate"}, True, True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_problems_are_what_a_training_refuses_and_ok_is_stricter(
    name: str, tmp_path: Path, setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    files, options, found, refused = SETS[name]
    chosen = setting(write(tmp_path / "set", files), **options)
    report = check(chosen)
    assert (not report.ok, bool(report.problems)) == (found, refused)
    with pytest.raises(DataError) if refused else nullcontext():
        open_data(chosen)
    given = {"size": 16, "cache": chosen.cache, **options}
    settings = [f"--data.{key}={value}" for key, value in given.items()]
    code = cli.run(["check", chosen.path, "--json", *settings])
    told = json.loads(capsys.readouterr().out)
    assert (code, told["ok"]) == (65 if refused else 0, not found)


def test_reports_of_little_and_of_nothing(make: Make, setting: Setting, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    report = check(setting(empty))
    assert report.images == 0 and "no images" in report.problems[0] and report.lines()
    report = check(setting(make(1)))
    assert report.images == 1 and "only one image" in report.problems[0]
    good = check(setting(make(12, "good")))
    assert good.ok and good.problems == []
    assert good.packed is not None
    place, size = good.packed
    assert Path(place).is_dir() and size >= 12 * 16 * 16 * 3
    assert any(f"packed in {place}" in line for line in good.lines())


def test_classes_are_counted(make: Make, setting: Setting) -> None:
    make(3, "pets/cats")
    root = make(5, "pets/dogs", first=3).parent
    assert check(setting(root)).classes == {"cats": 3, "dogs": 5}


def test_flat_images_and_crowds_do_not_drown_the_rest(
    tmp_path: Path, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    for level in range(20):
        Image.new("L", (32, 32), level * 10).save(tmp_path / f"flat{level}.png")
    for number in range(25):  # strokes at nearly the same place: alike, and not copies
        stroke = Image.new("L", (32, 32))
        x = 12 + number % 5
        stroke.paste(255, (x, 4 + number // 5, x + 5, 28))
        stroke.save(tmp_path / f"stroke{number:02d}.png")
    recompressed(Image.open(tmp_path / "stroke07.png"), np.random.default_rng(2)).save(
        tmp_path / "stroke07copy.png"
    )
    report = check(setting(tmp_path, size=32))
    assert [pair[:2] for pair in report.near_duplicates] == [("stroke07.png", "stroke07copy.png")]
    assert any("resemble more than" in note for note in report.notes)
    monkeypatch.setattr(near, "MOST_IMAGES", 30)
    assert any("first 30 images" in note for note in check(setting(tmp_path, size=32)).notes)


# -- colours --------------------------------------------------------------------------------------


def drawing(seed: int, colour: str, side: int = 64) -> Image.Image:
    """Some discs and boxes of one colour on nearly white."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (side, side), "gainsboro")
    draw = ImageDraw.Draw(image)
    for shape in (draw.ellipse, draw.rectangle, draw.ellipse):
        x, y, size = random.integers((4, 4, 12), (40, 40, 24)).tolist()
        shape((x, y, x + size, y + size), fill=colour)
    return image


def stripes(*colours: str, side: int = 60) -> Image.Image:
    """A flag of upright stripes."""
    image = Image.new("RGB", (side, side))
    for number, colour in enumerate(colours):
        image.paste(colour, (number * side // 3, 0, (number + 1) * side // 3, side))
    return image


def test_the_same_shape_in_another_colour_is_no_copy(tmp_path: Path, setting: Setting) -> None:
    for number in range(6):
        for colour in ("red", "blue", "black", "darkred"):
            drawing(number, colour).save(tmp_path / f"{colour}{number}.png")
    flags = {"nigeria": ("green", "white", "green"), "peru": ("crimson", "white", "crimson")}
    flags |= {"italy": ("green", "white", "crimson"), "france": ("navy", "white", "red")}
    for name, colours in flags.items():
        stripes(*colours).save(tmp_path / f"{name}.png")
    report = check(setting(tmp_path, size=64))
    assert report.near_duplicates == [] and report.leaks == []


@pytest.mark.parametrize("change", [recompressed, resized, cropped, brightened])
def test_copies_in_the_same_colour_are_found(
    change: Callable[..., Image.Image], tmp_path: Path, setting: Setting
) -> None:
    random = np.random.default_rng(0)
    for number in range(12):
        for colour in ("crimson", "mediumblue"):
            image = drawing(number, colour, side=96)
            image.save(tmp_path / f"{colour}{number}.png")
            change(image, random).save(tmp_path / f"{colour}{number}-copy.png")
    report = check(setting(tmp_path, size=64))
    found = {(a, b) for a, b, _ in report.near_duplicates}
    names = [f"{colour}{number}" for number in range(12) for colour in ("crimson", "mediumblue")]
    assert len(found & {(f"{name}-copy.png", f"{name}.png") for name in names}) >= 23
    assert all(a[0] == b[0] for a, b in found)  # red is with red, blue with blue
