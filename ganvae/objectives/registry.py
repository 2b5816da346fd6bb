"""Finding objectives by their module's name, and building them from plain options."""

from __future__ import annotations

import math
import pkgutil
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ganvae.errors import ConfigError
from ganvae.objectives.base import Objective

_OTHERS = {"base", "registry", "codes"}


def names() -> list[str]:
    """The names of all objectives, sorted."""
    modules = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted(module.name for module in modules if module.name not in _OTHERS)


def get(name: str) -> type[Objective]:
    """The objective class of ``ganvae/objectives/<name>.py``. Raises ConfigError if unknown."""
    if name not in names():
        raise ConfigError(f"there is no objective {name!r}{_hint(name, names())}")
    module = import_module(f"ganvae.objectives.{name}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Objective)
        and value.__module__ == module.__name__
    ]
    assert len(found) == 1, f"{module.__name__} must define exactly one Objective"
    return found[0]


def build(name: str, options: Mapping[str, Any] | None = None) -> Objective:
    """The objective ``name`` with these fields changed; nested fields as nested mappings.

    Raises ConfigError for an unknown field or a value of the wrong type.
    """
    return _fill(get(name), options or {}, f"objective {name}")


def _fill(cls: Any, options: Mapping[str, Any], where: str, start: Any = None) -> Any:
    """An instance of a dataclass: ``start``'s fields (or the defaults), with these changed."""
    hints, known = get_type_hints(cls), [field.name for field in fields(cls)]
    defaults = {field.name: field.default for field in fields(cls)}
    values = {} if start is None else {name: getattr(start, name) for name in known}
    for key, value in options.items():
        if key not in known:
            raise ConfigError(f"{where} has no field {key!r}{_hint(key, known)}")
        present = values.get(key, defaults[key])
        values[key] = _convert(hints[key], value, f"{where}.{key}", present)
    return cls(**values)


def _convert(hint: Any, value: Any, where: str, present: Any) -> Any:
    if is_dataclass(hint):
        if isinstance(value, type(present)):
            return value
        if isinstance(value, Mapping):
            return _fill(hint, value, where, present)
    elif get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        raise ConfigError(f"{where} must be one of {', '.join(get_args(hint))}, got {value!r}")
    elif hint is bool:
        words = {"true": True, "yes": True, "false": False, "no": False}
        value = words.get(value.lower(), value) if isinstance(value, str) else value
        if isinstance(value, bool):
            return value
    elif hint in (int, float) and not isinstance(value, bool):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = None
        if number is not None and (hint is float or number.is_integer()):
            least = 1 if hint is int else 0
            if not least <= number < math.inf:
                raise ConfigError(f"{where} must be at least {least}, got {value}")
            return hint(number)
    elif hint is str and isinstance(value, str):
        return value
    raise ConfigError(f"{where} must be {getattr(hint, '__name__', hint)}, got {value!r}")


def _hint(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are {', '.join(known)}"
