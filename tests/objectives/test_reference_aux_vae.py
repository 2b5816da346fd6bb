"""aux_vae against straight lines: its bound, its gradient, and what is reported of it."""

import copy

import pytest
import torch
from straight_auxiliary import SHAPE, STEPS, B, D, build, image, noise, terms
from torch.testing import assert_close

from ganvae import objectives
from ganvae.config import Config, Networks
from ganvae.metrics import bound
from ganvae.models import Model, ModelInfo
from ganvae.training.engine import Engine
from ganvae.training.processes import Processes
from ganvae.types import Batch, Clock, Noise


@pytest.mark.parametrize("variant", ["adgm", "sdgm"])
def test_aux_vae_climbs_the_papers_bound(variant):
    objective = objectives.build(
        "aux_vae", {"variant": variant, "sigma": 0.5, "beta": 0.7, "optim": {"clip": 0}}
    )
    nets = build(objective)
    reference = copy.deepcopy(nets)
    engine = Engine(nets, objective.optim, Processes("cpu"))
    for step in range(STEPS):
        batch = Batch(image=image(step), noise=noise(step))
        assert engine.step([objective.step(nets, batch, Clock(step=step))]).ok

    moved = [*reference["encoder"].parameters(), *reference["decoder"].parameters()]
    moved += reference["prior"].parameters()
    optimiser = torch.optim.Adam(moved, lr=2e-3, betas=(0.9, 0.99), foreach=False)
    for step in range(STEPS):
        given, ratio, _ = terms(reference, image(step), noise(step), variant, 0.5)
        optimiser.zero_grad()
        (-given - 0.7 * ratio).mean().backward()
        optimiser.step()
    for role in nets:
        theirs = reference[role].state_dict()
        for key, value in nets[role].state_dict().items():
            assert_close(value, theirs[key], rtol=1e-8, atol=1e-9, msg=f"{role}.{key}")


@pytest.mark.parametrize("variant", ["adgm", "sdgm"])
def test_the_reported_bound_is_the_papers(variant, monkeypatch):
    """Of images as they are: the noise of a level's width is not drawn."""
    monkeypatch.setattr(bound, "LEVEL", 0.0)
    objective = objectives.build("aux_vae", {"variant": variant, "sigma": 0.4})
    nets = {role: net.float() for role, net in build(objective).items()}
    settings = Config(objective="aux_vae", networks=Networks(width=8, latent=D, prior="normal"))
    info = ModelInfo.of(
        settings, SHAPE, decoder="decoder", generator="decoder", kinds=dict(objective.kinds)
    )
    model = Model(nets, info)
    x, k = image(0).float(), 7
    log_w = bound.weights(model, x, k, 5, dequantise=True)
    for sample in range(k):
        source = Noise(5, sample, total=B)
        with torch.no_grad():
            given, ratio, _ = terms(nets, x, source, variant, 0.4)
        assert_close(log_w[sample], (given + ratio).double(), rtol=1e-5, atol=1e-3)
    found = bound.bounds(model, x, k, seed=5, kind="logistic")  # nothing to dequantise
    assert_close(found.elbo, log_w.mean(0))
    top = log_w.max(0).values
    assert_close(found.iwae, top + (log_w - top).exp().mean(0).log())
