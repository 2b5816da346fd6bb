"""Finding objectives by their module's name, and building them from plain options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any

from ganvae import outline
from ganvae.config import fill, suggest
from ganvae.errors import ConfigError, RangeError
from ganvae.objectives.base import Objective

names = outline.objectives


def get(name: str) -> type[Objective]:
    """The objective class of ``ganvae/objectives/<name>.py``. Raises ConfigError if unknown."""
    if name not in names():
        raise ConfigError(f"there is no objective {name!r}{suggest(name, names())}")
    module = import_module(f"ganvae.objectives.{name}")
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Objective)
        and value.__module__ == module.__name__
    ]
    assert len(classes) == 1, f"{module.__name__} must define exactly one Objective"
    return classes[0]


def build(name: str, options: Mapping[str, Any] | None = None) -> Objective:
    """The objective ``name`` with these fields changed; nested fields as nested mappings.

    Raises ConfigError for an unknown field, a value of the wrong type or sign, or stages that
    cannot be.
    """
    where, default = f"objective {name}", get(name)()
    objective = fill(default, options or {}, where)
    _check(objective, default, where)
    try:
        objective.stages()
    except RangeError as error:  # its text begins with the field
        raise RangeError(f"{where}.{error}") from None
    return objective


def _check(settings: Any, default: Any, where: str) -> None:
    """Raises ConfigError for a changed number below what any field of an objective may be."""
    for item in fields(settings):
        value, before = getattr(settings, item.name), getattr(default, item.name)
        if is_dataclass(value):
            _check(value, before, f"{where}.{item.name}")
        elif value != before and isinstance(value, (int, float)) and not isinstance(value, bool):
            least = 1 if isinstance(value, int) else 0
            if value < least:
                raise ConfigError(f"{where}.{item.name} must be at least {least}, got {value}")
