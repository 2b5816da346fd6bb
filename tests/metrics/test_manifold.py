import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from ganvae.metrics import distances, manifold


def cloud(n, d, seed, shift=0.0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g) + shift


def brute(real, fake, k):
    """The definitions of Naeem et al., one loop each, in float64."""
    real, fake = real.double().numpy(), fake.double().numpy()
    d = lambda a, b: np.linalg.norm(a - b)  # noqa: E731
    radius = lambda x, i: sorted(d(x[i], x[j]) for j in range(len(x)) if j != i)[k - 1]  # noqa: E731
    r = [radius(real, i) for i in range(len(real))]
    f = [radius(fake, j) for j in range(len(fake))]
    inside = np.array([[d(x, y) < r[i] for y in fake] for i, x in enumerate(real)])
    recalled = np.array([[d(x, y) < f[j] for j, y in enumerate(fake)] for x in real])
    return (
        inside.any(0).mean(),
        recalled.any(1).mean(),
        inside.sum() / (k * len(fake)),
        inside.any(1).mean(),
    )


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 999), st.integers(1, 5), st.integers(8, 25), st.integers(8, 25),
    st.integers(1, 6), st.floats(0, 2),
)  # fmt: skip
def test_agrees_with_the_definitions(seed, d, n, m, k, shift):
    real, fake = cloud(n, d, seed), cloud(m, d, seed + 1, shift)
    assert manifold.prdc(real, fake, k) == pytest.approx(brute(real, fake, k), abs=1e-6)


def test_chunks_change_nothing(monkeypatch):
    real, fake = cloud(90, 4, 0), cloud(70, 4, 1, 0.5)
    whole = manifold.prdc(real, fake)
    near = manifold.neighbours(fake, real, 3)
    monkeypatch.setattr(distances, "CHUNK", 16)
    assert manifold.prdc(real, fake) == pytest.approx(whole)
    assert torch.equal(manifold.neighbours(fake, real, 3).row, near.row)


def test_agrees_with_the_definitions_over_many_blocks(monkeypatch):
    monkeypatch.setattr(distances, "CHUNK", 8)
    real, fake = cloud(45, 3, 0), cloud(38, 3, 1, 0.3)
    assert manifold.prdc(real, fake, 9) == pytest.approx(brute(real, fake, 9), abs=1e-6)


@pytest.mark.parametrize("n", [5, 8, 9, 30])
def test_radii_agree_with_sklearn_in_small_blocks(monkeypatch, n):
    monkeypatch.setattr(distances, "CHUNK", 4)
    x = cloud(n, 3, n)
    distance, row = NearestNeighbors(n_neighbors=4).fit(x.numpy()).kneighbors()
    assert torch.allclose(manifold.radii(x, 4), torch.from_numpy(distance[:, 3]).float())
    assert torch.equal(manifold.neighbours(x, x, 4, same=True).row, torch.from_numpy(row))


def test_the_nearer_of_two_searches_is_that_of_both_at_once():
    a, b, c = cloud(20, 3, 0), cloud(30, 3, 1), cloud(25, 3, 2)
    c[:3] = a[:3] = b[:3]
    one, other = manifold.neighbours(a, b), manifold.neighbours(a, c)
    found = manifold.nearer(one, other._replace(row=other.row + 30))
    whole = manifold.neighbours(a, torch.cat([b, c]))
    assert torch.equal(found.distance, whole.distance)
    assert torch.equal(found.row, whole.row)
    assert found.row[:3, 0].tolist() == [0, 1, 2]
    assert (found.row >= 30).any()


def test_equal_sets_score_full():
    x = cloud(50, 4, 0)
    found = manifold.prdc(x, x.clone(), 5)
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    # a ball holds its centre and the k − 1 points nearer than the k-th, which rounding may let in
    assert found.density == pytest.approx(1.0, abs=0.1)


def test_far_sets_score_nothing():
    assert manifold.prdc(cloud(30, 4, 0), cloud(30, 4, 1, 100.0)) == (0, 0, 0, 0)


def test_a_collapsed_model_is_precise_without_recall_or_coverage():
    real = cloud(200, 2, 0)
    fake = real[:1] + 1e-3 * cloud(200, 2, 1)
    found = manifold.prdc(real, fake)
    assert found.precision == 1
    assert found.recall < 0.05
    assert found.coverage < 0.1


def test_half_covered():
    # two far modes of equal size, of which the model knows one
    a, b = cloud(100, 3, 0), cloud(100, 3, 1, 50.0)
    found = manifold.prdc(torch.cat([a, b]), a + 1e-4)
    assert found.coverage == pytest.approx(0.5)
    assert found.recall == pytest.approx(0.5)
    assert found.precision == 1


def test_invariant_under_shift_and_scale():
    real, fake = cloud(60, 4, 0), cloud(60, 4, 1, 0.7)
    found = manifold.prdc(real, fake)
    assert 0 < found.coverage < 1
    assert manifold.prdc(4 * real + 100, 4 * fake + 100) == pytest.approx(found, abs=0.02)


def test_neighbours_agree_with_sklearn():
    a, b = cloud(40, 5, 0), cloud(60, 5, 1)
    distance, row = NearestNeighbors(n_neighbors=4).fit(b.numpy()).kneighbors(a.numpy())
    found = manifold.neighbours(a, b, 4)
    assert torch.equal(found.row, torch.from_numpy(row))
    assert torch.allclose(found.distance, torch.from_numpy(distance).float(), atol=1e-5)


@pytest.mark.parametrize("n", [1, 8, 10, 16, 20])
def test_nearest_of_the_first_rows_only(monkeypatch, n):
    monkeypatch.setattr(distances, "CHUNK", 8)
    a, b = cloud(20, 5, 0), cloud(30, 5, 1)
    some = manifold.Nearest(n, 2)
    distances.read(a, b, some)
    whole = manifold.neighbours(a, b, 2)
    assert torch.equal(some.found(a, b).row, whole.row[:n])
    assert torch.equal(some.found(a, b).distance, whole.distance[:n])


def test_copies_are_at_exactly_zero_and_never_their_own_neighbour():
    x = cloud(30, 6, 0, 1000.0)
    found = manifold.neighbours(x, x)
    assert (found.distance == 0).all()
    assert torch.equal(found.row[:, 0], torch.arange(30))
    other = manifold.neighbours(x, x, same=True)
    assert (other.distance > 0).all()
    assert (other.row[:, 0] != torch.arange(30)).all()


def test_refuses_too_few():
    with pytest.raises(ValueError, match="more than 5"):
        manifold.prdc(cloud(5, 2, 0), cloud(50, 2, 1), 5)
    with pytest.raises(ValueError, match="Features"):
        manifold.neighbours(cloud(5, 2, 0), cloud(5, 3, 0))
