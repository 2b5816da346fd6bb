"""BicycleGAN in straight lines, with one backward pass per network; shares nothing with ours."""

import torch
from torch.testing import assert_close

from ganvae.config import Networks
from ganvae.networks import zoo
from ganvae.training.engine import Engine
from ganvae.training.processes import Processes
from ganvae.types import Batch, Clock, Noise, Shape

STEPS, B, D = 4, 6, 5
WEIGHTS = {"pixel": 7.0, "beta": 0.3, "back": 0.6, "adversarial": 1.4, "adversary": {"gamma": 0}}


def build(objective, source):
    torch.manual_seed(11)
    shape = Shape(channels=1, height=16, width=16, latent=D, source=source)
    config = Networks(width=8, latent=D)
    return {
        role: zoo.build(objective.kinds.get(role, role), config, shape).double()
        for role in objective.networks
    }


def picture(seed, channels=1):
    return 2 * Noise(*seed, total=B, dtype=torch.float64).uniform(channels, 16, 16) - 1


def mse(logit, target):
    """The paper's code: D = (1 + logit) / 2 is to be 1 for reals and 0 for fakes."""
    return (((1 + logit) / 2 - target) ** 2).mean()


def by_hand(nets, pairs, made_of, lr=1e-3):
    """made_of(z, source, target): the image that losses see."""
    E, G, D_q, D_p = (
        nets[role] for role in ("encoder", "generator", "discriminator", "discriminator_z")
    )
    optimisers = {
        net: torch.optim.Adam(net.parameters(), lr=lr, betas=(0.5, 0.999), foreach=False)
        for net in (E, G, D_q, D_p)
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

    for step, (source, target) in enumerate(pairs):
        numbers = Noise(2, step, total=B, dtype=torch.float64)
        z, eps = numbers.normal(D)[1::2], numbers.normal(D)[0::2]
        A, A_z, x, x_z = source[0::2], source[1::2], target[0::2], target[1::2]
        mean, logvar = E(x).mean, E(x).logvar
        x_hat = made_of(G, mean + (logvar / 2).exp() * eps, A, x)
        x_made = made_of(G, z, A_z, x_z)
        move(
            {
                D_q: mse(D_q(x, A), 1) + mse(D_q(x_hat.detach(), A), 0),
                D_p: mse(D_p(x_z, A_z), 1) + mse(D_p(x_made.detach(), A_z), 0),
            }
        )
        kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum() / len(x)
        vae = 1.4 * mse(D_q(x_hat, A), 1) + 7 * (x - x_hat).abs().mean() + 0.3 * kl
        prior = 1.4 * mse(D_p(x_made, A_z), 1) + 0.6 * (E(x_made).mean - z).abs().mean()
        move({E: vae, G: vae + prior})  # E sees nothing of the way from z


def by_the_library(objective, nets, pairs):
    engine = Engine(nets, objective.optim, Processes("cpu"))
    for step, (source, target) in enumerate(pairs):
        noise = Noise(2, step, total=B, dtype=torch.float64)
        batch = Batch(image=target, source=source, noise=noise)
        assert engine.step([objective.step(nets, batch, Clock(step=step))]).ok


def same(nets, others):
    for role in nets:
        theirs = others[role].state_dict()
        for key, value in nets[role].state_dict().items():
            assert_close(value, theirs[key], rtol=1e-7, atol=1e-8, msg=f"{role}.{key}")
