"""The step race is a fair one: the same networks, the same losses, counted alike."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from ganvae import objectives
from ganvae.types import Batch, Clock, Noise

pytest.importorskip("pythae")
from benchmarks import step
from benchmarks.flops import Recorder
from benchmarks.peer import Peer


@pytest.fixture
def networks(monkeypatch):
    monkeypatch.setattr(step, "WIDTH", 4)
    return step.networks(16)


def test_both_sides_compute_the_same_losses(networks):
    shape, nets = networks
    with torch.no_grad():
        nets["encoder"].head.bias[shape.latent :] = -40  # z is the mean, whatever the noise
    theirs = Peer(shape, nets, margin=1e9)
    ours = step.Ours(
        objectives.build("vae_gan", {"beta": 1, "adversary": {"gamma": 0}}), *networks
    )
    x = Noise(0, total=6).uniform(*shape.image) * 2 - 1
    found = theirs.model(theirs.batch(x))
    made = ours.objective.step(ours.nets, Batch(image=x, noise=Noise(1, total=6)), Clock())
    losses = next(made)
    with pytest.raises(StopIteration) as end:
        next(made)
    logged = end.value.value
    assert_close(logged["llike"], found.recon_loss.detach())
    assert_close(losses["encoder"], found.encoder_loss)
    assert_close(logged["kl"] + logged["llike"], found.encoder_loss.detach())
    assert found.update_encoder and found.update_decoder and found.update_discriminator


def test_the_sides_start_from_the_same_weights_and_both_move(networks):
    shape, nets = networks
    ours = step.Ours(objectives.build("vae_gan"), shape, nets)
    theirs = Peer(shape, nets)
    x = Noise(0, total=4).uniform(*shape.image) * 2 - 1
    pairs = []
    for role, net in nets.items():
        for key, value in net.named_parameters():
            mine = ours.nets[role].get_parameter(key)
            peers = getattr(theirs.model, role).net.get_parameter(key)
            assert torch.equal(mine, value) and torch.equal(peers, value)
            pairs += [(mine, value), (peers, value)]
    ours.steps([x])
    theirs.steps([theirs.batch(x)])
    assert not any(torch.equal(moved, value) for moved, value in pairs)


def test_operations_are_counted_as_torch_counts_them():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.LazyLinear(5))
    x = torch.randn(2, 3, 6, 6, requires_grad=True)
    net(x)
    with FlopCounterMode(display=False) as theirs:
        net(x).sum().backward()
    with Recorder() as ours:
        net(x).sum().backward()
    assert ours.total == theirs.get_total_flops() > 0


def test_no_network_is_asked_twice_for_what_it_has_said(networks):
    """A step without penalties: forward 1 + 2 + 3, backward as often as gradients differ."""
    shape, nets = networks
    x = Noise(0, total=4).uniform(*shape.image) * 2 - 1
    calls = dict.fromkeys(nets, 0)
    ours = step.Ours(objectives.build("vae_gan", {"adversary": {"gamma": 0}}), shape, nets)
    for role in nets:
        ours.nets[role].register_forward_hook(
            lambda *_, role=role: calls.update({role: calls[role] + 1})
        )
    ours.steps([x])
    assert calls == {"encoder": 1, "decoder": 2, "discriminator": 3}
