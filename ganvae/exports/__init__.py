"""A model in other programs' formats: a file a format, found by its name.

Each file has a ``write(model, folder)``, which checks what it has written against the model and
returns the paths.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path

from ganvae.config import suggest
from ganvae.errors import ConfigError
from ganvae.models import Model


def names() -> list[str]:
    """The formats, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def write(model: Model, kind: str, folder: str | Path) -> list[Path]:
    """Writes a model in a format into a folder, which is made, and returns the files.

    kind: one of :func:`names`

    Raises ConfigError for an unknown format, and for a model that it cannot hold.
    """
    if kind not in names():
        raise ConfigError(f"there is no format {kind!r}{suggest(kind, names())}")
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file: name a folder for the export")
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = import_module(f"{__name__}.{kind}").write(model, folder)
    return paths
