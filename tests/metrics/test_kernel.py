import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchmetrics.image.kid import KernelInceptionDistance

from ganvae.metrics import kernel


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
    monkeypatch.setattr(kernel, "CHUNK", 16)
    assert kernel.unbiased(a, b) == pytest.approx(whole, rel=1e-5)


def test_what_is_known_already_changes_nothing(monkeypatch):
    a, b = cloud(70, 6, 0), cloud(50, 6, 1, 0.3)
    monkeypatch.setattr(kernel, "CHUNK", 16)
    matrix = (b.double() @ b.double().T / 6 + 1) ** 3
    expected = matrix.sum(1) - matrix.diagonal()
    assert torch.allclose(kernel.within(b), expected, rtol=1e-5)
    assert kernel.unbiased(a, b, kernel.within(b)) == kernel.unbiased(a, b)
    assert kernel.unbiased(a, b, 2 * kernel.within(b)) != kernel.unbiased(a, b)


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
    a, b = torch.rand(100, 3, 2, 2) * 2, torch.rand(100, 3, 2, 2) ** 2 * 3
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
