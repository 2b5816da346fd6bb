import pytest
import torch

from ganvae.metrics import diversity, pairs


def test_is_the_mean_over_pairs(monkeypatch):
    x = torch.randn(37, 4, generator=torch.Generator().manual_seed(0)) + 10
    expected = float(torch.pdist(x.double()).mean())
    assert diversity.pairwise(x) == pytest.approx(expected, rel=1e-5)
    monkeypatch.setattr(pairs, "CHUNK", 8)
    assert diversity.pairwise(x) == pytest.approx(expected, rel=1e-5)


def test_one_image_again_and_again_has_none():
    assert diversity.pairwise(torch.ones(20, 4) * 3) == 0


def test_scales_with_the_features_and_refuses_one_sample():
    x = torch.randn(20, 4)
    assert diversity.pairwise(3 * x) == pytest.approx(3 * diversity.pairwise(x), rel=1e-4)
    with pytest.raises(ValueError, match="N ≥ 2"):
        diversity.pairwise(x[:1])
