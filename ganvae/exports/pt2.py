"""``.pt2``: programs of torch.export, which run without ganvae.

>>> program = torch.export.load("generator.pt2").module()
>>> images = program(torch.randn(4, latent))  # (4, C, H, W) in [-1, 1]

The encoder gives the mean and the log-variance of q(z|x). Any number of images at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ganvae import files
from ganvae.errors import ConfigError
from ganvae.models import Model
from ganvae.telling import words

AGREE = 1e-4
"""Largest difference allowed between the outputs of a program and of the model."""


def write(model: Model, folder: Path) -> list[Path]:
    """Writes a program for every network of inference: ``encoder.pt2``, ``generator.pt2``, …

    A model of unpaired sets also has those of source images: ``encoder_source.pt2``, ….

    Raises ConfigError where a network cannot be exported, or its program gives other numbers.
    """
    roles = dict.fromkeys(("encoder", model.info.decoder, model.info.generator))
    sides = (False, True) if model.info.paired is False else (False,)
    return [
        _program(
            model.module(role, source=side).cpu(),
            folder / f"{role}{'_source' if side else ''}.pt2",
            partial(_inputs, model, role, side),
        )
        for role in roles
        if role in model.networks
        for side in sides
    ]


def _inputs(model: Model, role: str, side: bool, n: int) -> tuple[Tensor, ...]:
    """Example inputs of a network: n images or latents, and classes or source images."""
    shape, inputs = model.info.shape, [_wave(n, model.latent)]
    if role == "encoder":
        channels = shape.source if side else shape.channels
        inputs = [_wave(n, channels, shape.height, shape.width)]
    if model.info.classes:
        inputs.append(torch.arange(n) % len(model.info.classes))
    elif model.info.paired and role != "encoder":
        inputs.append(_wave(n, shape.source, shape.height, shape.width))
        if model.info.verb == "complete":
            inputs[-1][:, -1].round_().abs_()
    return tuple(inputs)


def _wave(*shape: int) -> Tensor:
    return torch.linspace(-9, 9, math.prod(shape)).sin().view(shape)


def _program(module: nn.Module, path: Path, inputs: Callable[[int], tuple[Tensor, ...]]) -> Path:
    example = inputs(3)
    batch = torch.export.Dim("batch")
    try:
        program = torch.export.export(
            module, example, dynamic_shapes=[{0: batch} for _ in example]
        )
    except Exception as error:  # torch may find anything that it cannot follow
        raise ConfigError(f"the {path.stem} cannot become a program: {words(error)}") from error
    files.write(path, lambda scratch: torch.export.save(program, scratch))
    again, other = torch.export.load(path).module(), inputs(5)
    for ours, theirs in zip(_all(module(*other)), _all(again(*other)), strict=True):
        if not torch.allclose(ours, theirs, atol=AGREE, equal_nan=True):
            path.unlink()
            raise ConfigError(f"the program of the {path.stem} gives other numbers than the model")
    return path


def _all(result: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)
