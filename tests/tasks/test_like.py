"""New images around one, and films."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from ganvae import tasks
from ganvae.errors import ConfigError, DataError
from ganvae.models.images import save_png
from ganvae.tasks import films
from ganvae.tasks.generate import around
from ganvae.types import Posterior


@pytest.fixture
def x() -> torch.Tensor:
    return torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_samples_around_an_image_are_its_posteriors(model, x):
    made = around(model, x, 70, seed=3)
    assert_close(made, model.reconstruct(x.expand(70, -1, -1, -1), seed=3), atol=1e-5, rtol=0)
    assert_close(around(model, x, 4, seed=3, start=62), made[62:66], atol=1e-5, rtol=0)
    mean = model.reconstruct(x)
    assert_close(around(model, x, 2, temperature=0), mean.expand(2, -1, -1, -1))
    near, far = ((around(model, x, 64, temperature=t) - mean).abs().mean() for t in (0.5, 2))
    assert 0 < near < far


@pytest.mark.parametrize("temperature", [-1, float("nan"), float("inf")])
def test_a_temperature_that_makes_no_sense_is_refused(model, x, temperature):
    with pytest.raises(ValueError, match="temperature must be"):
        around(model, x, 1, temperature=temperature)


def test_generate_like_a_file(model, tmp_path: Path):
    save_png(np.arange(64, dtype=np.uint8).reshape(8, 8, 1), tmp_path / "a.png")
    *paths, index = tasks.generate(model, 3, tmp_path / "out", like=tmp_path / "a.png", batch=2)
    assert len(paths) == 3
    assert json.loads(index.read_text())["generate"]["like"].endswith("a.png")
    save_png(np.zeros((8, 8, 1), np.uint8), tmp_path / "in" / "b.png")
    save_png(np.ones((8, 8, 1), np.uint8), tmp_path / "in" / "c.png")
    with pytest.raises(DataError, match="like one image"):
        tasks.generate(model, 3, tmp_path / "x.png", like=tmp_path / "in")
    with pytest.raises(DataError, match="does not exist"):
        tasks.generate(model, 3, tmp_path / "x.png", like=tmp_path / "absent.png")


def test_a_model_without_an_encoder_has_nothing_to_go_by(make, x, tmp_path: Path):
    gan = make(roles=("generator", "prior"))
    with pytest.raises(ConfigError, match="has no encoder"):
        tasks.generate(gan, 1, tmp_path / "x.png", like=x)


def test_an_image_of_one_code_has_none_around_it(make, x, tmp_path: Path):
    exact = make()
    encoder = exact.networks["encoder"]
    exact.networks["encoder"] = lambda x: Posterior(
        encoder(x).mean, torch.full_like(encoder(x).mean, -torch.inf)
    )
    with pytest.warns(UserWarning, match="all new ones are the same"):
        tasks.generate(exact, 2, tmp_path / "x.png", like=x)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".mp4"])
def test_a_film_has_every_frame(model, tmp_path: Path, suffix: str):
    (path,) = tasks.interpolate(model, None, tmp_path / f"f{suffix}", steps=4, n=3, seed=2)
    frames, size = _read(path)
    assert len(frames) == 9 and size == (64, 64)
    expected = tasks.interpolate(model, None, tmp_path / "frames", steps=4, n=3, seed=2)
    for frame, still in ((0, 0), (1, 1), (3, 4)):
        with Image.open(expected[still]) as image:
            wanted = np.asarray(image.resize((64, 64), Image.Resampling.NEAREST)).astype(int)
        assert np.abs(frames[frame] - wanted).mean() < 6


def test_odd_sizes_fit_into_an_mp4(tmp_path: Path):
    path = films.save_film(torch.zeros(3, 3, 7, 9), tmp_path / "odd.mp4")
    frames, size = _read(path)
    assert len(frames) == 3 and size == (10, 8)


def test_without_ffmpeg_an_mp4_is_one_sentence(model, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setattr(films, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'ganvae\[video\]', or end it in \.gif"):
        tasks.interpolate(model, None, tmp_path / "f.mp4")
    assert not list(tmp_path.iterdir())


def test_a_film_needs_a_known_suffix(model, tmp_path: Path):
    for name in ("x.npz", "x.jpg"):
        with pytest.raises(ConfigError, match=r"\.png or \.gif or \.webp or \.mp4"):
            tasks.interpolate(model, None, tmp_path / name)


def _read(path: Path) -> tuple[list[np.ndarray], tuple[int, int]]:
    """Grey frames, and width and height."""
    if path.suffix == ".mp4":
        import imageio_ffmpeg

        reader = imageio_ffmpeg.read_frames(str(path))
        size = tuple(next(reader)["source_size"])
        shape = size[1], size[0], 3
        return [
            np.frombuffer(f, np.uint8).reshape(shape)[..., 0].astype(int) for f in reader
        ], size
    with Image.open(path) as film:
        frames = []
        for number in range(film.n_frames):
            film.seek(number)
            frames.append(np.asarray(film.convert("L")).astype(int))
        return frames, film.size
