"""Models that know classes: from where each image's class is taken."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from ganvae import api, bulk, tasks
from ganvae.errors import ConfigError
from ganvae.models import card, load
from ganvae.models.images import save_png, to_uint8
from ganvae.tasks.reader import Reader, gathered

CLASSES = ("bag", "boot", "sneaker")


@pytest.fixture(scope="module")
def conditional(make):
    return make(classes=CLASSES)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for i in range(6):
        image = random.integers(0, 256, (8, 8, 1), np.uint8)
        save_png(image, tmp_path / "photos" / CLASSES[i % 3] / f"{i}.png")
    return tmp_path / "photos"


def test_sub_folders_are_classes(conditional, photos):
    found = gathered(conditional, photos, None)
    assert found.kinds == ["bag", "bag", "boot", "boot", "sneaker", "sneaker"]
    assert found.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert [p.labels.tolist() for p in Reader(conditional, photos, 5, 2)] == [[0, 0], [1, 1], [2]]


def test_a_class_for_all_wins(conditional, photos):
    for label in ("boot", "1", 1, torch.tensor(1)):
        assert gathered(conditional, photos, None, label).labels.tolist() == [1] * 6
    each = torch.tensor([2, 1, 0, 2, 1, 0])
    assert torch.cat([p.labels for p in Reader(conditional, photos, 5, 2, each)]).equal(each[:5])


def test_a_number_is_a_name_where_classes_are_named_by_numbers(make):
    digits = make(classes=("1", "2", "3"))
    assert digits.labels(2, "2").tolist() == [1, 1]
    for unknown in ("0", "4"):
        with pytest.raises(ConfigError, match=f"no class '{unknown}'"):
            digits.labels(2, unknown)


def test_images_of_other_classes_are_not_judged(conditional, photos, tmp_path):
    (photos / "bag").rename(tmp_path / "bag")
    place = conditional.save(tmp_path / "model")
    for judge in (api.evaluate, bulk.evaluate):
        out = () if judge is api.evaluate else (tmp_path / "out",)
        with pytest.raises(ConfigError, match="bag, boot, sneaker, those of the images boot, sn"):
            judge(place, photos, *out)


def test_without_classes_nothing_is_asked(model, photos):
    assert gathered(model, photos, None).labels is None
    with pytest.raises(ConfigError, match="knows no classes"):
        gathered(model, photos, None, "boot")


def test_images_of_no_known_class_are_named(conditional, photos):
    (photos / "boot").rename(photos / "boots")
    with pytest.raises(ConfigError, match=r"boots/1\.png: no class 'boots'; did you mean 'boot'"):
        gathered(conditional, photos, None)
    (photos / "boots" / "1.png").rename(photos / "1.png")
    with pytest.raises(ConfigError, match=r"class of 1\.png: name it with --class"):
        gathered(conditional, photos, None)
    with pytest.raises(ConfigError, match="--class"):
        gathered(conditional, photos / "1.png", None)
    with pytest.raises(ConfigError, match="--class"):
        gathered(conditional, torch.zeros(1, 1, 8, 8), None)


def test_open_data_brings_its_labels(conditional, photos, monkeypatch, tmp_path):
    from ganvae.config import Data
    from ganvae.data import open_data

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = open_data(Data(path=str(photos), size=8, channels=1, labels=True))
    assert gathered(conditional, data.train, None).labels.tolist() == data.train.labels.tolist()


def test_every_verb_tells_the_class(conditional, photos, tmp_path):
    found = gathered(conditional, photos, None)
    q = conditional.encode(found.images, found.labels)
    table, _ = tasks.encode(conditional, photos, tmp_path / "z.npz", batch=4)
    with np.load(table) as arrays:
        assert_close(torch.from_numpy(arrays["mean"]), q.mean, atol=1e-5, rtol=1e-5)
    *paths, index = tasks.reconstruct(conditional, photos, tmp_path / "r", batch=4)
    expected = conditional.reconstruct(found.images, found.labels)
    errors = (expected - found.images).square().flatten(1).mean(1)
    told = [entry["mse"] for entry in json.loads(index.read_text())["images"]]
    assert len(paths) == 6 and told == pytest.approx(errors.tolist(), rel=1e-3)
    other = conditional.reconstruct(found.images, 1)
    assert not torch.allclose(other, expected, atol=1e-3)


def test_generate_makes_one_class(conditional, tmp_path):
    for label in ("sneaker", "2"):
        *paths, index = tasks.generate(conditional, 3, tmp_path / label, label=label, seed=1)
        assert json.loads(index.read_text())["generate"]["class"] == label
        expected = to_uint8(conditional.generate(3, 2, seed=1))
        for path, image in zip(paths, expected):
            assert np.abs(_pixels(path).astype(int) - image[:, :, 0]).max() <= 1
    with pytest.raises(ConfigError, match="no class 'sneakr'; did you mean 'sneaker'"):
        tasks.generate(conditional, 1, tmp_path / "x.png", label="sneakr")
    assert not (tmp_path / "x.png").exists()


def test_a_way_between_classes_changes_class_at_its_middle(conditional, photos, tmp_path):
    from ganvae.models.model import spherical

    found = gathered(
        conditional, [photos / "bag/0.png", photos / "boot/1.png"], 2, torch.arange(2)
    )
    z = conditional.encode(found.images, found.labels).mean
    paths = tasks.interpolate(
        conditional, found.images, tmp_path / "way", steps=5, label=torch.arange(2)
    )
    t = torch.linspace(0, 1, 5)[:, None]
    expected = conditional.decode(spherical(z[:1], z[1:], t), torch.tensor([0, 0, 0, 1, 1]))
    for path, image in zip(paths[:5], to_uint8(expected), strict=True):
        assert np.abs(_pixels(path).astype(int) - image[:, :, 0]).max() <= 1


def test_samples_are_joined_with_their_classes(conditional, tmp_path):
    paths = tasks.interpolate(conditional, None, tmp_path / "way", steps=3, n=3, seed=4)
    ends = to_uint8(conditional.generate(3, seed=4))[..., 0].astype(int)
    assert np.abs(_pixels(paths[0]) - ends[0]).max() <= 1
    assert np.abs(_pixels(paths[5]) - ends[2]).max() <= 1


def _pixels(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image)


def test_a_class_that_was_never_learnt_is_not_offered(make):
    some = {"classes": ("ape", "bee", "cat"), "class_shares": [0.5, 0, 0.5]}
    model = make(**some, train_images=10)
    assert model.info.learnt_classes == ("ape", "cat")
    assert "bee" not in card.text(model.info)
    for label in ("bee", 1, torch.tensor([0, 1])):
        with pytest.raises(ConfigError, match=r"'bee' was never learnt.*one of ape, cat"):
            model.generate(2, label)
    with pytest.raises(ConfigError, match="ape, cat"):
        model.generate(2, "zzz")
    assert 1 not in model.labels(200).tolist()
    streamed = make(**some)  # a sample of the shards had none of it, which tells nothing of others
    assert streamed.info.learnt_classes == ("ape", "bee", "cat")
    assert len(streamed.generate(2, "bee")) == 2


def test_a_model_reads_16_bit_pictures_by_its_depth(make, tmp_path):
    model = make(depth=12)
    deep = np.full((8, 8), 4095, np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    assert gathered(model, tmp_path / "a.png", None).images.min() == 1
    model.save(tmp_path / "model")
    assert load(tmp_path / "model").info.depth == 12
    assert gathered(make(), tmp_path / "a.png", None).images.max() < -0.8
    assert '"depth": 12' in (tmp_path / "model" / "config.json").read_text()
    make().save(tmp_path / "plain")
    assert "source_depth" not in (tmp_path / "plain" / "config.json").read_text()
