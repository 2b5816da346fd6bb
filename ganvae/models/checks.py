"""Checks of a model's arguments, and that it was trained for the verb that is asked of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ganvae import config
from ganvae.errors import ConfigError, RangeError
from ganvae.models.info import ModelInfo
from ganvae.networks.code_prior import CodePrior

Label = str | int | Tensor | None
"""A class by name or number, or the class number of every image, (B,)."""


# -- what the model is for -----------------------------------------------------------------------


def trained_to(info: ModelInfo, verb: str) -> None:
    """Raises ConfigError for a model that was trained for another verb."""
    if info.verb != verb:
        raise ConfigError(
            f"this model was trained to {info.verb} images and cannot {verb} them: train one with "
            f"--task {verb}"
        )


def starts_from_nothing(info: ModelInfo) -> None:
    """Raises ConfigError for a model that makes images from others."""
    if info.from_sources:
        raise ConfigError(
            f"this model was trained to {info.verb} images and needs one to start from: "
            f"`ganvae {info.verb}` does that; or train one with --task generate"
        )


def has_direction(info: ModelInfo, reverse: bool) -> None:
    """Raises ConfigError where a way back is asked of a model that learnt from pairs."""
    if reverse and info.paired:
        raise ConfigError(
            "this model learnt from pairs, which have one direction: train another one with "
            "source/ and target/ exchanged"
        )


# -- numbers -------------------------------------------------------------------------------------


def whole(value: int, name: str) -> int:
    """The value as an int. Raises RangeError for what is no whole number or below 0."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise RangeError(f"{name} must be a whole number, 0 or more, got {value!r}")
    return int(value)


def variants(count: int) -> int:
    """The number of variants. Raises RangeError for none."""
    if isinstance(count, int) and count < 1:
        raise RangeError(f"variants must be 1 or more, got {count}")
    return whole(count, "variants")


def temperature(value: float) -> None:
    """Raises RangeError for a temperature that is negative or not finite."""
    if not (math.isfinite(value) and value >= 0):
        raise RangeError(f"temperature must be 0 or more, got {value}")


def truncation(value: float | None, prior: object) -> None:
    """Raises RangeError for a limit that is not above 0, ConfigError for a prior without one."""
    if value is None:
        return
    if not 0 < value < math.inf:
        raise RangeError(f"truncation must be above 0, got {value}")
    if isinstance(prior, CodePrior):
        raise ConfigError(
            "this model's prior draws codes, not normal numbers, so there is nothing to "
            "truncate; a temperature below 1 makes more typical images"
        )


# -- tensors -------------------------------------------------------------------------------------


def tensors(*values: object) -> None:
    """Raises ConfigError for what is no tensor: paths, pictures, arrays."""
    for value in values:
        if not isinstance(value, Tensor):
            raise ConfigError(
                f"a model takes tensors, got {type(value).__name__}: ganvae.tasks has the same "
                "verbs for files, and ganvae.models.images.to_tensor makes images in [-1, 1] of "
                "8-bit arrays (B, H, W, C)"
            )


def shaped(x: Tensor, shape: Sequence[int | str], does: str = "takes images") -> Tensor:
    """A tensor (B, *shape), where a letter stands for any number. Raises ValueError for others."""
    tensors(x)
    fits = [isinstance(side, str) or side == size for side, size in zip(shape, x.shape[1:])]
    if x.ndim != 1 + len(shape) or not all(fits):
        raise ValueError(
            f"this model {does} of shape (B, {', '.join(map(str, shape))}), got {tuple(x.shape)}"
        )
    return x


def images(x: Tensor, shape: Sequence[int | str], does: str = "takes images") -> Tensor:
    """The same, with values in [-1, 1]. Raises ValueError for others, and for integers."""
    shaped(x, shape, does)
    if not x.is_floating_point():
        raise ValueError(f"images must be floating point in [-1, 1], got {x.dtype}")
    if x.numel() and not float(x.abs().amax()) <= 1.001:  # NaN is refused, too
        raise ValueError(
            f"images must be in [-1, 1], got values from {float(x.amin()):.4g} to "
            f"{float(x.amax()):.4g}"
        )
    return x


def hole(mask: Tensor, x: Tensor) -> Tensor:
    """The mask as booleans. Raises ValueError where it does not fit the images or is all alike."""
    tensors(mask, x)
    shape = (len(x), 1, *x.shape[2:])
    if x.ndim != 4 or tuple(mask.shape) != shape:
        raise ValueError(
            f"images of shape {tuple(x.shape)} need a mask of shape (B, 1, H, W) of the same "
            f"size, got {tuple(mask.shape)}"
        )
    if mask.dtype != torch.bool and not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError("a mask holds 0 where a pixel is known and 1 where it is to be filled in")
    marks = mask.bool()
    for i, pixels in enumerate(marks.flatten(1)):
        if not bool(pixels.any()):
            raise ValueError(f"the mask of image {i} is empty: it must mark what to fill in")
        if bool(pixels.all()):
            raise ValueError(f"the mask of image {i} is full: some pixels must be known")
    return marks


# -- classes -------------------------------------------------------------------------------------


def same_classes(info: ModelInfo, names: Sequence[str]) -> None:
    """Raises ConfigError where class numbers of images mean something else to the model.

    names: of the images' classes by number; empty where they have none
    """
    own = list(info.classes)
    if own and list(names) != own:
        raise ConfigError(
            f"the model's classes are {', '.join(own)}, those of the images "
            f"{', '.join(names) or 'unknown'}: give images of the same classes"
        )


def classes(
    info: ModelInfo, label: Label, n: int, device: torch.device | str = "cpu"
) -> Tensor | None:
    """The class number of each of n images, (n,), or None for a model without classes.

    Raises ConfigError for a class that does not exist or was never learnt, for a missing one, and
    for one that is given to a model without classes. Looking at numbers waits for a GPU.
    """
    names = info.classes
    if not names:
        if label is None:
            return None
        raise ConfigError("this model knows no classes: train one with --data.labels")
    learnt = info.learnt_classes
    if label is None:
        raise ConfigError(f"this model needs to know the class: one of {', '.join(learnt)}")
    if isinstance(label, str):
        label = _number(label, names, learnt)
    numbers = torch.as_tensor(label, device=device).long().expand(n)
    if n and not 0 <= int(numbers.min()) <= int(numbers.max()) < len(names):
        raise ConfigError(f"classes are numbered 0 to {len(names) - 1}, got {numbers.max()}")
    if len(learnt) < len(names):
        shares = torch.tensor(info.class_shares, device=numbers.device)
        if (wrong := numbers[shares[numbers] == 0]).numel():
            raise ConfigError(
                f"the class {names[int(wrong[0])]!r} was never learnt, as it had no training "
                f"image: choose one of {', '.join(learnt)}"
            )
    return numbers


def _number(label: str, names: Sequence[str], learnt: Sequence[str]) -> int:
    """The number of a class by its name, or by a number where no name is one."""
    if label in names:
        return names.index(label)
    numeric_names = any(name.isdecimal() for name in names)  # then no number is an index
    if label.isdecimal() and int(label) < len(names) and not numeric_names:
        return int(label)
    raise ConfigError(f"no class {label!r}{config.suggest(label, list(learnt))}")
