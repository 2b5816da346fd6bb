"""UNIT against a straight-line implementation with one backward pass per network."""

import copy

import torch
from straight import STEPS, B, mse, picture, same
from torch.distributions import Normal, kl_divergence

from ganvae import objectives
from ganvae.config import Networks
from ganvae.networks import zoo
from ganvae.training.engine import Engine
from ganvae.training.processes import Processes
from ganvae.types import Batch, Clock, Noise, Shape


def build(objective, source):
    torch.manual_seed(11)
    config = Networks(width=8)
    latent = zoo.latent(objective.kinds, config, (1, 16, 16))
    shape = Shape(channels=1, height=16, width=16, latent=latent, source=source)
    return {
        role: zoo.build(objective.kinds.get(role, role), config, shape).double()
        for role in objective.networks
    }


def by_hand(nets, batches):
    E, G, D1, D2 = (
        nets[role] for role in ("encoder", "generator", "discriminator", "discriminator_source")
    )
    optimisers = {
        net: torch.optim.Adam(net.parameters(), lr=5e-4, betas=(0.5, 0.999), foreach=False)
        for net in (E, G, D1, D2)
    }

    def move(losses):
        gradients = {
            net: torch.autograd.grad(loss, list(net.parameters()), retain_graph=True)
            for net, loss in losses.items()
        }
        for net, found in gradients.items():
            for parameter, gradient in zip(net.parameters(), found):
                parameter.grad = gradient
            optimisers[net].step()

    def enc1(x):
        return E(x).mean

    def enc2(x):
        return E(x, source=True).mean

    def dec2(z):
        return G(z, source=True)

    def kl(mean):
        return kl_divergence(Normal(mean, 1.0), Normal(0.0, 1.0)).mean()

    def l1(a, b):
        return (a - b).abs().mean()

    for step, (x2, x1) in enumerate(batches):
        numbers = Noise(2, step, total=B, dtype=torch.float64)
        d = enc1(x1).shape[1]
        for _ in (D1, D2):
            numbers.uniform(2)  # where the discriminators' images go, by up to none of their size
        n = [numbers.normal(d) for _ in range(4)]
        m1, m2 = enc1(x1), enc2(x2)
        x11, x22, x21, x12 = G(m1 + n[0]), dec2(m2 + n[1]), G(m2 + n[1]), dec2(m1 + n[0])
        move(
            {
                D1: mse(D1(x1), 1) + mse(D1(x21.detach()), 0),
                D2: mse(D2(x2), 1) + mse(D2(x12.detach()), 0),
            }
        )
        vae1 = 0.4 * kl(m1) + 30 * l1(x11, x1)
        vae2 = 0.4 * kl(m2) + 30 * l1(x22, x2)
        gan1, gan2 = 3 * mse(D1(x21), 1), 3 * mse(D2(x12), 1)
        m12, m21 = enc2(x12), enc1(x21)
        cc1 = 0.2 * kl(m12) + 20 * l1(G(m12 + n[2]), x1)
        cc2 = 0.2 * kl(m21) + 20 * l1(dec2(m21 + n[3]), x2)
        loss = vae1 + vae2 + gan1 + gan2 + cc1 + cc2
        move({E: loss, G: loss})


def test_unit_is_what_the_paper_says():
    objective = objectives.build(
        "unit",
        {"adversarial": 3, "pixel": 30, "beta": 0.4, "cycle": 20, "cycle_beta": 0.2, "shift": 0,
         "adversary": {"game": "least_squares", "gamma": 0}},
    )  # fmt: skip
    nets = build(objective, 2)
    reference = copy.deepcopy(nets)
    batches = [(picture((4, step), 2), picture((1, step))) for step in range(STEPS)]
    engine = Engine(nets, objective.optim, Processes("cpu"))
    for step, (source, image) in enumerate(batches):
        noise = Noise(2, step, total=B, dtype=torch.float64)
        batch = Batch(image=image, source=source, noise=noise)
        assert engine.step([objective.step(nets, batch, Clock(step=step))]).ok
    by_hand(reference, batches)
    same(nets, reference)
