"""aux_gan_vae against its three losses, each by a pass of its own."""

import copy

import pytest
import torch
import torch.nn.functional as F
from straight_auxiliary import STEPS, B, D, build, image, noise, terms
from torch.testing import assert_close

from ganvae import objectives
from ganvae.training.engine import Engine
from ganvae.training.processes import Processes
from ganvae.types import Batch, Clock

OPTIONS = {
    "sigma": 0.5, "beta": 0.7, "gamma": 0.4, "adversarial": 3.0, "optim": {"clip": 0},
    "adversary": {"game": "nonsaturating", "gamma": 0},
}  # fmt: skip


def fakes(nets, x, numbers, variant):
    """Minus the bound's parts, x̂, and the image of z ~ N(0, I), with a ~ p(a|z) where it has one.

    The numbers are taken in the order a, z, and then the prior's.
    """
    given, ratio, x_hat = terms(nets, x, numbers, variant, 0.5)
    if variant == "adgm":
        return -given.mean(), -ratio.mean(), x_hat, nets["decoder"](numbers.normal(D))
    z, eps = numbers.normal(D // 2), numbers.normal(D // 2)
    prior, first = nets["prior"], nets["prior"].body[0]
    told = (z @ first.weight.T + first.bias).relu()
    linear = prior.auxiliary.linear
    mean, logvar = (told @ linear.weight.T + linear.bias).chunk(2, 1)
    a = mean + (logvar / 2).exp() * eps
    return -given.mean(), -ratio.mean(), x_hat, nets["decoder"](torch.cat([z, a], 1))


@pytest.mark.parametrize("variant", ["adgm", "sdgm"])
def test_aux_gan_vae_is_three_updates_by_three_separate_passes(variant):
    objective = objectives.build("aux_gan_vae", OPTIONS | {"variant": variant})
    nets = build(objective)
    reference = copy.deepcopy(nets)
    engine = Engine(nets, objective.optim, Processes("cpu"))
    for step in range(STEPS):
        batch = Batch(image=image(step), noise=noise(step))
        assert engine.step([objective.step(nets, batch, Clock(step=step))]).ok

    moved = ["encoder", "decoder", "discriminator", *(["prior"] if variant == "sdgm" else [])]
    optimisers = {
        role: torch.optim.Adam(
            reference[role].parameters(), lr=1e-3, betas=(0.5, 0.99), foreach=False
        )
        for role in moved
    }

    def of(loss, *roles):
        found = {}
        for role in roles:
            parameters = list(reference[role].parameters())
            found[role] = torch.autograd.grad(loss, parameters, retain_graph=True)
        return found

    disc, ones = reference["discriminator"], torch.ones(2 * B).double()
    for step in range(STEPS):
        gradients = {}
        rec, ratio, _, _ = fakes(reference, image(step), noise(step), variant)
        gradients |= of(rec + 0.7 * ratio, *set(moved) & {"encoder", "prior"})

        rec, _, x_hat, x_p = fakes(reference, image(step), noise(step), variant)
        gan = F.binary_cross_entropy_with_logits(disc(torch.cat([x_hat, x_p])), ones)
        gradients |= of(0.4 * rec + 3 * gan, "decoder")

        _, _, x_hat, x_p = fakes(reference, image(step), noise(step), variant)
        seen = disc(torch.cat([x_hat, x_p]).detach())
        loss = F.binary_cross_entropy_with_logits(seen, 0 * ones)
        gradients |= of(
            loss + F.binary_cross_entropy_with_logits(disc(image(step)), ones[:B]), "discriminator"
        )

        for role, optimiser in optimisers.items():
            for parameter, gradient in zip(reference[role].parameters(), gradients[role]):
                parameter.grad = gradient
            optimiser.step()
    for role in nets:
        theirs = reference[role].state_dict()
        for key, value in nets[role].state_dict().items():
            assert_close(value, theirs[key], rtol=1e-8, atol=1e-9, msg=f"{role}.{key}")


def test_with_the_game_switched_off_the_decoder_climbs_the_bound():
    plain = objectives.build("aux_vae", {"sigma": 0.5})
    hybrid = objectives.build("aux_gan_vae", {"sigma": 0.5, "adversarial": 0})
    nets = build(hybrid)
    batches = [Batch(image=image(0), noise=noise(0)) for _ in range(2)]
    losses, bound = (next(o.step(nets, b, Clock())) for o, b in zip((hybrid, plain), batches))
    assert_close(losses["encoder"], bound["encoder"])
    parameters = list(nets["decoder"].parameters())
    ours = torch.autograd.grad(losses["decoder"], parameters, retain_graph=True)
    for a, b in zip(ours, torch.autograd.grad(bound["decoder"], parameters)):
        assert_close(a, b)
