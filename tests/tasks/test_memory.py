"""Verbs in memory: what is made is what is written, and making touches no file."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganvae import tasks
from ganvae.errors import ConfigError
from ganvae.models.images import to_uint8
from ganvae.tasks.complete import completions
from ganvae.tasks.direction import learn
from ganvae.tasks.edit import edits, strips
from ganvae.tasks.encode import posteriors
from ganvae.tasks.exact import Picture
from ganvae.tasks.generate import around, in_batches
from ganvae.tasks.interpolate import frames, interpolations
from ganvae.tasks.output import Folder, Result, join
from ganvae.tasks.reader import Reader
from ganvae.tasks.reconstruct import reconstructions, side_by_side
from ganvae.tasks.translate import sources, translations


def pictures(n: int, channels: int = 1, size: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(n)
    return torch.rand(n, channels, size, size, generator=generator) * 2 - 1


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def assert_written(result: Result, files: list[Path]) -> None:
    """The files hold the images, one after the other."""
    images = to_uint8(result.images.flatten(0, -4))
    assert len(images) == len(files)
    for image, path in zip(images, files, strict=True):
        assert np.array_equal(pixels(path).reshape(image.shape), image), path.name


@pytest.fixture
def no_files(monkeypatch, tmp_path):
    """Within it nothing is written; everything that ganvae writes ends in one of these calls."""

    def refused(*args, **kwargs):
        raise AssertionError("a file was written")

    empty = tmp_path / "empty"
    empty.mkdir()
    with monkeypatch.context() as patch:
        patch.chdir(empty)
        for owner, name in ((os, "replace"), (os, "mkdir"), (Path, "write_text")):
            patch.setattr(owner, name, refused)
        yield patch
    assert not list(empty.iterdir())


def test_samples_are_what_generate_writes(model, no_files, tmp_path):

    def make(n: int, start: int) -> torch.Tensor:
        return model.generate(n, seed=3, start=start, temperature=0.5)

    result = join(in_batches(make, 7, start=2, batch=4))
    assert result.images.shape == (7, 1, 8, 8) and result.first == 2 and not result.names
    whole = model.generate(7, seed=3, start=2, temperature=0.5)
    torch.testing.assert_close(result.images, whole, atol=1e-5, rtol=0)
    no_files.undo()
    *files, _ = tasks.generate(
        model, 7, tmp_path / "out", seed=3, start=2, batch=4, temperature=0.5
    )
    assert files[0].name == "000002.png"
    assert_written(result, files)


def test_samples_like_an_image_are_what_generate_writes(make, no_files, tmp_path):
    model, x = make(classes=("a", "b")), pictures(1)

    def make(n: int, start: int) -> torch.Tensor:
        return around(model, x, n, "b", seed=2, start=start)

    result = join(in_batches(make, 5, batch=2))
    no_files.undo()
    *files, _ = tasks.generate(model, 5, tmp_path / "out", like=x, label="b", seed=2, batch=2)
    assert_written(result, files)


@pytest.mark.parametrize("seed", [None, 4])
def test_reconstructions_are_what_is_written(model, no_files, tmp_path, seed):
    x = pictures(11)
    result = join(reconstructions(Reader(model, x, batch=4), seed=seed))
    assert torch.equal(result.originals, x) and result.names == tuple(map(str, range(11)))
    sheet = side_by_side(result.originals, result.images, 8)
    no_files.undo()
    *files, _ = tasks.reconstruct(model, x, tmp_path / "out", batch=4, seed=seed)
    assert_written(result, files)
    (path,) = tasks.reconstruct(model, x, tmp_path / "sheet.png", batch=4, seed=seed, n=11)
    assert np.array_equal(pixels(path), np.asarray(sheet))


@pytest.mark.parametrize("data", [None, pictures(4)], ids=["samples", "images"])
def test_interpolations_are_what_is_written(model, no_files, tmp_path, data):
    result = interpolations(model, data, steps=5, n=4, seed=1)
    film = frames(interpolations(model, data, steps=5, n=4, seed=1, closed=True))
    assert result.images.shape == (3, 5, 1, 8, 8) and film.shape == (16, 1, 8, 8)
    assert torch.equal(film[:12], result.images[:, :-1].flatten(0, 1))
    with pytest.raises(ValueError, match="at least 2 steps"):
        interpolations(model, data, steps=1)
    no_files.undo()
    *files, _ = tasks.interpolate(model, data, tmp_path / "out", steps=5, n=4, seed=1)
    assert_written(result, files)


def test_edits_and_directions_are_what_is_written(model, no_files, tmp_path):
    x = pictures(9)
    directions = learn(Reader(model, x, batch=4), principal=3)
    result = join(edits(Reader(model, x, batch=4), directions, [-1.0, 2.0]))
    assert result.images.shape == (9, 3, 2, 1, 8, 8)
    one = join(edits(Reader(model, x, batch=4), directions, [2.0], "principal-1"))
    assert torch.equal(one.images[:, 0, 0], result.images[:, 1, 1])
    assert strips(result).size == (3 * 10 + 2, 27 * 10 + 2)
    with pytest.raises(ValueError, match="finite"):
        next(edits(Reader(model, x), directions, []))
    no_files.undo()
    (path,) = tasks.direction(model, x, tmp_path / "d.npz", principal=3, batch=4)
    assert torch.equal(tasks.Directions.load(path).vectors, directions.vectors)
    *files, _ = tasks.edit(model, x, path, tmp_path / "out", amounts=[-1.0, 2.0], batch=4)
    assert_written(result, files)


def test_posteriors_are_what_encode_writes(model, no_files, tmp_path):
    x = pictures(9)
    latents = posteriors(Reader(model, x, batch=4))
    assert latents.names == [str(i) for i in range(9)] and latents.kinds == [None] * 9
    no_files.undo()
    path, _ = tasks.encode(model, x, tmp_path / "z.npz", batch=4)
    with np.load(path) as arrays:
        assert np.array_equal(arrays["mean"], latents.q.mean.numpy())
        assert np.array_equal(arrays["logvar"], latents.q.logvar.numpy())


@pytest.mark.parametrize(
    ("name", "reverse"), [("bicycle", False), ("unit", False), ("unit", True)]
)
def test_translations_are_what_is_written(make_translation, no_files, tmp_path, name, reverse):
    model = make_translation(name)
    x = pictures(5, 3 if reverse else 1, 16)
    reader = sources(model, x, batch=2, reverse=reverse)
    result = join(translations(reader, 3, seed=1, reverse=reverse))
    assert result.images.shape == (5, 3, 1 if reverse else 3, 16, 16)
    no_files.undo()
    *files, _, _ = tasks.translate(
        model, x, tmp_path / "out", variants=3, seed=1, batch=2, reverse=reverse
    )
    assert_written(result, files)


def test_a_large_picture_is_completed_in_memory(completion, no_files, tmp_path):
    random = np.random.default_rng(0)
    picture = Picture(random.integers(0, 256, (50, 37, 4), np.uint8), "RGBA")
    mask = np.zeros((50, 37), bool)
    mask[4:9, 5:30] = True
    result = completions(completion, picture, mask, variants=2, seed=3)
    assert np.array_equal(result.hole, mask) and len(result.regions) > 1
    for filled in result.pictures:
        assert np.array_equal(filled.pixels[~mask], picture.pixels[~mask])
    sheet = result.sheet(4)
    no_files.undo()
    *files, shown, _ = tasks.complete(
        completion, picture, tmp_path / "out", mask=mask, variants=2, seed=3
    )
    for filled, path in zip(result.pictures, files, strict=True):
        assert np.array_equal(pixels(path), filled.pixels)
    assert np.array_equal(pixels(shown), np.asarray(sheet))


def test_writing_would_be_noticed(model, no_files, tmp_path):
    for ask in (tasks.generate, lambda *given: tasks.generate(*given[:2], tmp_path / "a.png")):
        with pytest.raises(AssertionError, match="a file was written"):
            ask(model, 1, tmp_path / "out")


def test_what_a_model_was_not_trained_for_is_said_in_memory_too(model, completion, no_files):
    with pytest.raises(ConfigError, match="cannot translate them: train one with --task"):
        next(translations(sources(model, pictures(1))))
    with pytest.raises(ConfigError, match="cannot complete them: train one with --task"):
        completions(model, Picture(np.zeros((8, 8, 1), np.uint8), "L"), np.eye(8) > 0)
    with pytest.raises(ConfigError, match="cannot generate them: train one with --task"):
        learn(Reader(completion, pictures(2, 3, 16)))


def test_a_folders_files_are_numbered_by_what_they_hold(tmp_path):
    parts = [
        Result(torch.zeros(2, 3, 1, 4, 4), first=98),
        Result(torch.ones(1, 3, 1, 4, 4), first=100),
    ]
    folder = Folder(tmp_path / "out", (3, 1))
    files = [path for part in parts for path in folder.add(part)]
    assert [path.stem for path in files] == [
        f"{i:03d}_{v}" for i in (98, 99, 100) for v in range(3)
    ]
    assert folder.finish({"model": {}}) == [*files, tmp_path / "out" / "index.json"]
    assert pixels(files[0]).max() == 128 and pixels(files[-1]).min() == 255
    both = join(parts)
    assert both.images.shape[0] == 3 and both.first == 98 and both.head(2).images.shape[0] == 2
