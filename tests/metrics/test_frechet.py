import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

from ganvae.metrics import frechet


def cloud(n, d, seed, scale=1.0):
    g = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, d, generator=g, dtype=torch.float64)


def whitened(n, d, seed):
    """Points whose mean is exactly 0 and whose covariance is exactly 1."""
    x = cloud(n, d, seed)
    x = x - x.mean(0)
    root = torch.linalg.cholesky(x.T @ x / (n - 1))
    return torch.linalg.solve_triangular(root, x.T, upper=False).T


def test_equal_sets_are_at_zero():
    x = cloud(60, 8, 0)
    assert frechet.distance(x, x) < 1e-9
    assert frechet.distance(x, x[torch.randperm(60)]) < 1e-9


def test_closed_form_of_shifted_and_scaled_gaussians():
    x = whitened(200, 5, 1)
    shift = torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0], dtype=torch.float64)
    scales = torch.tensor([1.0, 2.0, 0.5, 3.0, 1.0], dtype=torch.float64)
    expected = float((shift**2).sum() + ((scales - 1) ** 2).sum())
    assert frechet.distance(x, x * scales + shift) == pytest.approx(expected, rel=1e-9)


def test_closed_form_of_correlated_gaussians():
    # for covariances A Aᵀ and B Bᵀ the cross term is the nuclear norm of Aᵀ B
    x = whitened(300, 4, 2)
    a, b = cloud(4, 4, 3), cloud(4, 4, 4)
    cross = torch.linalg.svdvals(a.T @ b).sum()
    expected = float((a**2).sum() + (b**2).sum() - 2 * cross)
    assert frechet.distance(x @ a.T, x @ b.T) == pytest.approx(expected, rel=1e-8)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 6), st.integers(2, 30), st.integers(2, 30))
def test_symmetric_non_negative_invariant_under_rotation_and_shift(seed, d, n, m):
    a, b = cloud(n, d, seed), cloud(m, d, seed + 1, 2.0)
    value = frechet.distance(a, b)
    assert value >= 0
    assert frechet.distance(b, a) == pytest.approx(value, rel=1e-6, abs=1e-8)
    turn, _ = torch.linalg.qr(cloud(d, d, seed + 2))
    assert frechet.distance(a @ turn + 5, b @ turn + 5) == pytest.approx(value, rel=1e-6, abs=1e-6)


def test_scales_with_the_square_of_the_features():
    a, b = cloud(40, 5, 1), cloud(50, 5, 2, 1.5) + 1
    assert frechet.distance(3 * a, 3 * b) == pytest.approx(9 * frechet.distance(a, b), rel=1e-9)


def test_fewer_samples_than_dimensions_stays_finite_and_right():
    a, b = cloud(10, 64, 5), cloud(12, 64, 6)
    fa, fb = a - a.mean(0), b - b.mean(0)
    cross = torch.linalg.svdvals(fa @ fb.T).sum() / (9 * 11) ** 0.5
    spread = (fa**2).sum() / 9 + (fb**2).sum() / 11 - 2 * cross
    expected = float((a.mean(0) - b.mean(0)).square().sum() + spread)
    assert frechet.distance(a, b) == pytest.approx(expected, rel=1e-5)


def test_large_offsets_do_not_cost_precision():
    x = whitened(100, 4, 8)
    assert frechet.distance(x + 1e5, x + 1e5 + 1) == pytest.approx(4.0, rel=1e-5)


class Flat(nn.Module):
    num_features = 12

    def forward(self, x):
        return x.flatten(1)


def test_agrees_with_torchmetrics():
    a, b = torch.rand(80, 3, 2, 2), torch.rand(90, 3, 2, 2) ** 2
    theirs = FrechetInceptionDistance(feature=Flat())
    theirs.update(a, real=True)
    theirs.update(b, real=False)
    ours = frechet.distance(a.flatten(1), b.flatten(1))
    assert ours == pytest.approx(float(theirs.compute()), rel=1e-4)
    assert ours > 0.01


@pytest.mark.parametrize(
    "a, b",
    [
        (torch.zeros(1, 3), torch.zeros(5, 3)),
        (torch.zeros(5, 3), torch.zeros(5, 4)),
        (torch.zeros(5), torch.zeros(5)),
        (torch.full((5, 3), torch.nan), torch.zeros(5, 3)),
    ],
)
def test_refuses_what_has_no_distance(a, b):
    with pytest.raises(ValueError):
        frechet.distance(a, b)
