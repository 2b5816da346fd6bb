"""The adapter to pythae: its step, its ranges, its samples."""

import copy

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from ganvae.config import Networks
from ganvae.networks import zoo
from ganvae.types import Shape

pytest.importorskip("pythae")
from benchmarks.peer import Peer

SHAPE = Shape(channels=3, height=16, width=16, latent=5)
ROLES = ("encoder", "decoder", "discriminator")


def networks():
    torch.manual_seed(3)
    return {r: zoo.build(r, Networks(width=8, latent=5, depth=0), SHAPE) for r in ROLES}


def images(n=24):
    return np.random.default_rng(0).integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)


def floats(n=24):
    return torch.from_numpy(images(n)).permute(0, 3, 1, 2).contiguous() / 127.5 - 1


def test_a_step_is_three_losses_backward_in_turn_and_three_optimisers():
    nets = networks()
    raced = Peer(SHAPE, nets)
    model = copy.deepcopy(raced.model)
    x = floats(6)
    torch.manual_seed(1)
    losses = raced.steps([raced.batch(x)])

    torch.manual_seed(1)
    found = model({"data": x})
    parts = [model.encoder, model.decoder, model.discriminator]
    optimisers = [torch.optim.Adam(part.parameters(), lr=1e-4) for part in parts]
    for loss, optimiser in zip(
        [found.encoder_loss, found.decoder_loss, found.discriminator_loss], optimisers
    ):
        optimiser.zero_grad()
        loss.backward(retain_graph=True)
    for optimiser in optimisers:
        optimiser.step()
    assert losses["encoder"] == found.encoder_loss.item()
    expected = model.state_dict()
    for key, value in raced.model.state_dict().items():
        assert torch.equal(value, expected[key]), key
    assert all(not torch.equal(p.data, q.data) for p, q in _weights(raced, nets))


def _weights(raced, nets):
    for role in ROLES:
        mine = getattr(raced.model, role).net.named_parameters()
        yield from ((p, nets[role].get_parameter(name)) for name, p in mine)


def test_what_a_wrapped_model_reconstructs_is_seen_by_its_discriminators_features():
    nets = networks()
    raced = Peer(SHAPE, nets)
    x = floats(6)
    found = raced.model(raced.batch(x))
    f_x, f_x_hat = (nets["discriminator"](i, features=True)[1] for i in (x, found.recon_x))
    assert_close(found.recon_loss, 0.5 * (f_x - f_x_hat).square().sum(1).mean())


def test_a_wrapped_model_reconstructs_as_its_networks_do():
    nets = networks()
    x = floats(6)
    with torch.no_grad():
        expected = nets["decoder"](nets["encoder"](x).mean)
    assert_close(Peer(SHAPE, nets).reconstruct(x), expected)


@pytest.mark.parametrize("kind", ["own", "wrapped"])
def test_samples_are_images_and_the_seed_decides_them(kind):
    raced = Peer(SHAPE) if kind == "own" else Peer(SHAPE, networks())
    assert raced.train(images(), 0.2, batch=8) > 0
    normal = raced.sample(5, seed=1).numpy()
    raced.fit(images(), components=2)
    mixed = raced.sample(5, seed=1).numpy()
    assert normal.shape == mixed.shape == (5, 3, 16, 16) and normal.dtype == np.float32
    assert not np.array_equal(normal, mixed)
    assert np.array_equal(mixed, raced.sample(5, seed=1))
    assert not np.array_equal(mixed, raced.sample(5, seed=2))
    assert normal.min() >= -1 and normal.max() <= 1 and normal.min() < -0.01


def test_its_own_networks_see_images_between_zero_and_one():
    raced = Peer(SHAPE)
    x = raced.batch(floats()).data
    assert 0 <= x.min() < 0.01 and 0.99 < x.max() <= 1
    made = raced.reconstruct(floats())
    z = raced.model.encoder(x).embedding
    assert_close((made + 1) / 2, raced.model.decoder(z).reconstruction.detach())


def test_convolutions_are_there_for_some_shapes_only():
    with pytest.raises(ValueError, match="1×28×28"):
        Peer(SHAPE, "conv")


@pytest.mark.slow
@pytest.mark.parametrize("c, size", [(1, 28), (3, 32), (3, 64)])
def test_its_convolutions_make_a_step(c, size):
    raced = Peer(Shape(channels=c, height=size, width=size, latent=4), "conv")
    x = torch.zeros(2, c, size, size)
    assert np.isfinite(raced.steps([raced.batch(x)])["loss"])
    assert raced.reconstruct(x).shape == x.shape
