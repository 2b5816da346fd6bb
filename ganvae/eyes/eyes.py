"""Frozen feature networks by name, and the one way images of any size and colour reach them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from hashlib import blake2b

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ganvae.errors import ConfigError
from ganvae.eyes import efficientnet

NONE = "none"
LARGEST = 128
"""Pixels of the shorter side at most, where none are asked for."""
LEAST = 48
"""Pixels that smaller images are enlarged to: below, a network made for 224 px sees little."""


class Eyes(nn.Module):
    """Images (B, C, H, W) in [-1, 1] to a network's feature maps, fine ones first.

    Grey is repeated, of more than three channels the first three are seen. Images are scaled so
    that the shorter side has ``size`` pixels, by a bilinear resize, antialiased where it shrinks.
    Each depth is divided by what it gives for a fixed pattern, so that all are of one size.

    net: the network; moves with these eyes
    maps: from prepared images (B, 3, h, w) to a list of its maps (B, c, h', w')
    scale, offset: the network sees ``scale * x + offset``
    """

    def __init__(
        self,
        net: nn.Module,
        maps: Callable[[Tensor], list[Tensor]],
        size: int,
        scale: float = 1.0,
        offset: float = 0.0,
    ):
        super().__init__()
        self.net, self.maps, self.size = net, maps, size
        self.scale, self.offset = scale, offset
        with torch.inference_mode():
            known = maps(self._prepared(_pattern(size)))
        self.channels = [m.shape[1] for m in known]
        self.sizes = [max(float(m.square().mean().sqrt()), 1e-6) for m in known]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The maps, each (B, c, h, w) of about unit mean square."""
        slow = x.device.type == "cpu" and x.requires_grad  # bfloat16's backward, measured
        with torch.autocast(x.device.type, enabled=torch.is_autocast_enabled() and not slow):
            maps = self.maps(self._prepared(x.float() if slow else x))
        return tuple(m / size for m, size in zip(maps, self.sizes, strict=True))

    def _prepared(self, x: Tensor) -> Tensor:
        ratio = self.size / min(x.shape[2:])
        if ratio != 1:
            sides = [max(1, round(side * ratio)) for side in x.shape[2:]]
            x = interpolate(x, sides, mode="bilinear", antialias=ratio < 1)
        x = x[:, :3] if x.shape[1] >= 3 else x[:, :1].expand(-1, 3, -1, -1)
        return (x * self.scale + self.offset).contiguous(memory_format=torch.channels_last)


def _pattern(size: int) -> Tensor:
    """Smooth colours with some noise over them, always the same: (4, 3, size, size)."""
    random = torch.Generator().manual_seed(0)
    smooth = torch.randn(4, 3, 5, 5, generator=random)
    fine = 0.1 * torch.randn(4, 3, size, size, generator=random)
    return (interpolate(smooth, (size, size), mode="bicubic") + fine).clamp(-1, 1)


def side(image: tuple[int, int, int]) -> int:
    """The size at which images of (C, H, W) are seen where none is asked for."""
    return max(LEAST, min(LARGEST, *image[1:]))


def _efficientnet(variant: int, size: int) -> Eyes:
    net = efficientnet.load(variant)
    for parameter in net.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    # the deepest that has 2 or more places to look at, finest at a quarter of the side
    last = 4 if size >= 64 else 3

    def maps(x: Tensor) -> list[Tensor]:
        return net.taps(x, last)[1:]

    return Eyes(net, maps, size, scale=127.5 / 128, offset=0.5 / 128)


NAMES = {
    "efficientnet-lite0": partial(_efficientnet, 0),
    "efficientnet-lite2": partial(_efficientnet, 2),
}


def look_for(name: str) -> None:
    """Raises ConfigError where the weights of eyes, or "none", are missing."""
    if name != NONE:
        load(name, LEAST, torch.device("cpu"))


def digest(name: str) -> str | None:
    """Of the weights of eyes, 16 hexadecimal digits; None for no eyes."""
    if name == NONE:
        return None
    state = load(name, LEAST, torch.device("cpu")).state_dict()
    numbers = (state[key].cpu().contiguous().flatten().view(torch.uint8) for key in sorted(state))
    return blake2b(b"".join(n.numpy().tobytes() for n in numbers), digest_size=8).hexdigest()


@cache
def load(name: str, size: int, device: torch.device) -> Eyes:
    """The eyes of a name at a size; one copy a process and device.

    Raises ConfigError for an unknown name or missing weights.
    """
    if name not in NAMES:
        raise ConfigError(f"there are no eyes {name!r}; choose one of {', '.join(NAMES)}")
    with torch.random.fork_rng(devices=[]):  # a fresh network draws weights before it gets its own
        return NAMES[name](size).to(device)
