import pytest
import torch

from ganvae.metrics import distances, manifold


def cloud(n, d, seed, shift=0.0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g) + shift


class Whole:
    """Puts the matrix together again."""

    def __init__(self, n, m):
        self.squared, self.times = torch.zeros(n, m), torch.zeros(n, m)
        self.largest = 0

    def take(self, block):
        self.largest = max(self.largest, block.squared.numel())
        self.squared[block.rows, block.columns] = block.squared
        self.times[block.rows, block.columns] += 1
        if block.mirrored:
            self.squared[block.columns, block.rows] = block.squared.T
            self.times[block.columns, block.rows] += 1


@pytest.mark.parametrize("chunk", [7, 8, 100])
@pytest.mark.parametrize("centre", [None, torch.full((4,), 9.0)])
def test_every_pair_comes_once(monkeypatch, chunk, centre):
    monkeypatch.setattr(distances, "CHUNK", chunk)
    a, b = cloud(32, 4, 0, 10.0), cloud(21, 4, 1, 11.0)
    across, within = Whole(32, 21), Whole(32, 32)
    distances.read(a, b, across, centre=centre)
    distances.read(a, None, within, centre=centre)
    exact = torch.cdist(a.double(), b.double()).square().float()
    assert torch.allclose(across.squared, exact, rtol=1e-4, atol=1e-4)
    exact = torch.cdist(a.double(), a.double()).square().float().fill_diagonal_(torch.inf)
    assert torch.allclose(within.squared, exact, rtol=1e-4, atol=1e-4)
    assert (across.times == 1).all() and (within.times == 1).all()


def test_measures_share_a_pass():
    a = cloud(30, 4, 0)
    one, two = Whole(30, 30), Whole(30, 30)
    distances.read(a, a, one, two)
    assert torch.equal(one.squared, two.squared)
    assert (one.squared >= 0).all()


def test_memory_does_not_grow_with_the_pairs():
    found = Whole(3000, 2500)
    distances.read(cloud(3000, 2, 0), cloud(2500, 2, 1), found)
    assert found.largest == distances.CHUNK**2


def test_refuses():
    with pytest.raises(ValueError, match="Features"):
        distances.read(cloud(5, 2, 0), cloud(5, 3, 0))
    with pytest.raises(ValueError, match="Features"):
        distances.read(cloud(5, 2, 0)[0], None, manifold.Nearest(5))


def test_pairwise_is_the_mean_over_pairs(monkeypatch):
    x = torch.randn(37, 4, generator=torch.Generator().manual_seed(0)) + 10
    expected = float(torch.pdist(x.double()).mean())
    assert distances.pairwise(x) == pytest.approx(expected, rel=1e-5)
    monkeypatch.setattr(distances, "CHUNK", 8)
    assert distances.pairwise(x) == pytest.approx(expected, rel=1e-5)


def test_one_image_again_and_again_has_no_pairwise_distance():
    assert distances.pairwise(torch.ones(20, 4) * 3) == 0


def test_pairwise_scales_with_the_features_and_refuses_one_sample():
    x = torch.randn(20, 4)
    assert distances.pairwise(3 * x) == pytest.approx(3 * distances.pairwise(x), rel=1e-4)
    with pytest.raises(ValueError, match="N ≥ 2"):
        distances.pairwise(x[:1])
