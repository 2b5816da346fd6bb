"""Codes: the nearest, where gradients go, where codes start, how many are met."""

import torch
from torch.testing import assert_close

from ganvae.networks.quantizer import Quantizer, nearest, vectors_at
from ganvae.types import Noise


def maps(seed=0, n=5, channels=3, rows=2, columns=4):
    return Noise(seed, total=n).normal(channels, rows, columns)


def test_each_cell_gets_the_code_nearest_to_it():
    torch.manual_seed(0)
    quantizer, h = Quantizer(7, 3), maps()
    q = quantizer(h)
    for image, codes, z in zip(h, q.codes, q.mean.unflatten(1, (3, 2, 4))):
        for cell in range(8):
            vector = image.flatten(1)[:, cell]
            distances = (quantizer.codebook - vector).square().sum(1)
            assert codes[cell] == distances.argmin()
            assert torch.equal(z.flatten(1)[:, cell], quantizer.codebook[codes[cell]])
    assert_close(vectors_at(quantizer.codebook, q.codes), q.mean, rtol=0, atol=0)
    assert torch.equal(nearest(q.mean.unflatten(1, (3, 2, 4)), quantizer.codebook), q.codes)


def test_it_is_a_point_without_spread():
    q = Quantizer(7, 3)(maps())
    assert torch.equal(q.rsample(Noise(1, total=5)), q.mean)
    assert not q.std.any()


def test_gradients_go_straight_through_to_the_encoder_and_to_no_code():
    quantizer, h = Quantizer(7, 3), maps().requires_grad_()
    q, pull = quantizer(h), Noise(2, total=5).normal(24)
    (q.mean * pull).sum().backward()
    assert torch.equal(h.grad.flatten(1), pull)
    assert all(parameter.grad is None for parameter in quantizer.parameters())


def test_the_codebooks_loss_moves_codes_alone():
    quantizer, h = Quantizer(7, 3), maps().requires_grad_()
    q = quantizer(h)
    (q.after - q.before.detach()).square().sum().backward()
    assert h.grad is None
    own = torch.zeros(7, 3).index_add_(
        0,
        q.codes.flatten(),
        2 * (q.after - q.before).detach().unflatten(1, (3, 8)).mT.flatten(0, 1),
    )
    speed = quantizer.codebook.detach().norm() / quantizer.vectors.detach().norm()
    assert_close(quantizer.vectors.grad, speed * own, rtol=1e-4, atol=1e-4)
    assert quantizer.shared.weight.grad.any() and quantizer.shared.bias.grad.any()


def test_codes_start_where_the_encoders_vectors_are():
    torch.manual_seed(0)
    centres = 5 * torch.randn(6, 3)
    z = centres[torch.randint(0, 6, (40, 8))] + 0.01 * torch.randn(40, 8, 3)
    quantizer = Quantizer(6, 3)
    quantizer.start(z.mT.flatten(1))
    found = torch.cdist(centres, quantizer.codebook.detach())
    assert found.min(1).values.max() < 0.05 and found.min(0).values.max() < 0.05


def test_fewer_vectors_than_codes_will_do():
    quantizer = Quantizer(6, 3)
    quantizer.start(torch.ones(2, 12))
    assert torch.equal(quantizer.codebook.detach(), torch.ones(6, 3))


def test_use_is_the_share_of_codes_that_were_met():
    quantizer = Quantizer(8, 3)
    assert quantizer.use == 0
    quantizer.count(torch.tensor([[1, 1], [5, 0]]))
    assert quantizer.use == 3 / 8
    assert quantizer.met.tolist() == [1, 2, 0, 0, 0, 1, 0, 0]


def test_a_map_that_is_no_number_shows():
    h = maps()
    h[0, 0, 0, 0] = torch.nan
    mean = Quantizer(7, 3)(h).mean
    assert mean[0].isnan().any() and not mean[1:].isnan().any()
