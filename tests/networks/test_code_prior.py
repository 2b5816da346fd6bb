"""p(codes): a normalised distribution that is sampled as it is evaluated."""

import itertools

import pytest
import torch
from torch.testing import assert_close

from ganvae.networks.code_prior import CodePrior
from ganvae.networks.quantizer import nearest, vectors_at
from ganvae.types import Noise


def prior(grid=(2, 2, 2), codes=3, classes=0):
    torch.manual_seed(4)
    made = CodePrior(grid, codes, dimensions=16, classes=classes).double()
    for parameter in made.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return made


@pytest.mark.parametrize("grid", [(2, 2, 2), (2, 1, 4), (2, 4, 1)])
@pytest.mark.parametrize("classes", [0, 3])
def test_the_probabilities_of_all_grids_sum_to_one(grid, classes):
    p = prior(grid, classes=classes)
    codes = torch.tensor(list(itertools.product(range(3), repeat=4)))
    c = (torch.full((len(codes),), 1),) if classes else ()
    log_p = p.log_prob(vectors_at(p.codebook, codes), *c)
    assert_close(log_p.exp().sum(), torch.tensor(1.0).double())
    assert log_p.exp().std() > 1e-3  # it is not uniform


def test_samples_come_as_often_as_their_probability_says():
    p, n = prior(), 20_000
    z = p.sample(Noise(0, total=n, dtype=torch.float64))
    assert z.shape == (n, 8)
    codes = nearest(z.unflatten(1, p.grid), p.codebook)
    assert torch.equal(vectors_at(p.codebook, codes), z)
    met, counts = codes.unique(dim=0, return_counts=True)
    expected = p.log_prob(vectors_at(p.codebook, met)).exp()
    error = (expected * (1 - expected) / n).sqrt()
    assert ((counts / n - expected).abs() < 5 * error + 1e-4).all()


def test_a_cell_knows_those_before_it_and_no_other():
    p = prior((2, 3, 3), codes=5)
    codes = torch.randint(0, 5, (1, 9), generator=torch.Generator().manual_seed(0))
    logits = []
    p.norm.register_forward_hook(lambda module, given, out: logits.append(out))
    p.log_prob(vectors_at(p.codebook, codes))
    for cell in range(9):
        other = codes.clone()
        other[0, cell] = (other[0, cell] + 1) % 5
        p.log_prob(vectors_at(p.codebook, other))
        changed = (logits[-1] != logits[0]).any(2)[0]
        assert not changed[: cell + 1].any() and changed[cell + 1 :].all()


def test_the_cache_changes_nothing():
    """Sampling cell by cell is drawing from the logits of the whole grid."""
    p = prior((2, 3, 3), codes=5)
    z = p.sample(Noise(3, total=6, dtype=torch.float64))
    codes = nearest(z.unflatten(1, p.grid), p.codebook)
    seen = []
    p.norm.register_forward_hook(lambda module, given, out: seen.append(out))
    p.log_prob(z)
    edges = (seen[0] @ p.sought(p.codebook).T).softmax(2).cumsum(2)
    u = Noise(3, total=6, dtype=torch.float64).uniform(9)
    again = torch.searchsorted(edges, u[..., None], right=True)[..., 0]
    assert torch.equal(again, codes)


def test_rows_are_independent_and_depend_on_the_noise_alone():
    p = prior((2, 3, 3), codes=5)
    whole = p.sample(Noise(3, total=6, dtype=torch.float64))
    part = p.sample(Noise(3, total=6, rows=slice(2, 5), dtype=torch.float64))
    assert torch.equal(part, whole[2:5])


def test_the_class_is_heard_and_must_be_told():
    p = prior((2, 3, 3), codes=5, classes=3)
    z = p.sample(Noise(3, total=6, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2]))
    assert (p.log_prob(z, torch.full((6,), 0)) != p.log_prob(z, torch.full((6,), 1))).all()
    with pytest.raises(ValueError, match="label"):
        p.sample(Noise(3, total=6))


def test_no_temperature_takes_the_likeliest_and_a_low_one_nearly():
    p = prior((2, 3, 3), codes=5)
    cold = p.sample(Noise(3, total=6, dtype=torch.float64), temperature=0)
    assert len(cold.unique(dim=0)) == 1
    cool = p.sample(Noise(4, total=6, dtype=torch.float64), temperature=1e-3)
    assert torch.equal(cool, cold)
    assert len(p.sample(Noise(3, total=6, dtype=torch.float64), temperature=5).unique(dim=0)) > 1


def test_it_takes_over_the_codes_and_refuses_to_be_fitted():
    p = prior()
    p.adopt(torch.arange(6.0).view(3, 2))
    assert p.codebook.flatten().tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="vqgan"):
        p.fit(torch.zeros(4, 8))


def test_a_z_that_is_no_number_has_no_probability():
    p = prior()
    z = p.sample(Noise(0, total=2, dtype=torch.float64))
    z[0, 3] = torch.nan
    assert p.log_prob(z).isnan().tolist() == [True, False]
