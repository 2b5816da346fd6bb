"""Discriminators of z, and of an image and its z together."""

import pytest
import torch
from torch.testing import assert_close

from ganvae.config import Networks
from ganvae.networks import zoo
from ganvae.types import Noise, Shape


def build(kind, family="residual", classes=0, side=16):
    torch.manual_seed(0)
    shape = Shape(channels=3, height=side, width=side, latent=5, classes=classes)
    return zoo.build(kind, Networks(family=family, width=8), shape)


def row(kind, noise, side=16):
    """What a discriminator of this kind looks at."""
    z = noise.normal(5)
    return (z,) if kind == "latent_discriminator" else (noise.normal(3, side, side), z)


CASES = pytest.mark.parametrize(
    ("kind", "family"),
    [
        ("latent_discriminator", "residual"),
        ("latent_discriminator", "mlp"),
        ("joint_discriminator", "residual"),
        ("joint_discriminator", "mlp"),
    ],
)


@CASES
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("side", [16, 28, 48])
def test_one_logit_and_features_a_row(kind, family, classes, side):
    net = build(kind, family, classes, side)
    told = (torch.tensor([0, 2, 1, 2]),) if classes else ()
    seen = row(kind, Noise(1, total=4), side)
    logit, features = net(*seen, *told, features=True)
    assert logit.shape == (4,) and features.ndim == 2 and len(features) == 4
    assert_close(net(*seen, *told), logit)


@CASES
def test_a_label_counts_where_there_are_classes_and_is_refused_elsewhere(kind, family):
    seen, label = row(kind, Noise(1, total=3)), torch.tensor([0, 1, 2])
    net = build(kind, family, classes=3)
    with torch.no_grad():  # a projection's vectors start at zero
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    assert (net(*seen, label) - net(*seen, label.flip(0)))[[0, 2]].abs().min() > 1e-5
    with pytest.raises(ValueError, match="label"):
        net(*seen)
    with pytest.raises(ValueError, match="no classes"):
        build(kind, family)(*seen, label)


@CASES
def test_no_row_sees_another(kind, family):
    net, seen = build(kind, family), row(kind, Noise(1, total=4))
    changed = tuple(torch.cat([part[:1], part[1:] + 3]) for part in seen)
    assert_close(net(*seen)[0], net(*changed)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", ["residual", "mlp"])
def test_a_pair_is_more_than_its_parts(family):
    """D(x, z) + D(x', z') differs from D(x, z') + D(x', z): it can tell who belongs to whom."""
    net, (x, z) = build("joint_discriminator", family), row("joint", Noise(1, total=2))
    together, exchanged = net(x, z), net(x, z.flip(0))
    assert (together.sum() - exchanged.sum()).abs() > 1e-5


def test_nothing_is_normalised():
    norms = (torch.nn.GroupNorm, torch.nn.BatchNorm2d, torch.nn.LayerNorm)
    for kind in ("latent_discriminator", "joint_discriminator"):
        assert not any(isinstance(module, norms) for module in build(kind).modules())
