"""The few words every room speaks: a batch, its random numbers, a posterior, a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ganvae.errors import RangeError

Networks = Mapping[str, Any]
"""The modules of a run by role, for example ``{"encoder": ..., "decoder": ...}``."""

Losses = dict[str, Tensor]
"""What one move minimises: a scalar loss for every network it may move."""

Condition = tuple[Tensor, ...]
"""What networks are told beside their input; passed on as ``net(x, *condition)``."""

Step = Generator[Losses, None, dict[str, Tensor]]
"""A training step: yields the losses of each move in turn, returns scalars to log."""


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Where in its stage the training is."""

    step: int = 0
    """Steps of this stage already made."""
    progress: float = 0.0
    """The share of the stage's budget already spent, in [0, 1]."""

    def rise(self, share: float) -> float:
        """From 0 to 1 in a straight line over the first ``share`` of the stage; 1 for none."""
        return min(1.0, self.progress / share) if share else 1.0


class Noise:
    """Random numbers for some rows of a global batch.

    Numbers are drawn for the whole batch and the rows are cut out of them, so a sample meets the
    same numbers whether its batch is computed at once, in micro-batches, or by many processes.
    They depend on ``seed`` and on the order of the calls alone (drawn on the CPU), not on the
    device.

    seed: any non-negative integers; equal seeds give equal numbers
    total: the size of the global batch
    rows: which of its rows this batch holds (default: all)
    """

    def __init__(
        self,
        *seed: int,
        total: int,
        rows: slice | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.total, self.rows = total, rows or slice(0, total)
        self.device, self.dtype = torch.device(device), dtype
        self.limit: float | None = None
        self._generator = torch.Generator().manual_seed(mix(*seed))

    def every(self, step: int, first: int = 0) -> Noise:
        """The same stream of numbers for every ``step``-th row of this batch from ``first``."""
        thinned = copy(self)
        thinned.rows = slice(self.rows.start + first, self.rows.stop, step)
        return thinned

    def truncated(self, limit: float) -> Noise:
        """The same stream, its normal numbers squeezed into those of -limit to limit.

        Each takes its place among them by its quantile, so that none is drawn again.
        """
        squeezed = copy(self)
        squeezed.limit = limit
        return squeezed

    def _cut(self, x: Tensor) -> Tensor:
        return x[self.rows].to(self.device, non_blocking=True)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers of shape (B, *shape)."""
        numbers = torch.randn(self.total, *shape, generator=self._generator)
        if self.limit is not None:  # Φ(x) = (1 + erf(x / √2)) / 2
            share = math.erf(self.limit / math.sqrt(2))
            numbers = math.sqrt(2) * (share * (numbers.double() / math.sqrt(2)).erf()).erfinv()
            numbers = numbers.clamp(-self.limit, self.limit).float()
        return self._cut(numbers).to(self.dtype)

    def uniform(self, *shape: int) -> Tensor:
        """Numbers uniform in [0, 1) of shape (B, *shape)."""
        numbers = torch.rand(self.total, *shape, generator=self._generator)
        return self._cut(numbers).to(self.dtype)


def mix(*seed: int) -> int:
    """One 63-bit seed out of several integers (splitmix64); the order matters."""
    state = 0
    for part in seed:
        state = (state ^ (part & 0xFFFFFFFFFFFFFFFF)) + 0x9E3779B97F4A7C15
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A batch of training images on the device.

    image: shape (B, C, H, W), in [-1, 1]
    noise: the batch's random numbers; every draw of a step comes from here
    label: class numbers, shape (B,), where the model is to know them
    source: what the image is to be made from (its pair, its remains, its outline), shape
        (B, S, H, W) in [-1, 1]; in unpaired translation an image of the other set
    """

    image: Tensor
    noise: Noise
    label: Tensor | None = None
    source: Tensor | None = None

    @property
    def condition(self) -> Condition:
        """What networks are told beside their input: (source,), (label,) or nothing."""
        told = self.label if self.source is None else self.source
        return () if told is None else (told,)

    def halves(self) -> tuple[Batch, Batch]:
        """Its even and its odd rows, as they count in the global batch."""
        odd = self.noise.rows.start % 2
        return self._every_other(odd), self._every_other(1 - odd)

    def _every_other(self, first: int) -> Batch:
        return Batch(
            image=self.image[first::2],
            noise=self.noise.every(2, first),
            label=None if self.label is None else self.label[first::2],
            source=None if self.source is None else self.source[first::2],
        )


def join(*parts: Condition) -> Condition:
    """The conditions of several batches, one after the other."""
    return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))


LOGVAR = (-12.0, 6.0)
"""The range in which networks keep the logarithm of a variance."""


@dataclass(frozen=True)
class Posterior:
    """A diagonal Gaussian q(z|x).

    mean: shape (B, d)
    logvar: the logarithm of the variance, shape (B, d)
    """

    mean: Tensor
    logvar: Tensor

    @classmethod
    def of(cls, numbers: Tensor) -> Posterior:
        """Of a network's last layer, (B, 2·c, ...): c means, then c logarithms within LOGVAR."""
        mean, logvar = numbers.chunk(2, 1)
        return cls(mean.flatten(1), logvar.flatten(1).clamp(*LOGVAR))

    @property
    def std(self) -> Tensor:
        """Standard deviation, shape (B, d)."""
        return torch.exp(0.5 * self.logvar)

    def rsample(self, noise: Noise) -> Tensor:
        """A reparametrised sample z = μ + σ ε, shape (B, d)."""
        return self.mean + self.std * noise.normal(*self.mean.shape[1:])

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x) in nats, summed over the dimensions: shape (B,)."""
        squared = (z - self.mean) ** 2 * torch.exp(-self.logvar)
        return -0.5 * (squared + self.logvar + math.log(2 * math.pi)).sum(1)

    def draw(self, noise: Noise) -> tuple[Tensor, Tensor]:
        """z ~ q(z|x), shape (B, d), and log q(z|x) of it in nats, shape (B,)."""
        eps = noise.normal(*self.mean.shape[1:])  # (z − μ) / σ, so that nothing is subtracted
        log_q = -0.5 * (eps**2 + self.logvar + math.log(2 * math.pi)).sum(1)
        return self.mean + self.std * eps, log_q

    def detach(self) -> Posterior:
        """The same posterior without a history of gradients."""
        return self._made([self], lambda one: one[0].detach())

    def rows(self, which: slice) -> Posterior:
        """The posteriors of some rows of the batch."""
        return self._made([self], lambda one: one[0][which])

    @staticmethod
    def cat(parts: Sequence[Posterior]) -> Posterior:
        """The posteriors of several batches, one or more and all of one kind, as one."""
        return parts[0]._made(parts, torch.cat)

    def _made(
        self, parts: Sequence[Posterior], join: Callable[[list[Tensor]], Tensor]
    ) -> Posterior:
        """One posterior of several: every tensor joined, anything else as this one has it."""
        changed: dict[str, Any] = {}
        for field in fields(self):
            held = [getattr(part, field.name) for part in parts]
            if isinstance(held[0], Posterior):
                changed[field.name] = held[0]._made(held, join)
            elif isinstance(held[0], Tensor):
                changed[field.name] = join(held)
        return replace(self, **changed)


@dataclass(frozen=True, kw_only=True)
class Optim:
    """How a stage's networks are optimised (Adam). Raises RangeError for numbers it cannot use."""

    lr: float = 2e-4
    """Peak learning rate, above 0."""
    beta1: float = 0.5
    """Decay of Adam's first moment, in [0, 1)."""
    beta2: float = 0.99
    """Decay of Adam's second moment, in [0, 1)."""
    warmup: float = 0.0
    """Share of the stage over which the learning rate rises from zero."""
    final: float = 0.0
    """Learning rate at the stage's end as a share of the peak (cosine in between)."""
    clip: float = 0.0
    """Largest norm of one network's gradient; 0 does not clip."""

    def __post_init__(self) -> None:
        for name, fits, said in (
            ("lr", 0 < self.lr < math.inf, "above 0"),
            ("beta1", 0 <= self.beta1 < 1, "0 or more and below 1"),
            ("beta2", 0 <= self.beta2 < 1, "0 or more and below 1"),
            ("warmup", 0 <= self.warmup <= 1, "from 0 to 1"),
            ("final", 0 <= self.final <= 1, "from 0 to 1"),
            ("clip", self.clip >= 0, "0 or more"),
        ):
            if not fits:
                raise RangeError(f"{name} must be {said}, got {getattr(self, name)}")


class Seen(NamedTuple):
    """Images (B, C, H, W), and the maps (B, c, h, w) that frozen eyes make of them."""

    image: Tensor
    maps: tuple[Tensor, ...]

    def detach(self) -> Seen:
        """The same without a gradient."""
        return Seen(self.image.detach(), tuple(m.detach() for m in self.maps))

    @staticmethod
    def cat(parts: Sequence[Seen]) -> Seen:
        """One after the other."""
        maps = tuple(torch.cat(depth) for depth in zip(*(part.maps for part in parts)))
        return Seen(torch.cat([part.image for part in parts]), maps)


class Verdict(NamedTuple):
    """A discriminator's logits: of the pixels, (B,) or (B, ...), and of what eyes see, (B, P)."""

    pixels: Tensor
    eyes: Tensor

    def detach(self) -> Verdict:
        """The same without a gradient."""
        return Verdict(self.pixels.detach(), self.eyes.detach())


def look(D: Any, x: Tensor) -> Tensor | Seen:
    """The images with what D's eyes see of them, where it has any."""
    seen: Tensor | Seen = D.look(x) if hasattr(D, "look") else x
    return seen


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What networks are built for: the images they see and the latent between them."""

    channels: int
    height: int
    width: int
    latent: int
    classes: int = 0
    """Number of classes of a class-conditional model; 0 for none."""
    source: int = 0
    """Channels of the image that a translation starts from; 0 for none."""

    @property
    def image(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.height, self.width
