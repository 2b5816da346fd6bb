"""The bidirectional GAN against a straight-line implementation."""

import copy

import pytest
import torch
import torch.nn.functional as F
from straight import STEPS, B, D, picture, same
from torch.testing import assert_close

from ganvae import objectives
from ganvae.config import Networks
from ganvae.networks import zoo
from ganvae.objectives.bigan import pack, unpack
from ganvae.training.engine import Engine
from ganvae.training.processes import Processes
from ganvae.types import Batch, Clock, Noise, Shape


def build(objective, classes):
    torch.manual_seed(11)
    shape = Shape(channels=1, height=16, width=16, latent=D, classes=classes)
    config, kinds = Networks(width=8, latent=D, prior="normal"), objective.kinds
    return {
        role: zoo.build(kinds.get(role, role), config, shape).double()
        for role in objective.networks
    }


def noise(step):
    return Noise(2, step, total=B, dtype=torch.float64)


def cross_entropy(real, fake, game):
    """Of D, when ``real`` are the pairs that it is to call real."""
    if game == "relativistic":
        return F.binary_cross_entropy_with_logits(real - fake, torch.ones(B).double())
    found = torch.cat([real, fake])
    target = torch.cat([torch.ones(B), torch.zeros(B)]).double()
    return 2 * F.binary_cross_entropy_with_logits(found, target)


@pytest.mark.parametrize(
    ("game", "gamma", "classes"),
    [("nonsaturating", 0.0, 0), ("nonsaturating", 0.3, 3), ("relativistic", 0.3, 0)],
)
def test_bigan_is_the_papers_game_of_pairs(game, gamma, classes):
    adversary = {"game": game, "gamma": gamma, "every": 2}
    objective = objectives.build("bigan", {"adversary": adversary, "optim": {"clip": 0}})
    nets = build(objective, classes)
    reference = copy.deepcopy(nets)
    told = (torch.arange(B) % 3,) if classes else ()
    engine = Engine(nets, objective.optim, Processes("cpu"))
    for step in range(STEPS):
        batch = Batch(image=picture((1, step)), noise=noise(step), label=told[0] if told else None)
        assert engine.step([objective.step(nets, batch, Clock(step=step))]).ok

    E, G, judge = (reference[r] for r in ("encoder", "decoder", "discriminator"))
    betas = (objective.optim.beta1, objective.optim.beta2)
    optimisers = [
        torch.optim.Adam(net.parameters(), lr=objective.optim.lr, betas=betas, foreach=False)
        for net in (E, G, judge)
    ]

    def pairs(step):
        x, numbers = picture((1, step)), noise(step)
        q = E(x, *told)
        z = q.mean + (q.logvar / 2).exp() * numbers.normal(D)
        z_p = numbers.normal(D)
        return (x, z), (G(z_p, *told), z_p)

    for step in range(STEPS):
        known, made = ([t.detach().requires_grad_() for t in pair] for pair in pairs(step))
        real, fake = judge(*known, *told), judge(*made, *told)
        loss = cross_entropy(real, fake, game)
        if gamma and step % 2 == 0:
            for logit, pair in ((real, known), (fake, made)):
                slopes = torch.autograd.grad(logit.sum(), pair, create_graph=True)
                loss = loss + 2 * gamma / 2 * sum((slope**2).sum() for slope in slopes) / B
        judge.zero_grad()
        loss.backward()
        optimisers[2].step()

        known, made = pairs(step)
        E.zero_grad()
        G.zero_grad()
        cross_entropy(judge(*made, *told), judge(*known, *told), game).backward()
        optimisers[0].step()
        optimisers[1].step()
    same(nets, reference)


def test_a_packed_pair_comes_out_as_it_went_in():
    x, z = picture((1, 0), 3).contiguous(memory_format=torch.channels_last), torch.randn(B, D)
    pairs = pack(x, z.double())
    assert pairs.shape == (B, 3 * 16 * 16 + D)
    image, latent = unpack(pairs, x)
    assert_close(image, x, rtol=0, atol=0)
    assert_close(latent, z.double(), rtol=0, atol=0)
