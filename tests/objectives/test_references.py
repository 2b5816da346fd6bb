"""Objectives against straight-line implementations that share nothing with them."""

import copy
import math

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

SHAPE = Shape(channels=1, height=16, width=16, latent=5)
STEPS, B = 5, 6


def build(*roles, kinds=None):
    torch.manual_seed(11)
    config = Networks(width=8, latent=5, prior="normal")
    return {
        role: zoo.build((kinds or {}).get(role, role), config, SHAPE).double() for role in roles
    }


def image(step):
    return 2 * Noise(1, step, total=B, dtype=torch.float64).uniform(1, 16, 16) - 1


def noise(step):
    return Noise(2, step, total=B, dtype=torch.float64)


def train(objective, nets):
    """By the engine: what the library does."""
    engine = Engine(nets, objective.optim, Processes("cpu"))
    for step in range(STEPS):
        batch = Batch(image=image(step), noise=noise(step))
        now = Clock(step=step, progress=step / STEPS)
        assert engine.step([objective.step(nets, batch, now)]).ok


def adam(net, objective):
    betas = (objective.optim.beta1, objective.optim.beta2)
    return torch.optim.Adam(net.parameters(), lr=objective.optim.lr, betas=betas, foreach=False)


def same(nets, others):
    for role in nets:
        theirs = others[role].state_dict()
        for key, value in nets[role].state_dict().items():
            assert_close(value, theirs[key], rtol=1e-9, atol=1e-9, msg=f"{role}.{key}")


def test_vae_is_the_negative_evidence_lower_bound():
    objective = objectives.build("vae", {"sigma": 0.5, "beta": 0.7, "optim": {"clip": 0}})
    nets = build(*objective.networks)
    objective.prepare(nets, iter(()))
    reference = copy.deepcopy(nets)
    train(objective, nets)

    E, Dec = reference["encoder"], reference["decoder"]
    optimiser = torch.optim.Adam(
        [*E.parameters(), *Dec.parameters()], lr=2e-3, betas=(0.9, 0.99), foreach=False
    )
    for step in range(STEPS):
        x, found = image(step), E(image(step))
        q = Independent(Normal(found.mean, (0.5 * found.logvar).exp()), 1)
        z = found.mean + (0.5 * found.logvar).exp() * noise(step).normal(5)
        log_p = Independent(Normal(Dec(z), 0.5), 3).log_prob(x)
        p = Independent(Normal(torch.zeros(B, 5).double(), torch.ones(B, 5).double()), 1)
        loss = (-log_p + 0.7 * kl_divergence(q, p)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    same(nets, reference)


def test_vae_gan_is_larsens_three_updates_by_three_separate_passes():
    objective = objectives.build(
        "vae_gan",
        {"gamma": 0.3, "beta": 0.5, "adversarial": 0.8, "optim": {"clip": 0},
         "adversary": {"game": "nonsaturating", "gamma": 0}},
    )  # fmt: skip
    nets = build(*objective.networks)
    reference = copy.deepcopy(nets)
    train(objective, nets)

    E, Dec, D = (reference[role] for role in ("encoder", "decoder", "discriminator"))
    optimisers = {net: adam(net, objective) for net in (E, Dec, D)}

    def forward(step):
        x, source, found = image(step), noise(step), E(image(step))
        z = found.mean + (0.5 * found.logvar).exp() * source.normal(5)
        return x, found, Dec(z), Dec(source.normal(5))

    def llike(x, x_hat):
        return 0.5 * ((D(x, features=True)[1] - D(x_hat, features=True)[1]) ** 2).sum(1).mean()

    for step in range(STEPS):
        gradients = {}
        x, found, x_hat, _ = forward(step)
        variance = found.logvar.exp()
        prior = 0.5 * (found.mean**2 + variance - 1 - variance.log()).sum(1).mean()
        loss = 0.5 * prior + llike(x, x_hat)
        gradients[E] = torch.autograd.grad(loss, list(E.parameters()))

        x, _, x_hat, x_p = forward(step)
        gan = F.binary_cross_entropy_with_logits(
            D(torch.cat([x_hat, x_p])), torch.ones(2 * B).double()
        )
        loss = 0.3 * llike(x, x_hat) + 0.8 * gan
        gradients[Dec] = torch.autograd.grad(loss, list(Dec.parameters()))

        x, _, x_hat, x_p = forward(step)
        ones, zeros = torch.ones(B).double(), torch.zeros(2 * B).double()
        loss = F.binary_cross_entropy_with_logits(D(x), ones)
        fakes = D(torch.cat([x_hat, x_p]).detach())
        loss = loss + F.binary_cross_entropy_with_logits(fakes, zeros)
        gradients[D] = torch.autograd.grad(loss, list(D.parameters()))

        for net, optimiser in optimisers.items():
            for parameter, gradient in zip(net.parameters(), gradients[net]):
                parameter.grad = gradient
            optimiser.step()
    same(nets, reference)


@pytest.mark.parametrize(("step", "loudness"), [(0, 1.0), (1, 2.0), (7, 3.0)])
def test_gan_vaes_generator_follows_what_its_docstring_says(step, loudness):
    options = {"feature": 0.2, "pixel": 1.5, "adversarial": 3, "ramp": 3}
    objective = objectives.build("gan_vae", {"adversary": {"gamma": 0}, **options})
    nets = build(*objective.networks)
    reference = copy.deepcopy(nets)
    E, G, D = (reference[role] for role in ("encoder", "generator", "discriminator"))
    x, half = image(0), B // 2
    engine = Engine(nets, objective.optim, Processes("cpu"))
    engine.step([objective.step(nets, Batch(image=x, noise=noise(0)), Clock(step=step))])

    real = torch.cat([x[0::2], x[1::2]])
    source = noise(0)
    with torch.no_grad():
        found = E(x[0::2])
        z_q = found.mean + (0.5 * found.logvar).exp() * source.normal(5)[0::2]
        z = torch.cat([z_q, source.normal(5)[1::2]])
        before = D(real)
        fake = G(z)
    loss = F.softplus(D(fake) - D(real)).mean()
    optimiser = adam(D, objective)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()

    fake = G(z)
    loss = loudness * F.softplus(before - D(fake)).mean()
    loss = loss + 1.5 * ((fake[:half] - x[0::2]) ** 2).sum((1, 2, 3)).mean()
    features = D(fake[:half], features=True)[1] - D(x[0::2], features=True)[1]
    loss = loss + 0.2 * (loudness / 3) ** 2 * (features**2).sum(1).mean()
    optimiser = adam(G, objective)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    same(nets, reference)


def test_batch_optimal_sigma_has_the_gradient_of_sigma_vae():
    objective = objectives.build("vae", {"scale": "optimal", "beta": 0})
    nets = build(*objective.networks)
    batch = Batch(image=image(0), noise=noise(0))
    losses = next(objective.step(nets, batch, Clock()))
    ours = torch.autograd.grad(losses["decoder"], list(nets["decoder"].parameters()))

    q = nets["encoder"](image(0))
    x_hat = nets["decoder"](q.rsample(noise(0)))
    pixels = math.prod(SHAPE.image)
    loss = pixels / 2 * ((image(0) - x_hat) ** 2).mean().log()  # Rybkin et al., eq. 8
    theirs = torch.autograd.grad(loss, list(nets["decoder"].parameters()))
    for a, b in zip(ours, theirs):
        assert_close(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["vae", "aux_vae"])
def test_beta_rises_over_the_warm_up(name):
    objective = objectives.build(name, {"warmup": 0.5, "beta": 2})
    nets = build(*objective.networks, kinds=objective.kinds)
    values = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        batch = Batch(image=image(0), noise=noise(0))
        step = objective.step(nets, batch, Clock(progress=progress))
        values.append(next(step)["encoder"].item())
    rise = [(value - values[0]) / (values[-1] - values[0]) for value in values]
    assert_close(torch.tensor(rise), torch.tensor([0, 0.5, 1, 1.0]), rtol=1e-6, atol=1e-6)
