"""What discriminators see of images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ganvae.losses.augmentation import Augmented, _translate, diff_augment, shift
from ganvae.types import Noise


def test_diffaugment_has_gradients_to_the_second_order() -> None:
    x = torch.rand(2, 3, 5, 5, dtype=torch.float64, requires_grad=True)

    def augment(image: Tensor) -> Tensor:
        return diff_augment(image, Noise(1, total=2).uniform(7)).pow(2)

    assert torch.autograd.gradcheck(augment, (x,))
    assert torch.autograd.gradgradcheck(augment, (x,))


@pytest.mark.parametrize("shape", [(4, 1, 8, 8), (4, 3, 7, 9), (4, 3, 2, 2), (4, 1, 1, 1)])
def test_diffaugment_changes_each_image_by_its_own_numbers(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape) * 2 - 1
    once = diff_augment(x, Noise(1, total=4).uniform(7))
    assert once.shape == x.shape
    torch.testing.assert_close(once, diff_augment(x, Noise(1, total=4).uniform(7)))
    parts = [
        diff_augment(x[rows], Noise(1, total=4, rows=rows).uniform(7))
        for rows in (slice(0, 2), slice(2, 4))
    ]
    torch.testing.assert_close(torch.cat(parts), once)
    if shape[-1] > 2:
        assert not torch.equal(once, diff_augment(x, Noise(2, total=4).uniform(7)))


def test_diffaugment_of_several_batches_and_of_a_thinned_one() -> None:
    x = torch.rand(8, 3, 8, 8)
    both = torch.cat([x, x])
    whole = diff_augment(both, Noise(1, total=8).uniform(7))
    torch.testing.assert_close(whole[:8], whole[8:])  # a real and its fake are treated alike
    rows = [slice(0, 4), slice(4, 8)]
    parts = [
        diff_augment(torch.cat([x[r], x[r]]), Noise(1, total=8, rows=r).uniform(7)) for r in rows
    ]
    torch.testing.assert_close(torch.cat([p[:4] for p in parts]), whole[:8])
    torch.testing.assert_close(torch.cat([p[4:] for p in parts]), whole[8:])
    thin = diff_augment(x[::4], Noise(1, total=8).uniform(7))
    torch.testing.assert_close(thin, diff_augment(x, Noise(1, total=8).uniform(7))[::4])
    odd = Noise(1, total=5).uniform(7)
    halves = [diff_augment(x[first:5:2], odd) for first in (0, 1)]
    assert [len(half) for half in halves] == [3, 2]
    torch.testing.assert_close(halves[0], diff_augment(x[:5:2], odd[::2]))
    with pytest.raises(ValueError, match="3 images do not fit"):
        diff_augment(x[:3], Noise(1, total=8).uniform(7))


def test_cutout_and_translation_take_what_they_say() -> None:
    x = torch.ones(512, 1, 16, 16)
    holes = (diff_augment(x, Noise(3, total=512).uniform(7)) == 0).flatten(1).sum(1)
    assert holes.min() >= 16 and holes.max() <= 8 * 8 + 2 * 16 * 2
    marked = torch.zeros(1, 1, 16, 16)
    marked[0, 0, 8, 8] = 1
    numbers = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0))
    moved = _translate(marked.expand(2000, -1, -1, -1), numbers)
    places = moved.flatten(1).argmax(1)
    rows, columns = places // 16, places % 16
    for axis in (rows, columns):  # shifts of -2 … 2, all equally likely
        assert axis.unique().tolist() == [6, 7, 8, 9, 10]
        assert axis.bincount()[6:].min() > 300


def test_shift_moves_whole_pixels_and_lets_the_corners_mean_in() -> None:
    x = torch.rand(3, 2, 8, 12, dtype=torch.float64)
    mean = (x[..., 0, 0] + x[..., 0, -1] + x[..., -1, 0] + x[..., -1, -1]) / 4
    moved = shift(x, torch.tensor([[0, 0.999], [0.5, 0.5], [0.999, 0]]), 0.25)
    torch.testing.assert_close(moved[1], x[1])
    filled = mean[..., None, None].expand_as(x).clone()
    filled[0, :, 2:, :9] = x[0, :, :6, 3:]
    filled[2, :, :6, 3:] = x[2, :, 2:, :9]
    torch.testing.assert_close(moved[::2], filled[::2])
    flat = torch.full((3, 1, 1, 1), 0.3)
    torch.testing.assert_close(shift(flat, torch.rand(3, 2), 0.5), flat)


def test_augmented_network_sees_augmented_images() -> None:
    class Mean(nn.Module):
        def forward(self, x: Tensor, features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
            return (x.mean((1, 2, 3)), x) if features else x.mean((1, 2, 3))

    x = torch.rand(4, 3, 8, 8)
    net = Augmented(Mean(), Noise(1, total=4))
    want = diff_augment(x, Noise(1, total=4).uniform(7))
    torch.testing.assert_close(net(x), want.mean((1, 2, 3)))
    torch.testing.assert_close(net(x, features=True)[1], want)
