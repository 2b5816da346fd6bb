"""Directions: what is learnt, what is written, and where they may be used."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from ganvae import tasks
from ganvae.errors import ConfigError, DataError
from ganvae.models import Model
from ganvae.models.images import save_png, to_uint8
from ganvae.tasks import Directions, directions
from ganvae.types import Posterior


def posterior(mean: torch.Tensor, std: float = 0.5) -> Posterior:
    return Posterior(mean, torch.full_like(mean, 2 * np.log(std)))


def cloud(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for i in range(12):
        image = random.integers(0, 128, (8, 8, 1), np.uint8) + np.uint8(60 * (i % 3 == 1))
        save_png(image, tmp_path / "photos" / "abc"[i % 3] / f"{i}.png")
    return tmp_path / "photos"


# -- what is learnt --------------------------------------------------------------------------


def test_from_one_mean_to_the_other(model):
    step = torch.tensor([3.0, 0, -4, 0])
    a = cloud(500)
    found = directions.between(model, posterior(a), posterior(a + step))
    assert_close(found.vectors, step[None] / 5)
    # along the vector: means ±2.5 of the middle, within each the cloud's own and σ² = ¼
    own = (a @ (step / 5)).var(correction=0)
    spread = (own + 0.25 + 2.5**2).sqrt()
    assert_close(found.spread, spread[None], atol=1e-4, rtol=0)
    assert_close(found.distance, 5 / spread[None], atol=1e-4, rtol=0)
    back = directions.between(model, posterior(a + step), posterior(a))
    assert_close(back.vectors, -found.vectors)


def test_to_each_class_from_the_others(model):
    z = cloud(300)
    kinds = [("x", "y", "z")[i % 3] for i in range(300)]
    found = directions.of_classes(model, posterior(z), kinds)
    assert found.names == ("x", "y", "z") and found.kind == "class"
    y = z[1::3].mean(0) - torch.cat([z[::3], z[2::3]]).mean(0)
    assert_close(found.vectors[1], y / y.norm(), atol=1e-5, rtol=0)
    alone = directions.of_classes(model, posterior(z), kinds, "y")
    assert alone.names == ("y",) and torch.equal(alone.vectors[0], found.vectors[1])
    with pytest.raises(ConfigError, match="no image is of class 'w'"):
        directions.of_classes(model, posterior(z), kinds, "w")
    with pytest.raises(DataError, match="all images are of class 'x'"):
        directions.of_classes(model, posterior(z), ["x"] * 300)


@pytest.mark.parametrize("n", [2000, 4])
def test_principal_directions_are_those_of_greatest_variance(model, n):
    z = cloud(n) * torch.tensor([1.0, 4, 2, 0.5])
    found = directions.principal(model, posterior(z), 3)
    _, s, v = torch.linalg.svd(z - z.mean(0), full_matrices=False)
    assert_close((found.vectors @ v[:3].T).abs(), torch.eye(3), atol=1e-3, rtol=0)
    assert (found.vectors.gather(1, found.vectors.abs().argmax(1, keepdim=True)) > 0).all()
    assert_close(found.spread, (s[:3] ** 2 / n + 0.25).sqrt(), atol=1e-3, rtol=1e-3)
    assert not found.distance.any()


def test_there_are_only_so_many_principal_directions(model):
    for k, n in ((5, 100), (0, 100), (3, 3)):
        with pytest.raises(ConfigError, match=f"{k} principal directions"):
            directions.principal(model, posterior(cloud(n)), k)


def test_no_difference_is_no_direction(model):
    with pytest.raises(DataError, match="sees no difference"):
        directions.between(model, posterior(cloud(5)), posterior(cloud(5)))


# -- what is written -------------------------------------------------------------------------


def learnt(model: Model) -> Directions:
    return directions.principal(model, posterior(cloud(50)), 3)


def test_a_file_without_pickle_reads_back(model, tmp_path):
    found = learnt(model)
    path = found.save(tmp_path / "deep" / "d.npz")
    with np.load(path, allow_pickle=False) as arrays:
        assert str(arrays["model"]) == directions.fingerprint(model)
        assert str(arrays["kind"]) == "principal"
    again = Directions.load(path)
    for field in dataclasses.fields(Directions):
        a, b = getattr(found, field.name), getattr(again, field.name)
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize(
    "change",
    [
        {"vectors": np.full((3, 4), np.nan, np.float32)},
        {"vectors": np.ones((3, 4), np.float32)},
        {"vectors": np.ones((2, 4), np.float32) / 2},
        {"vectors": np.ones(3, np.float32)},
        {"vectors": np.array(["a"] * 3)},
        {"names": np.array(["a"])},
        {"kind": "magic"},
        {"format": 2},
        {"format": "x"},
        {"model": np.array([{}], object)},
        {"vectors": np.eye(4, dtype=np.float16)[:3]},
        {"spread": np.ones(3, np.float16)},
        {"spread": np.full(3, np.inf)},
        {"distance": np.full(3, np.inf)},
        {"vectors": np.zeros((0, 4)), "names": [], "spread": np.ones(0), "distance": np.ones(0)},
        {"vectors": np.zeros((3, 0))},
        {"names": np.array("abc")},
        {"names": np.zeros((3, 0), "U1")},
        {"vectors": np.eye(4, dtype=">f4")[:3]},
        {"more": np.zeros(2**25, np.uint8)},
    ],
)
def test_what_is_no_file_of_directions_is_refused(model, tmp_path, change):
    path = learnt(model).save(tmp_path / "d.npz")
    with np.load(path) as arrays:
        given = dict(arrays) | change
    np.savez(tmp_path / "bad.npz", **given)
    with pytest.raises(DataError, match=r"bad\.npz holds no directions"):
        Directions.load(tmp_path / "bad.npz")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.savez(tmp_path / "latents.npz", mean=np.zeros(3))
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    for name in ("text", "empty", "latents", "array"):
        with pytest.raises(DataError, match=f"{name}.npz holds no directions") as caught:
            Directions.load(tmp_path / f"{name}.npz")
        assert "pickle" not in str(caught.value)  # numpy would advise to load it as one
    with pytest.raises(DataError, match="does not exist"):
        Directions.load(tmp_path / "absent.npz")


def test_directions_learnt_from_files(model, photos, tmp_path):
    told = []
    (path,) = tasks.direction(model, photos / "a", tmp_path / "brighter.npz", having=photos / "b",
                              progress=lambda *now: told.append(now))  # fmt: skip
    found = Directions.load(path)
    assert found.names == ("brighter",) and found.kind == "difference"
    assert told == [("encoding", 4, None)] * 2
    (path,) = tasks.direction(model, photos, tmp_path / "classes.npz", batch=5)
    assert Directions.load(path).names == ("a", "b", "c")
    (path,) = tasks.direction(model, photos, tmp_path / "one.npz", only="b")
    assert Directions.load(path).names == ("b",)
    (path,) = tasks.direction(model, photos, tmp_path / "p.npz", principal=2)
    assert Directions.load(path).names == ("principal-0", "principal-1")


def test_what_does_not_fit_together_is_said(model, photos, tmp_path):
    with pytest.raises(ConfigError, match=r"must end in \.npz"):
        tasks.direction(model, photos, tmp_path / "d.json")
    with pytest.raises(ConfigError, match="choose one of these"):
        tasks.direction(model, photos, tmp_path / "d.npz", having=photos, principal=2)
    with pytest.raises(ConfigError, match="give a second folder"):
        tasks.direction(model, photos / "a", tmp_path / "d.npz")
    with pytest.raises(ConfigError, match="no image is of class 'q'"):
        tasks.direction(model, photos, tmp_path / "d.npz", only="q")
    assert not (tmp_path / "d.npz").exists()


def test_a_model_of_classes_is_told_them(make, photos, tmp_path):
    conditional = make(classes=("a", "b", "c"))
    with pytest.raises(ConfigError, match="--class"):
        tasks.direction(conditional, photos / "a", tmp_path / "d.npz", having=photos / "b")
    tasks.direction(conditional, photos / "a", tmp_path / "d.npz", having=photos / "b", label="c")
    tasks.direction(conditional, photos, tmp_path / "d.npz")


# -- where they may be used ------------------------------------------------------------------


def test_the_fingerprint_is_of_the_weights(make):
    one, same, other = make(), make(), make()
    with torch.no_grad():
        next(other.networks["encoder"].parameters()).flatten()[0] += 1e-6
    assert directions.fingerprint(one) == directions.fingerprint(same)
    assert directions.fingerprint(one) != directions.fingerprint(other)


def test_directions_of_another_model_are_refused(make, model, tmp_path, photos):
    found = learnt(model)
    assert found.check(model) == ""
    further, other = make(), make(fingerprint="other data")
    for one in (further, other):
        with torch.no_grad():
            next(one.networks["encoder"].parameters()).mul_(1.01)
    with pytest.warns(UserWarning, match="learn them anew"):
        tasks.edit(further, photos, found, tmp_path / "e.png")
    with pytest.raises(ConfigError, match="belong to another model"):
        tasks.edit(other, photos, found, tmp_path / "f.png")
    wide = dataclasses.replace(found, vectors=torch.eye(8)[:3])
    with pytest.raises(ConfigError, match="8 latent dimensions, the model has 4"):
        tasks.edit(model, photos, wide, tmp_path / "f.png")
    assert not (tmp_path / "f.png").exists()


def test_a_direction_is_found_by_name_and_number(model):
    found = learnt(model)
    assert found.find("principal-1") == found.find("1") == found.find(1) == 1
    with pytest.raises(ConfigError, match="no direction 'principl-1'; did you mean 'principal-1'"):
        found.find("principl-1")
    with pytest.raises(ConfigError, match="no direction '3'"):
        found.find(3)


def test_a_move_is_measured_in_standard_deviations(model):
    found = dataclasses.replace(learnt(model), spread=torch.tensor([3.0, 0.5, 7]))
    z = cloud(6)
    for which, amount in ((0, 2.0), (2, -1.5)):
        step = found.move(z, amount, which) - z
        assert_close(step @ found.vectors[which], torch.full((6,), amount * found.spread[which]))
        assert_close(step.norm(dim=1), (amount * found.spread[which]).abs().expand(6))


# -- edit ------------------------------------------------------------------------------------


def test_one_edited_image(model, photos, tmp_path):
    found = learnt(model)
    file = photos / "a" / "0.png"
    (path,) = tasks.edit(model, file, found, tmp_path / "e.png", amounts=[1.5], which=2)
    from ganvae.tasks.reader import gathered

    z = (
        model.encode(gathered(model, file, 1).images).mean
        + 1.5 * found.spread[2] * found.vectors[2]
    )
    assert np.abs(pixels(path) - to_uint8(model.decode(z))[0, :, :, 0]).max() <= 1


def test_a_sheet_has_originals_first(model, photos, tmp_path):
    found = learnt(model)
    (path,) = tasks.edit(model, photos, found, tmp_path / "e.png", amounts=[-1, 0, 1], n=2)
    sheet = pixels(path)[::8, ::8]
    assert sheet.shape == (2 * 3 * 10 + 2, 4 * 10 + 2)
    original = pixels(photos / "a" / "0.png")
    for row in range(3):
        assert np.array_equal(sheet[2 + 10 * row : 10 + 10 * row, 2:10], original)
    still = to_uint8(model.reconstruct(torch.from_numpy(original).float()[None, None] / 127.5 - 1))
    for row in range(3):  # an amount of 0 is the reconstruction
        shown = sheet[2 + 10 * row : 10 + 10 * row, 22:30]
        assert np.abs(shown - still[0, :, :, 0]).max() <= 1


def test_a_folder_of_edited_images(model, photos, tmp_path):
    path = learnt(model).save(tmp_path / "d.npz")
    told = []
    *paths, index = tasks.edit(model, photos, path, tmp_path / "out", amounts=[1, 2], batch=5,
                               progress=lambda *now: told.append(now))  # fmt: skip
    assert len(paths) == 12 * 3 * 2 and paths[-1].name == "000011_02_01.png"
    found = json.loads(index.read_text())
    assert found["amounts"] == [1, 2] and found["directions"][0] == "principal-0"
    assert told[-1] == ("editing", 12, None)


@pytest.mark.parametrize("amounts", [[], [float("nan")], [float("inf")]])
def test_amounts_that_make_no_sense_are_refused(model, photos, tmp_path, amounts):
    with pytest.raises(ValueError, match="amounts must be"):
        tasks.edit(model, photos, learnt(model), tmp_path / "e.png", amounts=amounts)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)
