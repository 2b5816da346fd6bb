"""VQGAN against a straight-line implementation that shares no loss with it."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from ganvae import objectives
from ganvae.config import Networks
from ganvae.networks import zoo
from ganvae.training.engine import Engine
from ganvae.training.processes import Processes
from ganvae.types import Batch, Clock, Noise, Shape

SHAPE = Shape(channels=1, height=16, width=16, latent=32)
CONFIG = Networks(width=8, grid=4, grid_channels=2, codes=9)
STEPS, B = 5, 6


def build(objective):
    torch.manual_seed(11)
    kinds = objective.kinds
    return {
        role: zoo.build(kinds.get(role, role), CONFIG, SHAPE).double()
        for role in objective.networks
    }


def batch(step):
    x = 2 * Noise(1, step, total=B, dtype=torch.float64).uniform(1, 16, 16) - 1
    return Batch(image=x, noise=Noise(2, step, total=B, dtype=torch.float64))


def train(objective, nets):
    """By the engine: what the library does."""
    engine = Engine(nets, objective.optim, Processes("cpu"))
    for step in range(STEPS):
        now = Clock(step=step, progress=step / STEPS)
        assert engine.step([objective.step(nets, batch(step), now)]).ok


def adam(objective, *nets):
    betas = (objective.optim.beta1, objective.optim.beta2)
    parameters = [p for net in nets for p in net.parameters()]
    return torch.optim.Adam(parameters, lr=objective.optim.lr, betas=betas, foreach=False)


def same(nets, others):
    for role in nets:
        theirs = others[role].state_dict()
        for key, value in nets[role].state_dict().items():
            assert_close(value, theirs[key], rtol=1e-8, atol=1e-9, msg=f"{role}.{key}")


def laplacian(x):
    """The levels of a Laplacian pyramid, fine to coarse."""
    levels = []
    while x.shape[-1] > 4:
        small = x.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
        levels.append(x - F.interpolate(small, size=x.shape[2:], mode="bilinear"))
        x = small
    return [*levels, x]


def reconstruction(x_hat, x, weight):
    loss = (x - x_hat).abs().sum() / B
    for level, (a, b) in enumerate(zip(laplacian(x), laplacian(x_hat))):
        loss = loss + weight * 4**level * (a - b).abs().sum() / B
    return loss


@pytest.mark.parametrize("adaptive", [False, True])
def test_vqgan_is_its_equations(adaptive):
    objective = objectives.build(
        "vqgan",
        {"perceptual": 0.5, "commitment": 0.3, "optim": {"clip": 0},
         "balance": {"start": 0.4, "weight": 0.2, "adaptive": adaptive}},
    )  # fmt: skip
    nets = build(objective)
    reference = copy.deepcopy(nets)
    train(objective, nets)

    E, Dec, D, _ = (reference[role] for role in objective.networks)
    ours, theirs = adam(objective, E, Dec), adam(objective, D)
    for step in range(STEPS):
        x = batch(step).image
        h = E.body(x, None)
        codebook = (E.quantizer.codebook[None, None] - h.flatten(2).mT[:, :, None]).square().sum(3)
        z_q = E.quantizer.codebook[codebook.argmin(2)].mT.reshape(h.shape)
        z = h + (z_q - h).detach()
        x_hat = Dec(z.flatten(1))
        rec = reconstruction(x_hat, x, 0.5)
        loss = (
            rec + (h.detach() - z_q).pow(2).sum() / B + 0.3 * (z_q.detach() - h).pow(2).sum() / B
        )
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
    same(nets, reference)


def test_p_of_codes_is_moved_by_cross_entropy_alone():
    objective = objectives.build("vqgan").codes
    nets = build(objective)
    objective.prepare(nets, (batch(step) for step in range(4)))
    reference = copy.deepcopy(nets)
    train(objective, nets)

    E, prior = (reference[role] for role in objective.networks)
    assert torch.equal(prior.codebook, E.quantizer.codebook)
    optimiser = adam(objective, prior)
    seen = []
    prior.norm.register_forward_hook(lambda module, given, out: seen.append(out))
    for step in range(STEPS):
        codes = E(batch(step).image).codes
        prior.log_prob(E(batch(step).image).mean)
        logits = seen[-1] @ prior.sought(prior.codebook).T
        loss = F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="sum") / B
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(prior.parameters(), objective.optim.clip)
        optimiser.step()
    same(nets, reference)


def test_codes_start_at_encodings_and_all_are_counted():
    objective = objectives.build("vqgan", {"images": 3 * B, "codes": {"images": 2 * B}})
    nets = build(objective)
    far = nets["encoder"].quantizer
    with torch.no_grad():
        far.vectors += 100
    objective.prepare(nets, (batch(step) for step in range(3)))
    q = nets["encoder"](torch.cat([batch(step).image for step in range(3)]))
    assert (q.after - q.before).square().mean() < q.before.var()
    objective.codes.prepare(nets, (batch(step) for step in range(2)))
    assert far.met.sum() == 2 * B * 16
    assert far.use == len(q.codes[: 2 * B].unique()) / 9
