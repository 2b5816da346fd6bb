"""cvae_gan against its four losses, each by a pass of its own, and its means of features."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from ganvae import config, objectives
from ganvae.config import Networks
from ganvae.data import open_data
from ganvae.errors import ConfigError
from ganvae.losses.features import matching_means
from ganvae.networks import zoo
from ganvae.training.engine import Engine
from ganvae.training.processes import Processes
from ganvae.training.trainer import Trainer
from ganvae.types import Batch, Clock, Noise, Shape

STEPS, B, D, CLASSES = 4, 6, 5, 3
SHAPE = Shape(channels=1, height=16, width=16, latent=D, classes=CLASSES)


def build(*roles):
    torch.manual_seed(11)
    small = Networks(width=8, latent=D, prior="normal")
    return {role: zoo.build(role, small, SHAPE).double() for role in roles}


def batch_of(step):
    x = 2 * Noise(1, step, total=B, dtype=torch.float64).uniform(1, 16, 16) - 1
    numbers = Noise(2, step, total=B, dtype=torch.float64)
    return Batch(image=x, noise=numbers, label=torch.arange(B) * (step + 1) % CLASSES)


def test_cvae_gan_is_four_updates_by_four_separate_passes():
    objective = objectives.build(
        "cvae_gan",
        {"beta": 0.7, "feature": 0.6, "mean_feature": 0.3, "adversarial": 0.2,
         "optim": {"clip": 0}, "adversary": {"gamma": 0}},
    )  # fmt: skip
    nets = build(*objective.networks)
    reference = copy.deepcopy(nets)
    engine = Engine(nets, objective.optim, Processes("cpu"))
    for step in range(STEPS):
        assert engine.step([objective.step(nets, batch_of(step), Clock(step=step))]).ok

    moved = ("encoder", "decoder", "discriminator", "classifier")
    E, G, disc, C = (reference[role] for role in moved)
    optimisers = {
        net: torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.5, 0.99), foreach=False)
        for net in (E, G, disc, C)
    }
    bce, ones = F.binary_cross_entropy_with_logits, torch.ones(3 * B).double()

    def f_D(x, y):
        return disc(x, y, features=True)[1]

    def f_C(x):
        return C(x, features=True)[1]

    def forward(step):
        batch = batch_of(step)
        x, y, found = batch.image, batch.label, E(batch.image, batch.label)
        z_1, z_2, eps = (batch.noise.normal(D) for _ in range(3))
        x_hat = G(found.mean + (found.logvar / 2).exp() * eps, y)
        return x, y, found, x_hat, G(z_1, y), G(z_2, y)

    def rec(x, y, x_hat):
        total = ((x - x_hat) ** 2).sum()
        total = total + 0.6 * ((f_D(x, y) - f_D(x_hat, y)) ** 2).sum()
        return 0.5 * (total + 0.6 * ((f_C(x) - f_C(x_hat)) ** 2).sum()) / B

    def losses(net, step):
        x, y, found, x_hat, x_1, x_2 = forward(step)
        three, fakes = torch.cat([y, y, y]), torch.cat([x_hat, x_1, x_2])
        if net is C:
            return -C(x).log_softmax(1)[torch.arange(B), y].mean()
        if net is disc:
            return bce(disc(x, y), ones[:B]) + bce(disc(fakes.detach(), three), 0 * ones)
        if net is E:
            variance = found.logvar.exp()
            kl = 0.5 * (found.mean**2 + variance - 1 - variance.log()).sum() / B
            return 0.7 * kl + rec(x, y, x_hat)
        means = ((f_D(x, y) - f_D(x_1, y)) * (f_D(x, y) - f_D(x_2, y))).sum() / B
        means = means + ((f_C(x) - f_C(x_1)) * (f_C(x) - f_C(x_2))).sum() / B
        return rec(x, y, x_hat) + 0.3 * means / 2 + 0.2 * bce(disc(fakes, three), ones)

    for step in range(STEPS):
        gradients = {
            net: torch.autograd.grad(losses(net, step), list(net.parameters()))
            for net in optimisers
        }
        for net, optimiser in optimisers.items():
            for parameter, gradient in zip(net.parameters(), gradients[net]):
                parameter.grad = gradient
            optimiser.step()
    for role in nets:
        theirs = reference[role].state_dict()
        for key, value in nets[role].state_dict().items():
            assert_close(value, theirs[key], rtol=1e-8, atol=1e-9, msg=f"{role}.{key}")


def test_matched_means_have_the_gradient_of_the_distance_between_class_means():
    """Against the closed form, for f(G(z, y)) = m_y + s_y z; a single pair would shrink s."""
    torch.manual_seed(0)
    n, sizes = 400_000, (CLASSES, 2)
    y = torch.arange(n) % CLASSES
    centre = torch.tensor([[1.0, 0.0], [0.0, -2.0], [0.5, 0.5]], dtype=torch.float64)
    f_x = centre[y] + 0.7 * torch.randn(n, 2).double()
    m = torch.tensor([[0.0, 0.3], [1.0, -1.0], [0.5, 0.0]], dtype=torch.float64)
    m, s = m.requires_grad_(), torch.full(sizes, 0.5).double().requires_grad_()
    f_1, f_2 = (m[y] + s[y] * torch.randn(n, 2).double() for _ in range(2))

    loss = matching_means(f_x, f_1, f_2)
    distance = (centre - m).square().sum(1).mean()
    assert_close(loss.item(), distance.item() + 2 * 0.49, rtol=0, atol=0.02)  # and the variance
    ours = torch.autograd.grad(loss, (m, s), retain_graph=True)
    exact = torch.autograd.grad(distance, m)[0]
    assert_close(ours[0], exact, rtol=0, atol=0.01)
    assert_close(ours[1], torch.zeros(sizes).double(), rtol=0, atol=0.01)
    shrinks = torch.autograd.grad(matching_means(f_x, f_1, f_1), s)[0]
    assert (shrinks > 0.2).all()  # descent makes the samples of a class alike


def test_classes_are_asked_for():
    objective = objectives.build("cvae_gan")
    batch = batch_of(0)
    bare = Batch(image=batch.image, noise=batch.noise)
    with pytest.raises(ConfigError, match=r"--data\.labels"):
        objective.prepare({}, iter([bare]))
    with pytest.raises(ConfigError, match=r"--data\.labels"):
        next(objective.step(build(*objective.networks), bare, Clock()))
    with pytest.raises(ValueError, match="2 classes or more"):
        zoo.build(
            "classifier", Networks(width=8), Shape(channels=1, height=16, width=16, latent=4)
        )


def test_a_run_without_classes_ends_before_it_begins(tmp_path):
    random = np.random.default_rng(0)
    np.save(tmp_path / "plain.npy", random.integers(0, 255, (64, 16, 16, 1), np.uint8))
    data = open_data(config.Data(path=str(tmp_path / "plain.npy"), cache=str(tmp_path / "cache")))
    objective = objectives.build("cvae_gan")
    settings = config.Config(objective="cvae_gan")
    with pytest.raises(ConfigError, match=r"cvae_gan learns from classes.*--data\.labels"):
        Trainer(settings, objective, data, tmp_path / "run").run()
    assert not (tmp_path / "run" / "checkpoints").exists()
