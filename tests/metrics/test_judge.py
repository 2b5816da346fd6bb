import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ganvae.errors import ConfigError
from ganvae.metrics import judge


def test_input_convention_is_the_judges(lite0):
    """(255·u − 127)/128 for u in [0, 1]."""
    u = torch.rand(2, 3, 64, 64)
    assert torch.allclose(lite0.prepare(2 * u - 1), (255 * u - 127) / 128, atol=1e-5)


def test_grey_is_repeated(lite0, kit):
    x = kit.pictures(3, 0)
    assert torch.equal(lite0(x), lite0(x.expand(-1, 3, -1, -1)))


def test_features_do_not_depend_on_the_batch(lite0, kit):
    x = kit.pictures(70, 0)
    whole = lite0(x)
    assert whole.shape == (70, 1280)
    assert whole.dtype == torch.float32
    assert torch.allclose(whole[64:], lite0(x[64:]), atol=1e-4)
    assert torch.allclose(lite0.extract(x.split(30)), whole, atol=1e-4)


def test_shrinking_is_antialiased_like_pillows(bumps):
    """A chequerboard of single pixels becomes grey, not black or white."""
    board = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 2.0 - 1
    small = bumps.prepare(board[None, None])
    assert small.abs().max() < 0.2
    image = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    theirs = np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BILINEAR))
    ours = bumps.prepare(torch.from_numpy(image)[None, None].float() / 127.5 - 1)
    assert np.abs((ours[0, 0].numpy() + 1) * 127.5 - theirs).max() < 1


def test_any_size_and_aspect(bumps):
    assert bumps(torch.zeros(2, 1, 5, 40)).shape == bumps(torch.zeros(2, 3, 100, 20)).shape


def test_names_and_fingerprints(lite0, kit):
    assert lite0.name == "EffLite0@64"
    assert "64x64" in lite0.resize
    other = judge.load("efficientnet-lite0", 32)
    assert other.fingerprint != lite0.fingerprint
    a, b = judge.load(kit.Bumps(), 16), judge.load(kit.Bumps(), 16)
    assert a.name == "Bumps@16"
    assert a.fingerprint == b.fingerprint
    changed = kit.Bumps()
    with torch.no_grad():
        changed.conv.bias += 1
    assert judge.load(changed, 16).fingerprint != a.fingerprint
    assert judge.load(lite0) is lite0


def test_a_module_is_put_into_eval_mode(kit):
    net = nn.Sequential(kit.Bumps(), nn.Dropout(0.5)).train()
    found = judge.load(net, 16)
    x = torch.rand(4, 3, 16, 16)
    assert torch.equal(found(x), found(x))


def test_unknown_judge():
    with pytest.raises(ConfigError, match="efficientnet-lite2, inception"):
        judge.load("alexnet")


def test_modules_that_are_no_judges():
    with pytest.raises(ConfigError, match="features"):
        judge.load(nn.Identity(), 16)
    with pytest.raises(ConfigError, match="at least 8"):
        judge.load(nn.Flatten(), 4)


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(2, 2, 8, 8),
        torch.zeros(3, 8, 8),
        torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
    ],
)
def test_refuses_other_tensors(bumps, x):
    with pytest.raises(ValueError, match="float images"):
        bumps(x)


def test_refuses_to_hide_nans(bumps):
    with pytest.raises(ValueError, match="not finite"):
        bumps.extract([torch.full((2, 1, 16, 16), torch.nan)])


def test_leaves_the_global_random_state_alone(lite0, kit):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    lite0(kit.pictures(4, 0))
    assert torch.equal(torch.get_rng_state(), before)
