import numpy as np
import pytest
import torch

from ganvae.metrics import memorisation
from ganvae.metrics.manifold import Neighbours


def cloud(n, seed, d=8):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_copies_are_found_with_their_rows():
    train, heldout, new = cloud(300, 0), cloud(200, 1), cloud(40, 2)
    copied = train[[5, 17, 250]] + 0.01
    found = memorisation.check(torch.cat([new, copied]), train, heldout)
    assert found.suspicious[40:].all()
    assert found.train[40:].tolist() == [5, 17, 250]
    assert (found.ratio[40:] < 0.1).all()
    assert found.suspicious[:40].sum() <= 1
    assert found.share == pytest.approx(float(found.suspicious.sum()) / 43)


def test_new_samples_are_not_suspected_more_than_allowed():
    shares = []
    for seed in range(20):
        train, heldout, new = (cloud(n, 3 * seed + i) for i, n in enumerate((400, 200, 200)))
        shares.append(memorisation.check(new, train, heldout).share)
    assert np.mean(shares) < 3 * memorisation.QUANTILE


def test_many_more_training_than_heldout_images_raise_no_alarm():
    # the nearest of 5,000 is nearer than the nearest of 50 for anything new
    train, heldout, new = cloud(5000, 0), cloud(50, 1), cloud(300, 2)
    found = memorisation.check(new, train, heldout)
    assert float(found.ratio.median()) < 0.7
    assert found.share < 0.05


def test_a_memorising_model_is_caught_whole():
    train, heldout = cloud(300, 0), cloud(300, 1)
    assert memorisation.check(train[:100] + 0.05 * cloud(100, 3), train, heldout).share > 0.95


def test_heldout_images_that_leaked_do_not_hide_copies():
    train = cloud(300, 0)
    heldout = torch.cat([cloud(100, 1), train[:20]])
    found = memorisation.check(train[50:60], train, heldout)
    assert found.threshold > 0
    assert found.share == 1
    with pytest.raises(ValueError, match="Every held-out image"):
        memorisation.check(train[50:60], train, train[:20])


def test_sample_equal_to_a_heldout_image_is_no_copy():
    train, heldout = cloud(100, 0), cloud(100, 1)
    found = memorisation.check(heldout[:3], train, heldout)
    assert torch.isinf(found.ratio).all()
    assert found.share == 0


def test_ratio_of_an_image_in_both_sets_is_one():
    zero = Neighbours(torch.zeros(1, 1), torch.zeros(1, 1, dtype=torch.long))
    assert memorisation._ratio(zero, zero).tolist() == [1.0]


def test_thumbnails_average_and_keep_small_images():
    x = torch.arange(64.0).view(1, 1, 8, 8)
    assert torch.equal(memorisation.thumbnails(x), x.flatten(1))
    wide = x.repeat_interleave(4, 2).repeat_interleave(4, 3)
    small = memorisation.thumbnails(wide).view(1, 1, 16, 16)
    assert torch.equal(small, x.repeat_interleave(2, 2).repeat_interleave(2, 3))


@pytest.mark.parametrize("block", [7, 32, 4096])
def test_nearest_reads_in_passing_and_agrees_with_all_at_once(kit, monkeypatch, block):
    monkeypatch.setattr(memorisation, "BLOCK", block)
    images = kit.Pictures(kit.pictures(90, 4))
    queries = memorisation.thumbnails(kit.pictures(20, 5))
    rows = np.arange(0, 90, 2)
    found = memorisation.nearest(queries, images, rows)
    every = torch.cdist(queries, memorisation.thumbnails(images.all[::2]))
    assert torch.allclose(found.distance, every.amin(1, keepdim=True), atol=1e-4)
    assert torch.equal(found.row[:, 0], 2 * every.argmin(1))


def test_nearest_leaves_the_query_itself_out(kit):
    images = kit.Pictures(kit.pictures(50, 4))
    rows = np.arange(50)
    queries = memorisation.thumbnails(images.all)
    assert (memorisation.nearest(queries, images, rows).distance == 0).all()
    other = memorisation.nearest(queries, images, rows, exclude=rows)
    assert (other.row[:, 0] != torch.arange(50)).all()
    assert (other.distance > 0).all()
    with pytest.raises(ValueError, match="at least one other"):
        memorisation.nearest(queries[:1], images, rows[:1], exclude=rows[:1])


def test_pixels_see_through_noise_that_moves_features(kit):
    train, heldout = kit.pictures(200, 0, side=32), kit.pictures(200, 1, side=32)
    noisy = (train[:20] + 0.1 * torch.randn(20, 1, 32, 32)).clamp(-1, 1)
    small = [memorisation.thumbnails(x) for x in (noisy, train, heldout)]
    found = memorisation.check(*small)
    assert found.share > 0.8
    assert (found.train == torch.arange(20)).float().mean() > 0.9
