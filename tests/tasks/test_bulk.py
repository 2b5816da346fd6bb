"""Bulk tasks in one process: the parts, what they hold, and going on where it was stopped."""

from __future__ import annotations

import ast
import io
import json
import os
import sys
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganvae import bulk, config, files, metrics, tasks
from ganvae.bulk import parts, units
from ganvae.bulk.units import absolute
from ganvae.data import open_data
from ganvae.errors import BusyError, ConfigError, DataError, RangeError
from ganvae.models.images import to_tensor, to_uint8
from ganvae.training.lock import RunLock

parquet = pytest.importorskip("pyarrow.parquet")
SMALL = {"part": 8, "batch": 4, "actors": 0}


def draw(n: int, seed: int = 0) -> np.ndarray:
    """n images of a few grey levels, (n, 8, 8)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 4, 4), np.uint8)
    return coarse.repeat(2, 1).repeat(2, 2)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """27 images in two sub-folders, one of them damaged."""
    place = tmp_path / "photos"
    for i, pixels in enumerate(draw(26)):
        path = place / ("cat" if i % 2 else "dog") / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(pixels))
    (place / "cat" / "03b.png").write_bytes(b"no image")
    return place


def rows(done: bulk.Done) -> dict[str, list]:
    return parquet.ParquetDataset(done.parts).read().to_pydict()


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("*.parquet")}


class Stop(Exception):
    """What a test stops a task with."""


def stop_at(images: int):
    def progress(what: str, done: int, total: int | None) -> None:
        if done >= images:
            raise Stop

    return progress


def alone(model, data, tmp_path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """What the single-machine task says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the skipped image
        npz, table = tasks.encode(model, data, tmp_path / "alone.npz", batch=4)
    with np.load(npz) as found:
        return found["mean"], found["logvar"], json.loads(table.read_text())["names"]


# -- encode ------------------------------------------------------------------------------------


def test_encode_says_what_the_single_machine_task_says(model, folder, photos, tmp_path) -> None:
    done = bulk.encode(folder, photos, tmp_path / "out", spread=True, **SMALL)
    found = rows(done)
    mean, logvar, names = alone(model, photos, tmp_path)
    assert found["name"] == names and done.images == 26 and len(done.parts) == 4
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["logvar"], logvar, rtol=1e-5, atol=1e-6)
    assert found["label"] == [name.split("/")[0] for name in names]
    index = json.loads((tmp_path / "out" / "_index.json").read_text())
    assert index["skipped"] == [["cat/03b.png", done.skipped[0][1]]] and index["images"] == 26


def test_a_class_that_is_no_text_is_written_as_its_bytes(folder, tmp_path) -> None:
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/set/caf\xe9"))
    place.mkdir(parents=True)
    for number in range(2):
        (place / f"{number}.png").write_bytes(png(draw(2)[number]))
    found = rows(bulk.encode(folder, tmp_path / "set", tmp_path / "out", **SMALL))
    assert found["label"] == [r"caf\xe9"] * 2 and found["name"][0] == r"caf\xe9/0.png"


def test_a_model_of_classes_is_told_them(make, photos, tmp_path) -> None:
    model = make(classes=("cat", "dog"))
    place = model.save(tmp_path / "model")
    own = rows(bulk.encode(place, photos, tmp_path / "own", **SMALL))
    mean, _, _ = alone(model, photos, tmp_path)
    np.testing.assert_allclose(own["mean"], mean, rtol=1e-5, atol=1e-6)
    all_dogs = rows(bulk.encode(place, photos, tmp_path / "dogs", label="dog", **SMALL))
    same = np.array(all_dogs["mean"]) == np.array(own["mean"])
    assert same.all(1).tolist() == [label == "dog" for label in own["label"]]
    with pytest.raises(ConfigError, match="no class 'dgo'"):
        bulk.encode(place, photos, tmp_path / "bad", label="dgo", **SMALL)


def _array(place: Path, pixels: np.ndarray) -> Path:
    np.savez(place / "set.npz", images=pixels)
    return place / "set.npz"


def _tars(place: Path, pixels: np.ndarray) -> Path:
    (place / "set").mkdir()
    for shard in range(3):
        with tarfile.open(place / "set" / f"{shard}.tar", "w") as tar:
            for i in range(shard, len(pixels), 3):
                info = tarfile.TarInfo(f"{i:03d}.png")
                info.size = len(png(pixels[i]))
                tar.addfile(info, io.BytesIO(png(pixels[i])))
    return place / "set"


def _tables(place: Path, pixels: np.ndarray) -> Path:
    import pyarrow as pa

    (place / "set").mkdir()
    for shard in range(3):
        files = pa.table({"image": [png(x) for x in pixels[shard::3]]})
        parquet.write_table(files, place / "set" / f"train-{shard}.parquet")
    return place / "set"


@pytest.mark.parametrize("write", [_array, _tars, _tables])
def test_every_kind_of_source(write, model, folder, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = write(tmp_path, draw(40)).relative_to(tmp_path)
    done = bulk.encode(folder, data, tmp_path / "out", **SMALL)
    mean, _, names = alone(model, data, tmp_path)
    found = rows(done)
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-5, atol=1e-6)
    assert found["name"] == names
    assert len(done.parts) == (5 if write is _array else 6)
    whole = contents(tmp_path / "out")
    for name in list(whole)[1::2]:
        (tmp_path / "out" / name).unlink()
    again = bulk.encode(folder, data, tmp_path / "out", **SMALL)
    assert contents(tmp_path / "out") == whole and again.made == len(whole) // 2


@pytest.mark.parametrize("pattern", ["*.tar", "{0..2}.tar", "[0-2].tar", ""])
@pytest.mark.parametrize("place", ["here", "file", "memory"])
def test_patterns_of_shards_here_and_at_addresses(place, pattern, folder, tmp_path) -> None:
    fsspec = pytest.importorskip("fsspec")
    shards = _tars(tmp_path, draw(12))
    base = {"here": str(shards), "file": f"file://{shards}", "memory": "memory://bulk"}[place]
    memory = fsspec.filesystem("memory")
    for shard in shards.iterdir():
        memory.pipe(f"/bulk/{shard.name}", shard.read_bytes())
    named = rows(bulk.encode(folder, shards, tmp_path / "named", **SMALL))
    found = rows(bulk.encode(folder, f"{base}/{pattern}", tmp_path / "found", **SMALL))
    assert found == named and len(set(found["name"])) == 12


def test_finished_files_are_not_read_again(folder, tmp_path) -> None:
    data = _tars(tmp_path, draw(40))
    done = bulk.encode(folder, data, tmp_path / "out", **SMALL)
    source, index = units.listed(data)
    found = {path.stem: parts._read_part(path) for path in done.parts}
    assert units.cut(source, index, 8, found) == []
    del found["part-000001-000000"]
    (left,) = units.cut(source, index, 8, found)
    assert left.number == 1 and left.done == [1]
    del found["part-000001-000001"]
    assert units.cut(source, index, 8, found)[0].done == []


def test_workers_share_the_parts_of_an_array(folder, tmp_path) -> None:
    data = _array(tmp_path, draw(40))
    source, index = units.listed(data)
    how = bulk.encode.__globals__["preparation"](bulk.encode.__globals__["load"](folder))
    alone_, shared = (
        [p.part for unit in units.cut(source, index, 8, {}, n) for p in units.read(unit, how, 8)]
        for n in (1, 3)
    )
    assert len(alone_) == 5 and sorted(shared) == alone_


# -- generate ----------------------------------------------------------------------------------


def test_generate_makes_the_images_of_the_single_machine_task(model, folder, tmp_path) -> None:
    done = bulk.generate(folder, 30, tmp_path / "out", seed=3, start=5, **SMALL)
    found = rows(done)
    tasks.generate(model, 30, tmp_path / "alone", seed=3, start=5, batch=4)
    assert found["index"] == list(range(5, 35)) and set(found["seed"]) == {3}
    assert len(done.parts) == 4 and len(set(found["image"])) == 30
    for index, image in zip(found["index"], found["image"], strict=True):
        with Image.open(tmp_path / "alone" / f"{index:06d}.png") as expected:
            made = Image.open(io.BytesIO(image))
            np.testing.assert_array_equal(np.asarray(made), np.asarray(expected))


def test_without_other_numbers_batches_are_those_of_the_task(folder, tmp_path) -> None:
    done = bulk.generate(folder, 1100, tmp_path / "out", actors=0)
    settings = json.loads((tmp_path / "out" / "_manifest.json").read_text())["settings"]
    assert settings["batch"] == 256 and settings["part"] == 1024  # 8x8 pixels
    assert [parquet.read_metadata(path).num_rows for path in done.parts] == [1024, 76]


def test_options_reach_the_model(make, tmp_path) -> None:
    model = make(classes=("cat", "dog"))
    place = model.save(tmp_path / "model")
    by_chance = rows(bulk.generate(place, 16, tmp_path / "a", seed=1, **SMALL))
    labels = model.labels(16, seed=1)
    assert by_chance["label"] == [("cat", "dog")[i] for i in labels]
    options = {"label": "dog", "seed": 1, "temperature": 0.5, "truncation": 1.0}
    dogs = rows(bulk.generate(place, 16, tmp_path / "b", **options, **SMALL))
    expected = to_uint8(model.generate(16, "dog", seed=1, temperature=0.5, truncation=1.0))
    made = np.stack([np.asarray(Image.open(io.BytesIO(image))) for image in dogs["image"]])
    assert set(dogs["label"]) == {"dog"}
    assert np.abs(made.astype(int) - expected[..., 0]).max() <= 1  # other batches, float rounding


def test_generated_images_can_be_trained_on(model, folder, tmp_path) -> None:
    bulk.generate(folder, 20, tmp_path / "out", **SMALL)
    data = open_data(config.Data(path=str(tmp_path / "out"), size=8, channels=1))
    assert len(data.train) + len(data.test) == 20


# -- stopping and going on ---------------------------------------------------------------------


def begin(folder: Path, out: Path, **options) -> bulk.Done:
    return bulk.generate(folder, 40, out, **SMALL | {"seed": 2} | options)


def test_going_on_gives_what_one_go_gives(folder, tmp_path) -> None:
    begin(folder, tmp_path / "whole")
    out = tmp_path / "out"
    with pytest.raises(Stop):
        begin(folder, out, progress=stop_at(16))
    assert len(contents(out)) == 2 and not (out / "_index.json").exists()
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    files.scratch(out / "p.parquet").write_bytes(b"half")  # as of a kill in the midst of writing
    assert begin(folder, out).made == 3
    assert contents(out) == contents(tmp_path / "whole")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not any(map(files.is_scratch, out.iterdir()))
    assert begin(folder, out).made == 0


def test_missing_and_damaged_parts_are_made_again(folder, tmp_path) -> None:
    done = begin(folder, tmp_path / "out")
    whole = contents(tmp_path / "out")
    done.parts[1].unlink()
    done.parts[3].write_bytes(done.parts[3].read_bytes()[:-9])
    done.parts[4].write_bytes(b"")
    assert begin(folder, tmp_path / "out").made == 3
    assert contents(tmp_path / "out") == whole


@pytest.mark.parametrize("place", [0.02, 0.3, 0.6, 0.99])
def test_a_flipped_bit_of_a_part_is_noticed(folder, tmp_path, place: float) -> None:
    done = begin(folder, tmp_path / "out")
    whole = contents(tmp_path / "out")
    damaged = bytearray(done.parts[2].read_bytes())
    damaged[int(place * len(damaged))] ^= 1
    done.parts[2].write_bytes(damaged)
    assert begin(folder, tmp_path / "out").made == 1
    assert contents(tmp_path / "out") == whole


def test_a_foreign_folder_stays_as_it_is(folder, tmp_path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    out = tmp_path / "mine"
    out.mkdir()
    (out / "part-00000.parquet").write_bytes(b"mine")
    with pytest.raises(ConfigError, match="holds something else"):
        begin(folder, out)
    assert [path.name for path in out.iterdir()] == ["part-00000.parquet"]


def test_other_settings_are_refused(make, folder, photos, tmp_path) -> None:
    out = tmp_path / "out"
    begin(folder, out)
    whole = contents(out)
    with pytest.raises(ConfigError, match=r"begun with seed 2, not 4; choose another folder"):
        begin(folder, out, seed=4)
    with pytest.raises(ConfigError, match=r"with prior null, not \"mixture\""):
        begin(folder, out, prior="mixture")
    with pytest.raises(ConfigError, match="begun for another task"):
        bulk.encode(folder, photos, out, **SMALL)
    other = make(images=7).save(tmp_path / "other")
    with pytest.raises(ConfigError, match="begun with another model"):
        begin(other, out)
    assert contents(out) == whole


def test_other_images_are_refused(folder, photos, tmp_path) -> None:
    bulk.encode(folder, photos, tmp_path / "out", **SMALL)
    (photos / "dog" / "00.png").unlink()
    with pytest.raises(ConfigError, match="begun with other images"):
        bulk.encode(folder, photos, tmp_path / "out", **SMALL)


def test_one_process_a_folder(folder, tmp_path) -> None:
    with RunLock(tmp_path / "out"), pytest.raises(BusyError, match="is in use by"):
        begin(folder, tmp_path / "out")


# -- mistakes ----------------------------------------------------------------------------------


def test_mistakes_are_one_sentence(make, folder, photos, tmp_path) -> None:
    gan = make(roles=("generator", "prior")).save(tmp_path / "gan")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.png").write_text("")
    out = tmp_path / "out"
    for call, error, words in (
        (lambda: bulk.encode(gan, photos, out, **SMALL), ConfigError, "has no encoder"),
        (lambda: bulk.encode(tmp_path / "no", photos, out), ConfigError, "does not exist"),
        (lambda: bulk.encode(folder, tmp_path / "no", out), DataError, "does not exist"),
        (lambda: bulk.encode(folder, photos, out, part=0, actors=0), ConfigError, "at least 1"),
        (lambda: bulk.encode(folder, photos, out, batch=0, actors=0), ConfigError, "at least 1"),
        (
            lambda: bulk.encode(folder, tmp_path / "none", tmp_path / "b", **SMALL),
            DataError, "no images that can be read; the first one, a.png, is empty",
        ),
        (lambda: bulk.generate(folder, 0, out), ConfigError, "at least 1, got 0"),
        (lambda: bulk.generate(folder, 1, out, seed=2**63), RangeError, "seed must be from 0"),
        (lambda: bulk.generate(folder, 8, out, part=6, batch=0), ConfigError, "got 6 and 0"),
        (lambda: bulk.generate(folder, 8, out, prior="flow"), ConfigError, "no prior 'flow'"),
        (lambda: bulk.generate(folder, 8, out, label="cat"), ConfigError, "knows no classes"),
        (lambda: bulk.generate(folder, 8, tmp_path / "mine", **SMALL), ConfigError, "thesis"),
        (lambda: bulk.evaluate(folder, None, out), ConfigError, "name the images"),
    ):  # fmt: skip
        with pytest.raises(error, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_the_digits_are_no_folder_of_that_name(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("digits", "photos"):
        Path(name).mkdir()
    assert absolute("digits") == "digits" and absolute("photos") == str(tmp_path / "photos")


def test_models_of_other_tasks_are_not_judged_in_bulk(completion, photos, tmp_path) -> None:
    place = completion.save(tmp_path / "completion")
    with pytest.raises(ConfigError, match="trained to complete images"):
        bulk.evaluate(place, photos, tmp_path / "out")


def test_ray_is_asked_for_by_name(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"need the package ray.*'ganvae\[ray\]'"):
        bulk.generate(folder, 8, tmp_path / "out", part=8, batch=4)


def test_nothing_imports_ray_before_it_is_used() -> None:
    for path in Path(bulk.__file__).parents[1].rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in getattr(node, "names", ()) if hasattr(alias, "name")]
            names += [getattr(node, "module", None) or ""]
            assert not [name for name in names if name.split(".")[0] == "ray"], path


# -- evaluate ----------------------------------------------------------------------------------


def figures(found: dict) -> dict:
    """All that an evaluation says, but for the time it took."""
    told = {key: value for key, value in found.items() if key != "seconds"}
    for part in ("figures", "reference"):
        told[part] = {k: {**v, "seconds": 0} for k, v in found[part].items()}
    return told


@pytest.mark.slow
def test_evaluate_says_what_the_single_machine_one_says(model, folder, tmp_path) -> None:
    data = _array(tmp_path, draw(80))
    sizes = {"data.test_share": 0.4, "evaluation.size": 16, "evaluation.importance": 2}
    settings = {**sizes, "evaluation.samples": 24}
    options = {"settings": sizes, "samples": 24, "training": True, "seed": 5}
    found = bulk.evaluate(
        folder, data, tmp_path / "out", **options, part=128, actors=0,
    )  # fmt: skip
    chosen = config.override(
        config.Config(), {**settings, "data.path": str(data), "data.size": 8, "data.channels": 1}
    )
    expected = metrics.evaluate(
        model, open_data(chosen.data), chosen.evaluation, seed=5,
        cache_folder=tmp_path / "fresh", name=data.name,
    )  # fmt: skip
    assert figures(found) == figures(expected)
    assert found["figures"]["kid"]["value"] is not None
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text()) == found
    with pytest.raises(ConfigError, match="with seed 5, not 6"):
        bulk.evaluate(folder, data, tmp_path / "out", **options | {"seed": 6}, part=128, actors=0)
    sizes = {"evaluation.size": 16, "evaluation.importance": 2}  # no share: all of other images
    whole = bulk.evaluate(folder, data, tmp_path / "all", settings=sizes, samples=24, actors=0)
    assert whole["judged"] == f"24 of all 80 images of {data.name}" and not whole["reference"]
    image = parquet.read_table(tmp_path / "out" / "samples" / "part-000000.parquet")["image"]
    kept = np.asarray(Image.open(io.BytesIO(image[3].as_py())))[None, :, :, None]
    torch.testing.assert_close(
        to_tensor(kept.copy()), model.generate(1, seed=5, start=3), atol=1 / 127, rtol=0
    )
