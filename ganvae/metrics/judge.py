"""The judge: a fixed feature network and the one way images reach it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ganvae.errors import ConfigError
from ganvae.eyes import efficientnet, inception
from ganvae.telling import words

BATCH = 64
"""Images at once through the network; more are slower on a CPU."""

NAMES = ("efficientnet-lite0", "efficientnet-lite2", "inception")


class Judge(nn.Module):
    """Images to features, always by the same resize and scaling.

    network: a module from (B, 3, size, size) to (B, dim)
    label: what scores are called after, for example "EffLite0" for KID-EffLite0
    size: the side that images are resized to
    scale, offset: the network sees ``scale * x + offset`` for x in [-1, 1]
    cacheable: whether features may be kept on disk (only for networks this library knows)
    name: by which :func:`load` knows the network
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        label: str,
        size: int,
        scale: float = 1.0,
        offset: float = 0.0,
        cacheable: bool = False,
        name: str = "",
    ):
        super().__init__()
        if size < 8:
            raise ConfigError(f"The judge's size must be at least 8 pixels, got {size}.")
        self.network = network.eval()
        self.label, self.size, self.cacheable, self.loaded_by = label, size, cacheable, name
        self.scale, self.offset = scale, offset
        self.memory: dict[str, Tensor] = {}
        self.dim = self._probe()

    @torch.inference_mode()
    def _probe(self) -> int:
        """Runs the network on two images that rise from black to white; the features' dimension.

        Raises ConfigError where it fails or does not give finite features (2, dim).
        """
        takes = f"The judge {self.label} must turn images (B, 3, {self.size}, {self.size}) "
        takes += "into features (B, dim)"
        grey = torch.linspace(-1, 1, 2 * 3 * self.size**2, device=self.device)
        try:
            found = self.network(self.prepare(grey.view(2, 3, self.size, self.size)))
        except Exception as error:  # a network of the user's may raise anything
            raise ConfigError(f"{takes}, and fails on two: {words(error)}.") from error
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != 2:
            raise ConfigError(f"{takes}.")
        if not bool(found.isfinite().all()):
            raise ConfigError(f"{takes}, and those of two are not finite.")
        return found.shape[1]

    @property
    def name(self) -> str:
        """Label and size, for example "EffLite0@64"."""
        return f"{self.label}@{self.size}"

    @property
    def resize(self) -> str:
        """How images reach the network's size, in words."""
        return f"bilinear, antialiased, to {self.size}x{self.size}"

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        tensors = chain(self.network.parameters(), self.network.buffers())
        return next((tensor.device for tensor in tensors), torch.device("cpu"))

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the name, the preparation and the weights; 64 hexadecimal digits."""
        digest = hashlib.sha256(f"{self.name} {self.resize} {self.scale} {self.offset}".encode())
        for name, value in self.network.state_dict().items():
            digest.update(name.encode() + str(tuple(value.shape)).encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def prepare(self, images: Tensor) -> Tensor:
        """What the network sees of images (B, 1 or 3, H, W) in [-1, 1]: (B, 3, size, size).

        Grey is repeated to three channels; the image is stretched to a square by a bilinear
        resize, antialiased when it shrinks. Raises ValueError for another shape or for integers.
        """
        if images.ndim != 4 or images.shape[1] not in (1, 3) or not images.is_floating_point():
            raise ValueError(
                "A judge takes float images (B, 1 or 3, H, W) in [-1, 1], "
                f"got {images.dtype} of shape {tuple(images.shape)}."
            )
        x = images.to(self.device, torch.float32)
        if x.shape[2:] != (self.size, self.size):
            x = interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
        x = (x * self.scale + self.offset).expand(-1, 3, -1, -1)
        return x.contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """Features (B, dim), float32, of images (B, 1 or 3, H, W) in [-1, 1] of any size."""
        parts = [self.network(self.prepare(part)).float() for part in images.split(BATCH)]
        return torch.cat(parts) if parts else torch.empty(0, self.dim, device=self.device)

    @torch.inference_mode()
    def taps(self, images: Tensor) -> list[Tensor]:
        """The network's intermediate maps, each (B, c, h, w), of images as for forward.

        Raises ConfigError where the network has none.
        """
        taps = getattr(self.network, "taps", None)
        if taps is None:
            raise ConfigError(f"The judge {self.name} has no intermediate features to compare.")
        return taps(self.prepare(images))

    def extract(
        self, batches: Iterable[Tensor], progress: Callable[[int], None] | None = None
    ) -> Tensor:
        """Features (N, dim) on the CPU of all images of ``batches``; ``progress`` gets N so far.

        Raises ValueError where a feature is not finite, which no score survives.
        """
        parts, done = [torch.empty(0, self.dim)], 0
        for images in batches:
            parts.append(self(images).cpu())
            done += len(images)
            if progress:
                progress(done)
        features = torch.cat(parts)
        if not math.isfinite(float(features.sum(dtype=torch.float64))):
            raise ValueError(f"The judge {self.name} gave features that are not finite.")
        return features


def _channels_last(net: nn.Module) -> nn.Module:
    for parameter in net.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return net


def other_than(eyes: str) -> str:
    """The first judge that is another network than what a training looked through."""
    return next(name for name in NAMES if name != eyes)


def load(
    judge: str | nn.Module | None, size: int = 64, device: torch.device | str = "cpu"
) -> Judge:
    """A judge by name, or any module as a judge.

    judge: "efficientnet-lite0", also where it is None; "efficientnet-lite2", of the same family;
        "inception" (FID's own network, always at 299 px, needs its weights file: see
        :mod:`ganvae.eyes.inception`); or a module that turns RGB images (B, 3, size, size) in
        [-1, 1] into features (B, dim); it is moved to the device and put into eval mode
    size: the side images are resized to

    Raises ConfigError for an unknown name or missing weights.
    """
    if isinstance(judge, Judge):
        return judge
    if isinstance(judge, nn.Module):
        return Judge(judge.to(device), label=type(judge).__name__, size=size)
    judge = judge or NAMES[0]
    if judge.startswith("efficientnet-lite") and judge in NAMES:
        variant = int(judge[-1])
        net: nn.Module = _channels_last(efficientnet.load(variant)).to(device)
        # (255·u − 127)/128 for u = (x + 1)/2
        scaling = {"scale": 127.5 / 128, "offset": 0.5 / 128}
        label = f"EffLite{variant}"
        return Judge(net, label=label, size=size, **scaling, cacheable=True, name=judge)
    if judge == "inception":
        net = _channels_last(inception.load()).to(device)
        return Judge(net, label="Inception", size=299, cacheable=True, name=judge)
    raise ConfigError(f"There is no judge {judge!r}: choose one of {', '.join(NAMES)}.")
