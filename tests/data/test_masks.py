from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganvae.data import masks, rng

KINDS = ("mixed", "box", "half", "brush", "centre")
SIZES = st.integers(2, 256)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(KINDS), st.integers(0, 2**64 - 1), SIZES, SIZES)
def test_masks_are_never_empty_and_never_full(
    kind: masks.Kind, seed: int, height: int, width: int
) -> None:
    drawn = masks.draw(kind, np.array([seed, 1, 2, 3], np.uint64), height, width)
    assert drawn.shape == (4, 1, height, width) and drawn.dtype == torch.float32
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    share = drawn.mean((1, 2, 3))
    assert share.min() > 0 and share.max() < 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("height", "width"), [(2, 2), (8, 8), (9, 31), (33, 8)])
def test_thousands_of_small_masks(kind: masks.Kind, height: int, width: int) -> None:
    share = masks.draw(kind, np.arange(5000), height, width).mean((1, 2, 3))
    assert share.min() > 0 and share.max() < 1


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(KINDS), st.lists(st.integers(0, 2**63), min_size=1, max_size=40))
def test_a_mask_follows_from_its_seed_alone(kind: masks.Kind, seeds: list[int]) -> None:
    together = masks.draw(kind, np.array(seeds), 16, 24)
    alone = [masks.draw(kind, np.array([seed]), 16, 24) for seed in seeds]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("kind", ["mixed", "box", "half", "brush"])
def test_seeds_give_different_masks_and_cover_the_image(kind: masks.Kind) -> None:
    drawn = masks.draw(kind, np.arange(2000), 32, 32)
    distinct = len(drawn.flatten(1).unique(dim=0))
    assert distinct == 4 if kind == "half" else distinct > 800
    often = drawn.mean(0)[0]
    assert often.min() > 0.001  # every pixel is asked for
    assert (often - often.flip(0)).abs().max() < 0.08  # and no side more than another
    assert (often - often.flip(1)).abs().max() < 0.08


def test_mixed_has_each_kind_a_quarter_of_the_time() -> None:
    seeds = np.arange(2000)
    mixed = masks.draw("mixed", seeds, 32, 32)
    for kind in KINDS[1:]:
        same = (mixed == masks.draw(kind, seeds, 32, 32)).flatten(1).all(1)
        assert abs(same.float().mean() - 0.25) < 0.04


def test_shapes_are_as_described() -> None:
    centre = masks.draw("centre", np.arange(1), 32, 32)
    assert centre.sum() == 256 and centre[0, 0, 8:24, 8:24].all()
    assert masks.draw("centre", np.arange(1), 9, 7)[0, 0, 2:6, 2:5].sum() == 12
    halves = masks.draw("half", np.arange(64), 9, 8)
    assert set(halves.sum((1, 2, 3)).tolist()) == {32.0, 36.0}
    boxes = masks.draw("box", np.arange(500), 40, 20)[:, 0]
    for lines, side in ((boxes.amax(2), 40), (boxes.amax(1), 20)):
        assert (lines.diff(dim=1) == 1).sum(1).max() <= 1  # in one piece
        assert lines.sum(1).min() >= side / 4 and lines.sum(1).max() <= 3 * side / 4
    assert torch.equal(boxes, boxes.amax(2)[:, :, None] * boxes.amax(1)[:, None])


def test_brush_is_a_union_of_discs() -> None:
    """Against every pixel's distance from every disc."""
    random = np.random.default_rng(0)
    y, x = random.uniform(0, (19, 23), (30, 5, 2)).transpose(2, 0, 1)[:, :, None]
    radius = random.uniform(0.75, 6, y.shape)
    painted = random.random(y.shape) < 0.6
    painted[:, :, 0] = True
    rows, columns = np.mgrid[:20, :24]
    square = (rows - y[..., None, None]) ** 2 + (columns - x[..., None, None]) ** 2
    want = ((square <= radius[..., None, None] ** 2) & painted[..., None, None]).any((1, 2))
    np.testing.assert_array_equal(masks._discs(y, x, radius, painted, 20, 24), want)


def test_small_images_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2x2 pixels, got 1x8"):
        masks.draw("box", np.arange(1), 1, 8)


def test_no_masks_and_speed() -> None:
    assert masks.draw("mixed", np.arange(0), 8, 8).shape == (0, 1, 8, 8)
    start = time.process_time()
    masks.draw("mixed", np.arange(5000), 32, 32)
    assert time.process_time() - start < 1  # at least 5,000 a second


def test_drawn_numbers_are_uniform_and_normal() -> None:
    seeds = rng.bits(np.arange(50), 7)
    uniform = rng.uniform(seeds, 400)
    assert uniform.shape == (50, 400) and uniform.min() >= 0 and uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.01 and abs(uniform.var() - 1 / 12) < 0.003
    assert abs(np.corrcoef(uniform)[np.triu_indices(50, 1)]).max() < 0.25
    assert not np.isin(uniform, rng.uniform(seeds, 400, 1)).any()
    neighbours = rng.uniform(np.arange(50), 400)
    assert len(np.unique(neighbours)) == neighbours.size
    normal = rng.normal(seeds, 400)
    assert abs(normal.mean()) < 0.03 and abs(normal.std() - 1) < 0.02
    np.testing.assert_array_equal(rng.normal(seeds[3:5], 400), normal[3:5])
