"""JSON from anybody to the types that a class declares, and to nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ganvae import config
from ganvae.errors import ConfigError
from ganvae.telling import shown, some
from ganvae.types import Shape

Limits = tuple[float, float]

LIMITS: dict[tuple[type, str], Limits] = {
    (Shape, "channels"): (1, 64),
    (Shape, "height"): config.LIMITS["data.size"],
    (Shape, "width"): config.LIMITS["data.size"],
    (Shape, "latent"): config.LIMITS["networks.latent"],
    (Shape, "classes"): (0, 10**6),
    (Shape, "source"): (0, 65),
} | {
    (config.Networks, name.partition(".")[2]): limits
    for name, limits in config.LIMITS.items()
    if name.startswith("networks.")
}
"""Smallest and largest values of integers that decide how much memory a network takes."""

OTHER_LIMITS: Limits = (0, 2**63 - 1)
MAX_ITEMS, MAX_DEPTH = 100_000, 12


def parse(hint: Any, value: Any, where: str) -> Any:
    """A value of the type ``hint`` from JSON data: dataclasses, scalars, tuples, dictionaries.

    Nothing is converted but lists to tuples and integers to floats. A field may give the smallest
    and largest value of its integers in its metadata, as "limits".
    Raises ConfigError for anything unknown, missing, mistyped or absurd.
    """
    origin = get_origin(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return _fields(hint, value, where)
    if origin is Literal:
        if any(value == choice and type(value) is type(choice) for choice in get_args(hint)):
            return value
        choices = ", ".join(repr(choice) for choice in get_args(hint))
        raise ConfigError(f"{where} must be one of {choices}, got {shown(value)}")
    if origin in (Union, UnionType):
        kinds = get_args(hint)
        if value is None and NoneType in kinds:
            return None
        return parse(next(kind for kind in kinds if kind is not NoneType), value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple) or len(value) > MAX_ITEMS:
            raise ConfigError(f"{where} must be a list, got {shown(value)}")
        kind = get_args(hint)[0]
        return tuple(parse(kind, item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where} must be a mapping, got {shown(value)}")
        plain_json(value, where)
        return value
    return _scalar(hint, value, where)


def _fields(cls: type, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} must be a mapping, got {shown(value)}")
    hints = get_type_hints(cls)
    declared = {field.name: field for field in fields(cls)}
    unknown = [key for key in value if key not in declared]
    if unknown:
        raise ConfigError(
            f"{where} has unknown keys: {some(list(map(shown, unknown)))}; this "
            f"version of ganvae knows {', '.join(declared)}"
        )
    missing = [
        name
        for name, field in declared.items()
        if name not in value and field.default is MISSING and field.default_factory is MISSING
    ]
    if missing:
        raise ConfigError(f"{where} lacks {', '.join(missing)}")
    values = {}
    for name, item in value.items():
        values[name] = parse(hints[name], item, f"{where}.{name}")
        if type(values[name]) is int:
            limits = LIMITS.get((cls, name), OTHER_LIMITS)
            low, high = declared[name].metadata.get("limits", limits)
            if not low <= values[name] <= high:
                raise ConfigError(
                    f"{where}.{name} must be between {low} and {high}, got {shown(values[name])}"
                )
    return cls(**values)


def _scalar(hint: type, value: Any, where: str) -> Any:
    if hint is float and type(value) in (int, float) and _finite(value):
        return float(value)
    if hint in (bool, int) and type(value) is hint:
        return value
    if hint is str and isinstance(value, str):
        if len(value) > config.MAX_TEXT:
            raise ConfigError(
                f"{where} is {len(value):,} characters long, at most {config.MAX_TEXT:,}"
            )
        return value
    raise ConfigError(f"{where} must be {_NAMES.get(hint, hint)}, got {shown(value)}")


_NAMES = {float: "a number", bool: "true or false", int: "a whole number", str: "text"}


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def plain_json(value: Any, where: str, depth: int = 0) -> None:
    """Raises ConfigError unless ``value`` is short, shallow JSON."""
    if depth > MAX_DEPTH:
        raise ConfigError(f"{where} is nested too deeply")
    if isinstance(value, dict):
        for key, item in value.items():
            _scalar(str, key, f"a key of {where}")
            plain_json(item, f"{where}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            plain_json(item, f"{where}[{i}]", depth + 1)
    elif isinstance(value, float):
        _scalar(float, value, where)
    elif isinstance(value, str):
        _scalar(str, value, where)
    elif not isinstance(value, bool | int | None):
        raise ConfigError(f"{where} cannot be written as JSON: {shown(value)}")
