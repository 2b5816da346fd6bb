import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchmetrics.image.kid import KernelInceptionDistance

from ganvae.metrics import distances, kernel


def cloud(n, d, seed, shift=0.0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g) + shift


def by_hand(a, b):
    """The unbiased estimate written with loops."""
    k = lambda x, y: (float(x.double() @ y.double()) / len(x) + 1) ** 3  # noqa: E731
    n, m = len(a), len(b)
    aa = sum(k(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    bb = sum(k(b[i], b[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    ab = sum(k(x, y) for x in a for y in b) / (n * m)
    return aa + bb - 2 * ab


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999), st.integers(1, 5), st.integers(2, 9), st.integers(2, 9))
def test_is_the_double_sum(seed, d, n, m):
    a, b = cloud(n, d, seed), cloud(m, d, seed + 1, 0.5)
    assert kernel.unbiased(a, b).value == pytest.approx(by_hand(a, b), rel=1e-4, abs=1e-4)


def test_chunks_change_nothing(monkeypatch):
    a, b = cloud(70, 6, 0), cloud(50, 6, 1, 0.3)
    whole = kernel.unbiased(a, b)
    monkeypatch.setattr(distances, "CHUNK", 16)
    assert kernel.unbiased(a, b) == pytest.approx(whole, rel=1e-5)


def matrix(a, b):
    return (a.double() @ b.double().T / a.shape[1] + 1) ** 3


def test_sums_are_those_of_the_matrices(monkeypatch):
    monkeypatch.setattr(distances, "CHUNK", 16)
    a, b = cloud(70, 6, 0), cloud(50, 6, 1, 0.3)
    chosen = kernel.choose(70, 50, subsets=3, size=20)
    assert [side.sum(0).tolist() for side in chosen] == [[20] * 3] * 2
    across, own = kernel.Sums(a, b, chosen), kernel.Sums(b, None, chosen[1:] * 2)
    distances.read(a, b, across)
    distances.read(b, None, own)
    of_a, of_b = (side.double().T for side in chosen)
    k = matrix(a, b)
    assert torch.allclose(across.rows, k.sum(1), rtol=1e-5)
    assert torch.allclose(across.columns, k.sum(0), rtol=1e-5)
    assert torch.allclose(across.subsets, ((of_a @ k) * of_b).sum(1), rtol=1e-5)
    k = matrix(b, b).fill_diagonal_(0)
    assert torch.allclose(own.rows, k.sum(1), rtol=1e-5)
    assert torch.allclose(own.subsets, ((of_b @ k) * of_b).sum(1), rtol=1e-5)
    assert torch.equal(own.rows, kernel.within(b))


def test_subsets_are_estimated_one_by_one():
    a, b = cloud(60, 5, 0), cloud(80, 5, 1, 0.4)
    rows = [[side[:, i].bool() for side in kernel.choose(60, 80, 7, 20, 3)] for i in range(7)]
    values = torch.tensor([kernel.unbiased(a[i], b[j]).value for i, j in rows])
    found = kernel.distance(a, b, 7, 20, 3)
    assert found.value == pytest.approx(float(values.mean()), rel=1e-4)
    assert found.error == pytest.approx(float(values.std(correction=0)), rel=1e-4)


@pytest.mark.parametrize("scale", [1.0, 1.01])
def test_a_small_difference_of_large_numbers_is_exact(scale):
    """Features as a judge gives them: positive, far from 0, and all alike."""
    a, b = (3 * cloud(1500, 256, seed).relu() + 1 for seed in (0, 1))
    b = scale * b
    n = len(a)
    aa, bb, ab = matrix(a, a), matrix(b, b), matrix(a, b)
    within = (k.sum() - k.trace() for k in (aa, bb))
    expected = float(sum(within) / (n * (n - 1)) - 2 * ab.mean())
    assert ab.mean() > 100
    assert kernel.unbiased(a, b).value == pytest.approx(expected, abs=2e-8 * float(ab.mean()))


def test_error_is_the_jackknife():
    a, b = cloud(14, 4, 2), cloud(9, 4, 3, 0.4)
    out_a = torch.tensor([by_hand(torch.cat([a[:i], a[i + 1 :]]), b) for i in range(14)])
    out_b = torch.tensor([by_hand(a, torch.cat([b[:i], b[i + 1 :]])) for i in range(9)])
    expected = math.sqrt(13 * out_a.var(correction=0) + 8 * out_b.var(correction=0))
    assert kernel.unbiased(a, b).error == pytest.approx(expected, rel=1e-3)


def test_unbiased_around_zero_for_one_distribution_and_error_is_calibrated():
    found = [kernel.unbiased(cloud(60, 5, s), cloud(60, 5, s + 5000)) for s in range(120)]
    values = torch.tensor([f.value for f in found])
    assert abs(values.mean()) < 4 * values.std() / 120**0.5
    assert (values < 0).float().mean() > 0.25  # a biased one never goes below 0
    typical = torch.tensor([f.error for f in found]).mean()
    assert 0.5 < typical / values.std() < 2.5


def test_rises_with_the_difference():
    a = cloud(200, 5, 0)
    values = [kernel.unbiased(a, cloud(200, 5, 1, shift)).value for shift in (0, 0.3, 1, 3)]
    assert values == sorted(values)
    assert values[1] > 0.05


def test_symmetric_and_blind_to_order():
    a, b = cloud(40, 5, 0), cloud(30, 5, 1, 1.0)
    value = kernel.unbiased(a, b)
    assert kernel.unbiased(b, a) == pytest.approx(value, rel=1e-5)
    assert kernel.unbiased(a.flip(0), b) == pytest.approx(value, rel=1e-5)


class Flat(nn.Module):
    def forward(self, x):
        return x.flatten(1)


def test_agrees_with_torchmetrics():
    g = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 100, 3, 2, 2, generator=g)
    a, b = 2 * a, 3 * b**2
    # subsets of everything: no randomness is left
    theirs = KernelInceptionDistance(feature=Flat(), subsets=1, subset_size=100)
    theirs.update(a, real=True)
    theirs.update(b, real=False)
    expected = float(theirs.compute()[0])
    assert kernel.unbiased(a.flatten(1), b.flatten(1)).value == pytest.approx(expected, rel=1e-3)
    assert expected > 0.05
    theirs = KernelInceptionDistance(feature=Flat(), subsets=200, subset_size=40)
    theirs.update(a, real=True)
    theirs.update(b, real=False)
    mean, spread = theirs.compute()
    ours = kernel.distance(a.flatten(1), b.flatten(1), subsets=200, size=40)
    assert ours.value == pytest.approx(float(mean), abs=4 * float(spread) / 200**0.5)
    assert ours.error == pytest.approx(float(spread), rel=0.3)


def test_subsets_agree_with_the_whole_and_repeat():
    a, b = cloud(400, 5, 0), cloud(400, 5, 1, 0.5)
    some = kernel.distance(a, b, subsets=30, size=100, seed=3)
    assert some == kernel.distance(a, b, subsets=30, size=100, seed=3)
    assert some != kernel.distance(a, b, subsets=30, size=100, seed=4)
    assert some.value == pytest.approx(kernel.unbiased(a, b).value, abs=some.error)
    assert some.error > 0


def test_subset_size_is_at_most_half():
    assert kernel.distance(cloud(10, 3, 0), cloud(10, 3, 1), size=1000).error > 0


def test_refuses():
    with pytest.raises(ValueError, match="2 samples"):
        kernel.unbiased(cloud(1, 3, 0), cloud(5, 3, 0))
    with pytest.raises(ValueError, match="Features"):
        kernel.unbiased(cloud(5, 3, 0), cloud(5, 4, 0))
    with pytest.raises(ValueError, match="subsets"):
        kernel.distance(cloud(9, 3, 0), cloud(9, 3, 1), subsets=0)
    with pytest.raises(ValueError, match="4 samples"):
        kernel.distance(cloud(3, 3, 0), cloud(9, 3, 1))
    assert math.isnan(kernel.unbiased(cloud(2, 3, 0), cloud(5, 3, 0)).error)
