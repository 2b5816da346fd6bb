"""Networks whose latent is a grid, and the discriminator of parts."""

import math

import pytest
import torch
from torch.testing import assert_close

from ganvae.config import Networks
from ganvae.models.info import ModelInfo
from ganvae.networks import zoo
from ganvae.networks.grid import Scale
from ganvae.types import Noise, Shape

KINDS = {"encoder": "grid_encoder", "decoder": "grid_decoder"}


def shape(height=32, width=48, classes=0, latent=384):
    return Shape(channels=3, height=height, width=width, latent=latent, classes=classes)


def build(kind, classes=0):
    torch.manual_seed(0)
    net = zoo.build(kind, Networks(width=8), shape(classes=classes)).double()
    for parameter in net.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)
    return net


def images(seed=0, n=4):
    return Noise(seed, total=n, dtype=torch.float64).normal(3, 32, 48).tanh()


@pytest.mark.parametrize("factor, channels", [(2, 1), (4, 4), (8, 3), (16, 2)])
@pytest.mark.parametrize("kind", ["grid_encoder", "quantizing_encoder"])
def test_z_is_flat_and_of_the_size_the_zoo_says(kind, factor, channels):
    config = Networks(width=8, grid=factor, grid_channels=channels, codes=16)
    d = zoo.latent(KINDS | {"encoder": kind}, config, (3, 32, 48))
    assert d == channels * (32 // factor) * (48 // factor)
    x = images().float()
    q = zoo.build(kind, config, shape(latent=d))(x)
    assert q.mean.shape == q.logvar.shape == (4, d)
    x_hat = zoo.build("grid_decoder", config, shape(latent=d))(q.mean)
    assert x_hat.shape == x.shape and x_hat.abs().max() <= 1


def test_other_kinds_have_the_latent_of_the_configuration():
    assert zoo.latent({"discriminator": "joint"}, Networks(latent=7), (3, 32, 48)) == 7


@pytest.mark.parametrize(
    ("kinds", "family", "channels", "d"),
    [
        ({}, "residual", 1, 32), ({}, "residual", 3, 128), ({}, "mlp", 3, 32),
        ({"generator": "unet"}, "residual", 3, 8), (KINDS, "residual", 3, 4 * 96),
        ({"encoder": "shared_encoder"}, "residual", 3, 48 * 96),
    ],
)  # fmt: skip
def test_what_the_configuration_leaves_open_suits_the_networks(kinds, family, channels, d):
    config, image = Networks(family=family), (channels, 32, 48)
    assert zoo.latent(kinds, config, image) == d
    settled = zoo.settled(config, kinds, image)
    assert zoo.latent(kinds, settled, image) == d and zoo.settled(settled, {}, image) == settled


def test_sizes_that_do_not_fit_are_refused_in_one_sentence():
    for size, factor in ((50, 4), (32, 64)):
        with pytest.raises(ValueError, match="multiples of"):
            zoo.build("grid_encoder", Networks(grid=factor), shape(size, size))
    with pytest.raises(ValueError, match=r"networks\.grid must be"):
        zoo.build("grid_decoder", Networks(grid=6), shape(48, 48))
    with pytest.raises(ValueError, match="family mlp"):
        zoo.build("grid_encoder", Networks(family="mlp"), shape())


def test_a_description_with_a_grid_fits_its_shape():
    networks = Networks(grid=8)
    made = ModelInfo(
        objective="kl_gan",
        options={},
        kinds=KINDS,
        networks=networks,
        shape=Shape(channels=1, height=32, width=32, latent=4 * 16),
    )
    assert ModelInfo.from_dict(made.to_dict()) == made


def test_what_a_cell_means_is_near_it():
    E, Dec = build("grid_encoder"), build("grid_decoder")
    z = E(images()).mean.detach().unflatten(1, (4, 8, 12)).requires_grad_()
    Dec(z.flatten(1))[:, :, :4, :4].sum().backward()
    here, there = z.grad[:, :, 0, 0].abs().mean(), z.grad[:, :, 7, 11].abs().mean()
    assert here > 20 * there  # which is not zero: norms look at whole maps


@pytest.mark.parametrize(
    "kind", ["grid_encoder", "quantizing_encoder", "grid_decoder", "patch_discriminator"]
)
def test_the_class_is_heard_and_must_be_told(kind):
    net = build(kind, classes=3)
    x = Noise(0, total=2).normal(384).double() if kind == "grid_decoder" else images(n=2)

    def run(label):
        out = net(x, torch.tensor([label, 1]))
        if kind == "quantizing_encoder":
            return out.before
        return out.mean if kind == "grid_encoder" else out

    changed = (run(0) != run(2)).flatten(1).any(1)
    assert changed.tolist() == [True, False]
    with pytest.raises(ValueError, match="label"):
        net(x)


def test_a_parts_logit_sees_that_part_alone():
    D, x = build("patch_discriminator"), images().requires_grad_()
    logits, features = D(x, features=True)
    assert logits.shape == (4, 8, 12) and features.shape == (4, 32 * 8 * 12)
    assert_close(D(x), logits)
    logits[:, 4, 6].sum().backward()
    rows, columns = (x.grad.abs().sum((0, 1, axis)).nonzero().flatten() for axis in (3, 2))
    assert len(rows) == len(columns) == 18


def test_a_learned_scale_is_best_at_the_mean_error():
    scale = Scale()
    optimiser = torch.optim.Adam(scale.parameters(), lr=1e-2)
    for _ in range(300):
        optimiser.zero_grad()
        loss = scale(torch.tensor(50.0), 200)
        loss.backward()
        optimiser.step()
    assert_close(loss, torch.tensor(200 * (1 + math.log(0.25))))


def test_large_grids_get_fewer_gaussians():
    config = Networks(components=40)
    made = Shape(channels=1, height=64, width=64, latent=1024)
    assert zoo.build("prior", config, made).components == 4
    made = Shape(channels=1, height=64, width=64, latent=256)
    assert zoo.build("prior", config, made).components == 40
