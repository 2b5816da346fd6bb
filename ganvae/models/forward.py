"""Networks applied to many rows, batch by batch, on the device where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from ganvae.errors import ConfigError, RangeError
from ganvae.models import checks, draws
from ganvae.types import Condition, Noise, Posterior


def device_of(modules: Iterable[nn.Module]) -> torch.device:
    """The device of their first tensor."""
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            return tensor.device
    return torch.device("cpu")


def placed(x: Tensor, device: torch.device) -> Tensor:
    """A tensor in float32 on the device; images in channels-last order."""
    x = x.to(device, torch.float32)
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def split(batch: int, *together: Tensor | None) -> Iterator[list[Tensor]]:
    """Batches of tensors whose rows belong together; those that are None are left out.

    Raises RangeError for a batch of none.
    """
    if batch < 1:
        raise RangeError(f"batch must be positive, got {batch}")
    tensors = [x for x in together if x is not None]
    for start in range(0, len(tensors[0]), batch):
        yield [x[start : start + batch] for x in tensors]


def posteriors(
    encoder: Callable[..., object], x: Tensor, classes: Tensor | None, batch: int,
    device: torch.device, latent: int,
) -> Posterior:  # fmt: skip
    """q(z|x) of images (B, C, H, W). Raises ConfigError where the encoder returns no posterior."""
    parts: list[Posterior] = []
    for part, *condition in split(batch, x, classes):
        q = encoder(placed(part, device), *condition)
        if not isinstance(q, Posterior):
            raise ConfigError(
                f"the encoder must return a ganvae.types.Posterior, got {type(q).__name__}"
            )
        parts.append(q)
    if not parts:
        empty = x.new_empty(0, latent, device=device)
        return Posterior(empty, empty.clone())
    return Posterior.cat(parts)


def images(
    network: nn.Module, z: Tensor, classes: Tensor | None, batch: int, device: torch.device,
    shape: tuple[int, int, int], role: str,
) -> Tensor:  # fmt: skip
    """The image (C, H, W) = ``shape`` of each z (B, d). Raises ConfigError for other shapes."""
    parts = [network(*part) for part in split(batch, placed(z, device), classes)]
    for part in parts:
        if tuple(part.shape[1:]) != shape:
            raise ConfigError(
                f"the {role} made images of shape {tuple(part.shape)}, should be "
                f"(B, {', '.join(map(str, shape))})"
            )
    return torch.cat(parts) if parts else torch.empty(0, *shape, device=device)


def variants(
    network: Callable[..., Tensor], prior: Callable[[Noise], Tensor], condition: Condition,
    count: int, seed: int, batch: int, start: int, device: torch.device,
    shape: tuple[int, int, int],
) -> Tensor:  # fmt: skip
    """network(z, *condition) for ``count`` z each: (B, count, C, H, W).

    prior: a z for each row of some noise
    condition: what the network gets beside each z, its rows numbered from ``start`` on
    """
    count, seed = checks.variants(count), checks.whole(seed, "seed")
    start = checks.whole(start, "start")
    parts = [torch.empty(0, count, *shape, device=device)] if not len(condition[0]) else []
    for rows in split(batch, *condition):
        rows, n, several = [placed(row, device) for row in rows], len(rows[0]), list[Tensor]()
        for v in range(count):
            z = draws.draw(prior, n, seed, v, draws.VARIANT, start=start, device=device)
            several.append(network(z, *rows))
        parts.append(torch.stack(several, 1))
        start += n
    return torch.cat(parts)
