"""The first stage of latent diffusion against a straight-line implementation."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Independent, Normal, kl_divergence
from torch.testing import assert_close

from ganvae import objectives
from ganvae.config import Networks
from ganvae.networks import zoo
from ganvae.training.engine import Engine
from ganvae.training.processes import Processes
from ganvae.types import Batch, Clock, Noise, Shape

SHAPE = Shape(channels=1, height=16, width=16, latent=32)
CONFIG = Networks(width=8, grid=4, grid_channels=2, components=2)
STEPS, B = 5, 6


def build(objective):
    torch.manual_seed(11)
    kinds = objective.kinds
    return {
        role: zoo.build(kinds.get(role, role), CONFIG, SHAPE).double()
        for role in objective.networks
    }


def image(step):
    return 2 * Noise(1, step, total=B, dtype=torch.float64).uniform(1, 16, 16) - 1


def noise(step):
    return Noise(2, step, total=B, dtype=torch.float64)


@pytest.mark.parametrize("adaptive", [False, True])
def test_kl_gan_is_its_equations(adaptive):
    objective = objectives.build(
        "kl_gan",
        {"beta": 0.01, "perceptual": 0, "optim": {"clip": 0},
         "balance": {"start": 0.4, "weight": 0.2, "adaptive": adaptive}},
    )  # fmt: skip
    nets = build(objective)
    reference = copy.deepcopy(nets)
    engine = Engine(nets, objective.optim, Processes("cpu"))
    for step in range(STEPS):
        now = Clock(step=step, progress=step / STEPS)
        batch = Batch(image=image(step), noise=noise(step))
        assert engine.step([objective.step(nets, batch, now)]).ok

    E, Dec, scale, D, _ = (reference[role] for role in objective.networks)
    betas = (objective.optim.beta1, objective.optim.beta2)
    ours, theirs = (
        torch.optim.Adam(parameters, lr=objective.optim.lr, betas=betas, foreach=False)
        for parameters in ([p for n in (E, Dec, scale) for p in n.parameters()], D.parameters())
    )
    for step in range(STEPS):
        x, found = image(step), E(image(step))
        std = (0.5 * found.logvar).exp()
        q = Independent(Normal(found.mean, std), 1)
        p = Independent(Normal(torch.zeros(B, 32).double(), torch.ones(B, 32).double()), 1)
        x_hat = Dec(found.mean + std * noise(step).normal(32))
        s = 16 * scale.log_scale
        rec = ((x - x_hat).abs() / s.exp() + s).sum() / B
        loss = rec + 0.01 * kl_divergence(q, p).mean()
        if step >= 2:  # D starts at 0.4 of the stage
            critic = F.relu(1 - D(x)).mean() + F.relu(1 + D(x_hat.detach())).mean()
            theirs.zero_grad()
            critic.backward()
            theirs.step()
            gan = -D(x_hat).mean()
            weight = 0.2 * 16 * 16
            if adaptive:
                last = Dec.maps[-2].weight
                a, b = (torch.autograd.grad(v, last, retain_graph=True)[0] for v in (rec, gan))
                weight = 0.2 * (a.norm() / (b.norm() + 1e-6)).item()
            loss = loss + weight * gan
        ours.zero_grad()
        loss.backward()
        ours.step()
    for role in nets:
        theirs_now = reference[role].state_dict()
        for key, value in nets[role].state_dict().items():
            assert_close(value, theirs_now[key], rtol=1e-8, atol=1e-9, msg=f"{role}.{key}")


def test_samples_come_from_where_encodings_are():
    objective = objectives.build("kl_gan", {"fit": 200})
    nets = build(objective)
    with torch.no_grad():
        nets["encoder"].body.head.bias[:2] += 30  # of the means
    objective.conclude(nets, (Batch(image=image(i), noise=noise(i)) for i in range(100)))
    z = nets["prior"].sample(Noise(0, total=500, dtype=torch.float64))
    known = nets["encoder"](image(0)).mean
    assert nets["prior"].fitted
    assert (z.mean(0)[:32] - known.mean(0)).abs().max() < 5  # N(0, I) is 30 away
