"""Soft-IntroVAE against a straight-line implementation with a forward pass for every use."""

import copy

import pytest
import torch
from straight import STEPS, B, D, picture, same
from torch.distributions import Independent, Normal, kl_divergence

from ganvae import objectives
from ganvae.config import Networks
from ganvae.networks import zoo
from ganvae.training.engine import Engine
from ganvae.training.processes import Processes
from ganvae.types import Batch, Clock, Noise, Shape

REC, KL, NEG = 0.8, 0.6, 40.0


def build(objective, classes):
    torch.manual_seed(11)
    shape = Shape(channels=1, height=16, width=16, latent=D, classes=classes)
    config = Networks(width=8, latent=D, prior="normal")
    return {role: zoo.build(role, config, shape).double() for role in objective.networks}


def noise(step):
    return Noise(2, step, total=B, dtype=torch.float64)


def kl(q):
    found = Independent(Normal(q.mean, (q.logvar / 2).exp()), 1)
    p = Independent(Normal(torch.zeros_like(q.mean), torch.ones_like(q.mean)), 1)
    return kl_divergence(found, p)


def error(a, b):
    return ((a - b) ** 2).sum((1, 2, 3))


@pytest.mark.parametrize(("gamma_r", "classes"), [(0.0, 0), (0.7, 0), (0.7, 3)])
def test_soft_intro_vae_is_the_papers_two_updates(gamma_r, classes):
    options = {"beta_rec": REC, "beta_kl": KL, "beta_neg": NEG, "gamma_r": gamma_r}
    objective = objectives.build("soft_intro_vae", options | {"optim": {"clip": 0}})
    nets = build(objective, classes)
    reference = copy.deepcopy(nets)
    told = (torch.arange(B) % 3,) if classes else ()
    engine = Engine(nets, objective.optim, Processes("cpu"))
    for step in range(STEPS):
        batch = Batch(image=picture((1, step)), noise=noise(step), label=told[0] if told else None)
        assert engine.step([objective.step(nets, batch, Clock(step=step))]).ok

    E, Dec = reference["encoder"], reference["decoder"]
    betas = (objective.optim.beta1, objective.optim.beta2)
    optimisers = {
        net: torch.optim.Adam(net.parameters(), lr=objective.optim.lr, betas=betas, foreach=False)
        for net in (E, Dec)
    }
    s = 1 / (1 * 16 * 16)

    def move(net, loss):
        E.zero_grad()
        Dec.zero_grad()
        loss.backward()
        optimisers[net].step()

    for step in range(STEPS):
        x, numbers = picture((1, step)), noise(step)
        eps, z_p = numbers.normal(D), numbers.normal(D)
        for_encoder = [numbers.normal(D), numbers.normal(D)]
        for_decoder = [numbers.normal(D), numbers.normal(D)]

        q = E(x, *told)
        z = q.mean + (q.logvar / 2).exp() * eps
        loss = s * (REC * error(Dec(z, *told), x) + KL * kl(q))
        for latent, e in zip((z, z_p), for_encoder):
            fake = Dec(latent, *told).detach()
            q_f = E(fake, *told)
            again = Dec(q_f.mean + (q_f.logvar / 2).exp() * e, *told)
            bound = REC * error(again, fake) + NEG * kl(q_f)
            loss = loss + 0.25 * torch.exp(-2 * s * bound)
        move(E, loss.mean())

        z = z.detach()  # of the encoder before it moved
        loss = s * REC * error(Dec(z, *told), x)
        for latent, e in zip((z, z_p), for_decoder):
            fake = Dec(latent, *told)
            q_f = E(fake, *told)
            z_f = (q_f.mean + (q_f.logvar / 2).exp() * e).detach()
            again = error(Dec(z_f, *told), fake.detach())
            loss = loss + s * 0.5 * (KL * kl(q_f) + gamma_r * REC * again)
        move(Dec, loss.mean())
    same(nets, reference)


def test_a_reconstruction_of_fakes_at_the_papers_weight_moves_nothing_in_single_precision():
    """Why the default leaves it out."""
    found = []
    for gamma_r in (0.0, 1e-8):
        objective = objectives.build("soft_intro_vae", {"gamma_r": gamma_r, "beta_neg": 256})
        nets = {role: net.float() for role, net in build(objective, 0).items()}
        numbers = Noise(2, 0, total=B)
        batch = Batch(image=picture((1, 0)).float(), noise=numbers)
        steps = objective.step(nets, batch, Clock())
        next(steps)
        loss = next(steps)["decoder"]
        found.append(torch.autograd.grad(loss, list(nets["decoder"].parameters())))
    for without, with_it in zip(*found):
        assert (with_it - without).norm() <= 1e-6 * without.norm()
