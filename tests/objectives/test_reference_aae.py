"""The adversarial autoencoder against a straight-line implementation."""

import copy

import pytest
import torch
import torch.nn.functional as F
from straight import STEPS, B, D, picture, same

from ganvae import objectives
from ganvae.config import Networks
from ganvae.networks import zoo
from ganvae.training.engine import Engine
from ganvae.training.processes import Processes
from ganvae.types import Batch, Clock, Noise, Shape

OPTIONS = {"reconstruction": 0.3, "adversarial": 2.5, "optim": {"clip": 0}}


def build(objective, classes):
    torch.manual_seed(11)
    shape = Shape(channels=1, height=16, width=16, latent=D, classes=classes)
    config = Networks(width=8, latent=D, prior="normal")
    return {role: zoo.build(role, config, shape).double() for role in objective.networks}


def noise(step):
    return Noise(2, step, total=B, dtype=torch.float64)


@pytest.mark.parametrize("gamma", [0.0, 0.4])
@pytest.mark.parametrize("classes", [0, 3])
def test_aae_is_three_updates_one_after_another(classes, gamma):
    adversary = {"game": "nonsaturating", "gamma": gamma, "every": 2}
    objective = objectives.build("aae", OPTIONS | {"adversary": adversary})
    nets = build(objective, classes)
    reference = copy.deepcopy(nets)
    told = (torch.arange(B) % 3,) if classes else ()
    engine = Engine(nets, objective.optim, Processes("cpu"))
    for step in range(STEPS):
        batch = Batch(image=picture((1, step)), noise=noise(step), label=told[0] if told else None)
        assert engine.step([objective.step(nets, batch, Clock(step=step))]).ok

    E, Dec, D_z = (reference[r] for r in ("encoder", "decoder", "latent_discriminator"))
    betas = (objective.optim.beta1, objective.optim.beta2)
    optimisers = {
        net: torch.optim.Adam(net.parameters(), lr=objective.optim.lr, betas=betas, foreach=False)
        for net in (E, Dec, D_z)
    }

    def move(loss, *moved):
        for net in (E, Dec, D_z):
            net.zero_grad()
        loss.backward()
        for net in moved:
            optimisers[net].step()

    def latent(x, numbers):
        q = E(x, *told)
        return q.mean + (q.logvar / 2).exp() * numbers.normal(D)

    one, zero = torch.ones(B).double(), torch.zeros(B).double()
    for step in range(STEPS):
        x, numbers = picture((1, step)), noise(step)
        error = Dec(latent(x, numbers), *told) - x
        move(0.3 * (error**2).sum() / B, E, Dec)

        z = latent(x, numbers)
        z_q, z_p = z.detach().requires_grad_(), numbers.normal(D).requires_grad_()
        real, fake = D_z(z_p, *told), D_z(z_q, *told)
        loss = F.binary_cross_entropy_with_logits(real, one)
        loss = loss + F.binary_cross_entropy_with_logits(fake, zero)
        if gamma and step % 2 == 0:
            for logit, at in ((real, z_p), (fake, z_q)):
                (slope,) = torch.autograd.grad(logit.sum(), at, create_graph=True)
                loss = loss + 2 * gamma / 2 * (slope**2).sum() / B
        move(loss, D_z)
        move(2.5 * F.binary_cross_entropy_with_logits(D_z(z, *told), one), E)
    same(nets, reference)
