import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.testing import assert_close

from ganvae import tasks
from ganvae.errors import CheckpointError, ConfigError, DataError
from ganvae.models import Model, ModelInfo
from ganvae.models.images import save_png, to_tensor, to_uint8
from ganvae.tasks.generate import at_once, blocks
from ganvae.tasks.reader import Reader, gathered
from ganvae.tasks.reconstruct import side_by_side


@pytest.fixture(scope="module")
def gan(make) -> Model:
    return make(roles=("generator", "prior"))


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten 8×8 pictures in a folder of two levels, by name."""
    random = np.random.default_rng(0)
    for i in range(10):
        image = random.integers(0, 256, (8, 8, 1), np.uint8)
        save_png(image, tmp_path / "photos" / f"class{i % 2}" / f"{i}.png")
    return tmp_path / "photos"


def spread(model: Model, data: Any, n: int | None) -> Tensor:
    return gathered(model, data, n).images


def loaded(photos: Path) -> Tensor:
    files = sorted(photos.rglob("*.png"))
    return to_tensor(np.stack([pixels(f)[:, :, None] for f in files]))


# -- reading ---------------------------------------------------------------------------------


def test_a_folder_a_list_and_a_tensor_give_the_same_images(model: Model, photos: Path):
    files = sorted(photos.rglob("*.png"))
    images = loaded(photos)
    for data in (photos, str(photos), files, [str(f) for f in files], images):
        assert torch.equal(spread(model, data, None), images)
        assert torch.equal(spread(model, data, 3), images[:3])
    assert torch.equal(spread(model, files[4], None), images[4:5])
    names = [name for part in Reader(model, photos, batch=3) for name in part.names]
    assert names == [f.relative_to(photos).as_posix() for f in files]
    assert [len(part.names) for part in Reader(model, images, batch=4)] == [4, 4, 2]
    assert [len(part.names) for part in Reader(model, photos, 5, batch=4)] == [4, 1]


def test_open_data_and_its_names_are_read(model: Model, photos: Path, monkeypatch, tmp_path):
    from ganvae.config import Data
    from ganvae.data import open_data

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = open_data(Data(path=str(photos), size=8, channels=1))
    parts = list(Reader(model, data.train, batch=4))
    assert torch.equal(torch.cat([p.images for p in parts]),
                       torch.cat(list(data.train.batches(100))))  # fmt: skip
    assert [n for p in parts for n in p.names] == data.train.names()


def test_other_sizes_and_modes_are_prepared_as_in_training(make, tmp_path: Path):
    save_png(np.full((16, 32, 3), [255, 0, 0], np.uint8), tmp_path / "wide.png")
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    grey, colour = make(), make(channels=3)
    assert spread(grey, tmp_path / "wide.png", None).shape == (1, 1, 8, 8)
    red = spread(colour, tmp_path / "wide.png", None)
    assert_close(red[0, :, 0, 0], torch.tensor([1.0, -1, -1]))
    assert float(spread(grey, tmp_path / "clear.png", None).min()) == 1
    black = ModelInfo(**{**vars(grey.info), "background": "black"})
    assert float(spread(Model(grey.networks, black), tmp_path / "clear.png", None).max()) == -1
    save_png(np.zeros((8, 8, 1), np.uint8), tmp_path / "grey.png")
    assert spread(colour, tmp_path / "grey.png", None).shape == (1, 3, 8, 8)


def test_bad_files_of_a_folder_are_skipped_and_told(model: Model, photos: Path, tmp_path: Path):
    (photos / "class0" / "0.png").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"1 of 10 images were skipped.*class0/0\.png.*empty"):
        tasks.reconstruct(model, photos, tmp_path / "out")
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert index["skipped"][0][0] == "class0/0.png" and len(index["images"]) == 9
    with pytest.raises(DataError, match=r"0\.png cannot be used: empty"):
        tasks.reconstruct(model, [photos / "class0" / "0.png"], tmp_path / "out2")
    assert not (tmp_path / "out2").exists()


def test_a_folder_of_bad_files_is_refused(model: Model, tmp_path: Path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.jpg").write_text("<html>")
    with pytest.raises(DataError, match="there are no images in"):
        spread(model, tmp_path / "x", None)


@pytest.mark.parametrize("data", ["absent", "absent.png", Path("absent"), [Path("absent.jpg")]])
def test_missing_images_are_named(model: Model, data):
    with pytest.raises(DataError, match="absent"):
        spread(model, data, None)


def test_empty_inputs_are_named(model: Model, tmp_path: Path):
    with pytest.raises(DataError, match="no images in the tensor"):
        spread(model, torch.zeros(0, 1, 8, 8), None)
    with pytest.raises(DataError):
        spread(model, tmp_path, None)
    with pytest.raises(DataError):
        spread(model, [], None)
    with pytest.raises(ConfigError, match="at least 1"):
        spread(model, torch.zeros(1, 1, 8, 8), 0)


# -- generate --------------------------------------------------------------------------------


def test_generate_writes_single_images_by_number(model: Model, tmp_path: Path):
    told = []
    paths = tasks.generate(model, 7, tmp_path / "out", seed=3, batch=4,
                           progress=lambda *now: told.append(now))  # fmt: skip
    assert [p.name for p in paths] == [f"{i:06d}.png" for i in range(7)] + ["index.json"]
    expected = to_uint8(model.generate(7, seed=3))
    for i, path in enumerate(paths[:-1]):
        assert np.abs(pixels(path).astype(int) - expected[i, :, :, 0]).max() <= 1
    assert told == [("generating", 4, 7), ("generating", 7, 7)]
    assert json.loads(paths[-1].read_text())["generate"]["seed"] == 3
    part = tasks.generate(model, 2, tmp_path / "part", seed=3, start=5)
    assert [p.name for p in part[:2]] == ["000005.png", "000006.png"]
    for path in part[:2]:
        other = pixels(tmp_path / "out" / path.name).astype(int)
        assert np.abs(pixels(path) - other).max() <= 1


def test_images_of_an_earlier_call_in_the_same_folder_are_told(model: Model, tmp_path: Path):
    tasks.generate(model, 3, tmp_path / "out")
    with pytest.warns(UserWarning, match="also holds 1 images .* for example 000002.png"):
        tasks.generate(model, 2, tmp_path / "out", seed=1)


@pytest.mark.parametrize(("side", "count"), [(8, 256), (64, 256), (128, 64), (2048, 1)])
def test_as_many_images_at_once_as_fit(side: int, count: int):
    assert at_once(SimpleNamespace(shape=(3, side, side))) == count  # type: ignore[arg-type]


def test_blocks_hold_every_image_once():
    def make(n: int, start: int) -> Tensor:
        return torch.arange(start, start + n).view(-1, 1, 1, 1) / 127.5 - 1

    found = list(blocks(make, 7, start=5, batch=3))
    assert [first for first, _ in found] == [5, 8, 11]
    assert np.concatenate([pixels for _, pixels in found]).ravel().tolist() == list(range(5, 12))


def test_generate_writes_one_sheet(gan: Model, tmp_path: Path):
    (path,) = tasks.generate(gan, 6, tmp_path / "deep" / "samples.PNG", columns=3)
    assert pixels(path).shape == ((2 * 10 + 2) * 8, (3 * 10 + 2) * 8)
    assert [p.name for p in path.parent.iterdir()] == ["samples.PNG"]


@pytest.mark.parametrize("out", ["x.jpg", "x.gif", "x.npz", "x.webp"])
def test_other_kinds_of_files_are_refused(model: Model, tmp_path: Path, out: str):
    with pytest.raises(ConfigError, match=r"must end in \.png, or be a folder"):
        tasks.generate(model, 1, tmp_path / out)


def test_places_that_cannot_be_written_are_named(model: Model, tmp_path: Path):
    (tmp_path / "file").write_text("")
    for out in ("file", "file/deep"):
        with pytest.raises(ConfigError, match="file"):
            tasks.generate(model, 1, tmp_path / out)
    with pytest.raises(ValueError, match="n must be"):
        tasks.generate(model, 0, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# -- reconstruct -----------------------------------------------------------------------------


def test_reconstruct_writes_images_and_their_errors(model: Model, photos: Path, tmp_path: Path):
    paths = tasks.reconstruct(model, photos, tmp_path / "out", batch=4)
    images = loaded(photos)
    expected = model.reconstruct(images)
    index = json.loads(paths[-1].read_text())["images"]
    assert len(paths) == 11 and len(index) == 10
    for i, entry in enumerate(index):
        assert (photos / entry["source"]).exists()
        error = float((expected[i] - images[i]).square().mean())
        assert entry["mse"] == pytest.approx(error, rel=1e-3)
        found = pixels(tmp_path / "out" / entry["file"])
        assert np.abs(found.astype(int) - to_uint8(expected[i : i + 1])[0, :, :, 0]).max() <= 1
    one = tasks.reconstruct(model, photos, tmp_path / "sampled", seed=1, batch=4)
    two = tasks.reconstruct(model, photos, tmp_path / "again", seed=1, batch=10)
    for a, b in zip(one[:-1], two[:-1]):
        assert np.abs(pixels(a).astype(int) - pixels(b)).max() <= 1
    assert (pixels(one[0]) != pixels(paths[0])).any()


@pytest.mark.parametrize("n", [1, 3, 8, 10])
def test_a_sheet_has_each_row_above_its_reconstructions(model, photos, tmp_path, n: int):
    told = []
    (path,) = tasks.reconstruct(model, photos, tmp_path / "r.png", n=n, batch=3,
                                progress=lambda *now: told.append(now))  # fmt: skip
    images = loaded(photos)[:n]
    sheet, again = pixels(path)[::8, ::8], to_uint8(model.reconstruct(images))[..., 0]
    original = to_uint8(images)[..., 0]
    for i in range(n):
        y, x = 2 + i // 8 * 20, 2 + i % 8 * 10
        assert np.array_equal(sheet[y : y + 8, x : x + 8], original[i])
        below = sheet[y + 10 : y + 18, x : x + 8]
        assert np.abs(below.astype(int) - again[i]).max() <= 1
    assert told[-1] == ("reconstructing", n, n)


def test_side_by_side_fills_the_last_row_with_white():
    sheet = np.asarray(side_by_side(-torch.ones(9, 1, 2, 2), -torch.ones(9, 1, 2, 2)))
    assert sheet.shape == (4 * 4 + 2, 8 * 4 + 2)
    assert (sheet[10:12, 6:] == 255).all() and (sheet[10:12, 2:4] == 0).all()


def test_models_without_an_encoder_say_so(gan: Model, photos: Path, tmp_path: Path):
    for task in (tasks.reconstruct, tasks.interpolate, tasks.encode):
        with pytest.raises(ConfigError, match="has no encoder"):
            task(gan, photos, tmp_path / ("out.npz" if task is tasks.encode else "out.png"))
    assert not (tmp_path / "out.png").exists()


# -- interpolate -----------------------------------------------------------------------------


def test_interpolate_writes_a_sheet_of_ways(model: Model, photos: Path, tmp_path: Path):
    (path,) = tasks.interpolate(model, photos, tmp_path / "i.png", steps=5, n=3)
    sheet = pixels(path)[::8, ::8]
    assert sheet.shape == (2 * 10 + 2, 5 * 10 + 2)
    again = to_uint8(model.reconstruct(loaded(photos)[:3]))[..., 0].astype(int)
    places = {(0, 0): 0, (0, 4): 1, (1, 0): 1, (1, 4): 2}
    for (row, column), i in places.items():
        y, x = 2 + row * 10, 2 + column * 10
        assert np.abs(sheet[y : y + 8, x : x + 8] - again[i]).max() <= 1


def test_interpolate_writes_a_film_that_returns(model: Model, tmp_path: Path):
    told = []
    (path,) = tasks.interpolate(model, None, tmp_path / "i.gif", steps=6, n=3, seed=2,
                                progress=lambda *now: told.append(now))  # fmt: skip
    with Image.open(path) as film:
        assert film.n_frames == 3 * 5 and film.size == (64, 64)
    assert told == [("interpolating", i, 3) for i in (1, 2, 3)]


def test_interpolate_writes_frames_between_samples(gan: Model, tmp_path: Path):
    paths = tasks.interpolate(gan, None, tmp_path / "frames", steps=3, n=3, seed=1)
    assert [p.name for p in paths] == [
        f"{way:03d}_{step:03d}.png" for way in range(2) for step in range(3)
    ] + ["index.json"]
    assert np.array_equal(pixels(paths[2]), pixels(paths[3]))  # an end is the next one's start
    first = to_uint8(gan.generate(1, seed=1))[0, :, :, 0].astype(int)
    assert np.abs(pixels(paths[0]) - first).max() <= 1


def test_too_few_images_to_interpolate_are_named(model: Model, photos: Path, tmp_path: Path):
    with pytest.raises(DataError, match="at least 2"):
        tasks.interpolate(model, next(photos.rglob("*.png")), tmp_path / "i.png")
    with pytest.raises(ValueError, match="at least 2"):
        tasks.interpolate(model, photos, tmp_path / "i.png", n=1)


# -- encode ----------------------------------------------------------------------------------


def test_encode_writes_arrays_and_names(model: Model, photos: Path, tmp_path: Path):
    told = []
    table, names = tasks.encode(model, photos, tmp_path / "latents.npz", batch=4,
                                progress=lambda *now: told.append(now))  # fmt: skip
    with np.load(table, allow_pickle=False) as arrays:
        assert set(arrays) == {"mean", "logvar"}
        q = model.encode(loaded(photos))
        assert_close(torch.from_numpy(arrays["mean"]), q.mean, atol=1e-5, rtol=1e-5)
        assert_close(torch.from_numpy(arrays["logvar"]), q.logvar, atol=1e-5, rtol=1e-5)
        assert arrays["mean"].dtype == np.float32
        z = torch.from_numpy(arrays["mean"])
    assert_close(model.decode(z), model.reconstruct(loaded(photos)), atol=1e-5, rtol=0)
    index = json.loads(names.read_text())
    assert names.name == "latents.json" and index["skipped"] == []
    assert index["names"][0] == "class0/0.png" and index["model"]["latent"] == 4
    assert told[-1] == ("encoding", 10, None)


def test_encode_keeps_odd_names(model: Model, tmp_path: Path):
    odd = b'caf\xc3\xa9 \xff\n"x.png'
    name = odd.decode("utf-8", "surrogateescape")
    save_png(np.zeros((8, 8, 1), np.uint8), tmp_path / "in" / "plain.png")
    (tmp_path / "in" / "plain.png").rename(tmp_path / "in" / name)
    _, names = tasks.encode(model, tmp_path / "in", tmp_path / "l.npz")
    assert json.loads(names.read_text("ascii"))["names"] == [name]


def test_encode_needs_an_npz(model: Model, photos: Path, tmp_path: Path):
    for out in ("latents", "latents.json", "latents.npy"):
        with pytest.raises(ConfigError, match=r"must end in \.npz"):
            tasks.encode(model, photos, tmp_path / out)


def test_a_full_disk_leaves_nothing(model: Model, photos: Path, tmp_path: Path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(CheckpointError, match="No space left"):
        tasks.encode(model, photos, tmp_path / "out" / "l.npz")
    assert list((tmp_path / "out").iterdir()) == []


def test_nothing_warns_about_good_images(model: Model, photos: Path, tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tasks.reconstruct(model, photos, tmp_path / "r.png")
