"""A simultaneous game: what D sees, and whom the losses of its players move."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from ganvae.losses.adversarial import Adversary, games
from ganvae.losses.penalty import zero_centred
from ganvae.types import Clock, Noise


class Critic(nn.Module):
    """Logits and features of images (B, 1, 4, 4); counts the images it is shown."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.trunk = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.Tanh()).double()
        self.head = nn.Linear(6, 1).double()
        self.shown = 0

    def forward(self, x, features=False):
        self.shown += len(x)
        h = self.trunk(x)
        logit = self.head(h).squeeze(1)
        return (logit, h) if features else logit


def images(seed):
    return Noise(seed, total=5, dtype=torch.float64).normal(1, 4, 4)


@pytest.fixture
def dealt():
    made = nn.Linear(16, 16).double()
    fakes = [made(images(seed).flatten(1)).unflatten(1, (1, 4, 4)) for seed in (1, 2)]
    return Critic(), made, images(0), fakes


@pytest.mark.parametrize("game", sorted(games))
@pytest.mark.parametrize("gamma", [0.0, 0.7])
def test_both_losses_are_those_of_separate_passes(game, gamma, dealt):
    D, made, real, fakes = dealt
    adversary = Adversary(game=game, gamma=gamma, every=2)
    played = adversary.play(D, real, fakes, Clock(step=2))
    both, fake = torch.cat([real, real]), torch.cat(fakes)
    critic = games[game].discriminator(D(both), D(fake.detach()))
    if gamma:
        critic = critic + gamma * (zero_centred(D, both) + zero_centred(D, fake.detach()))
    generator = games[game].generator(D(fake), D(both).detach())
    for found, expected, net in (
        (played.critic.loss, critic, D),
        (played.generator, generator, made),
    ):
        assert_close(found, expected)
        mine, theirs = (
            torch.autograd.grad(loss, list(net.parameters()), retain_graph=True)
            for loss in (found, expected)
        )
        assert_close(mine, theirs)


def test_every_image_is_seen_once_and_its_features_are_kept(dealt):
    D, _, real, fakes = dealt
    played = Adversary(gamma=0).play(D, real, fakes, Clock())
    assert D.shown == 3 * 5
    assert_close(played.real, D(real, features=True)[1].detach())
    assert not played.real.requires_grad
    for features, fake in zip(played.fakes, fakes, strict=True):
        assert_close(features, D(fake, features=True)[1])
