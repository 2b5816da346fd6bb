"""What a discriminator sees of images: DiffAugment, or the images moved.

| Differentiable Augmentation for Data-Efficient GAN Training (Zhao et al., 2020)
| https://arxiv.org/abs/2006.10738
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganvae.types import Noise, Seen, look


def diff_augment(images: Tensor, numbers: Tensor) -> Tensor:
    """Colour, translation and cutout, differentiable, other ones for every row of the batch.

    images: shape (k·B, C, H, W) for k batches one after the other, or (B/k, C, H, W) for every
        k-th image of one
    numbers: uniform in [0, 1), shape (B, 7); images of the same row are treated alike

    Raises ValueError for other numbers of images.
    """
    numbers = _rows(numbers, len(images)).to(images.dtype)
    images = _colour(images, numbers[:, :3])
    images = _translate(images, numbers[:, 3:5])
    return _cutout(images, numbers[:, 5:7])


def shift(images: Tensor, numbers: Tensor, ratio: float) -> Tensor:
    """Moves every image by up to ``ratio`` of its size; the mean of its corners comes in.

    images: as for :func:`diff_augment`
    numbers: uniform in [0, 1), shape (B, 2)
    """
    ends = [0, -1]
    fill = images[:, :, ends][..., ends].mean((2, 3), keepdim=True).detach()
    numbers = _rows(numbers, len(images)).to(images.dtype)
    return _translate(images - fill, numbers, ratio) + fill


class Augmented(nn.Module):
    """A network that sees the images of one batch changed, by :func:`diff_augment` if unsaid.

    Numbers are drawn once, so that an image and what was made of it are treated alike however
    often the network is asked.

    change: of images and random numbers, ``count`` for every row
    """

    def __init__(
        self,
        net: nn.Module,
        noise: Noise,
        change: Callable[[Tensor, Tensor], Tensor] = diff_augment,
        count: int = 7,
    ):
        super().__init__()
        self.net, self.change, self.numbers = net, change, noise.uniform(count)

    def __getattr__(self, name: str) -> Any:
        if name == "look" and hasattr(self.net, "look"):
            return self._look
        return super().__getattr__(name)

    def _look(self, images: Tensor) -> Tensor | Seen:
        """The images themselves, with what the network's eyes see of the changed ones."""
        seen = look(self.net, self.change(images, self.numbers))
        return Seen(images, seen.maps) if isinstance(seen, Seen) else images

    def forward(self, images: Tensor | Seen, *args: Any, **kwargs: Any) -> Any:
        """The network's answer to the changed images."""
        if isinstance(images, Seen):
            changed = self.change(images.image, self.numbers)
            return self.net(Seen(changed, images.maps), *args, **kwargs)
        return self.net(self.change(images, self.numbers), *args, **kwargs)


def _rows(numbers: Tensor, count: int) -> Tensor:
    rows = len(numbers)
    if rows and count % rows == 0:
        return numbers.repeat(count // rows, 1)
    if count and rows % count == 0:
        return numbers[:: rows // count]
    if abs(rows - 2 * count) == 1:  # the even or the odd ones of an odd number
        return numbers[::2][:count]
    raise ValueError(f"{count} images do not fit random numbers for {rows} rows")


def _colour(images: Tensor, numbers: Tensor) -> Tensor:
    brightness, saturation, contrast = numbers[:, :, None, None, None].unbind(1)
    images = images + (brightness - 0.5)
    grey = images.mean(1, keepdim=True)
    images = (images - grey) * (2 * saturation) + grey
    mean = images.mean((1, 2, 3), keepdim=True)
    return (images - mean) * (contrast + 0.5) + mean


def _translate(images: Tensor, numbers: Tensor, ratio: float = 1 / 8) -> Tensor:
    """Moves each image by up to ``ratio`` of its size; what comes in is 0."""
    batch, _, height, width = images.shape
    device = images.device
    places = []
    for size, number in ((height, numbers[:, :1]), (width, numbers[:, 1:])):
        most = int(size * ratio + 0.5)
        shift = (number * (2 * most + 1)).floor().long() - most  # uniform in -most … most
        places.append((torch.arange(size, device=device) + shift + 1).clamp(0, size + 1))
    rows, columns = places
    padded = F.pad(images, [1, 1, 1, 1]).permute(0, 2, 3, 1)
    index = torch.arange(batch, device=device)[:, None, None]
    return padded[index, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _cutout(images: Tensor, numbers: Tensor, ratio: float = 0.5) -> Tensor:
    """Sets a square of ``ratio`` of the size to 0, centred anywhere."""
    _, _, height, width = images.shape
    inside = []
    for size, number in ((height, numbers[:, 0]), (width, numbers[:, 1])):
        side = int(size * ratio + 0.5)
        first = (number * (size + 1 - side % 2)).floor()[:, None] - side // 2
        place = torch.arange(size, device=images.device)
        inside.append((place >= first) & (place < first + side))
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return images.masked_fill(hole, 0)
