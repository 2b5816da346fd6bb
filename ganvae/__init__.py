"""Train, judge and use hybrids of a variational autoencoder and a GAN on your own images.

>>> import ganvae
>>> run = ganvae.train("photos/", size=64, budget="30m", out="runs/photos")
>>> model = ganvae.load("runs/photos")
>>> images = model.generate(16, seed=0)  # (16, C, H, W) in [-1, 1]

Nothing heavy is imported until a verb is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ganvae.version import VERSION

if TYPE_CHECKING:
    from ganvae.api import Run, Tournament, check, compare, evaluate, load, tournament, train

__version__ = VERSION
__all__ = [
    "Run",
    "Tournament",
    "__version__",
    "check",
    "compare",
    "evaluate",
    "load",
    "tournament",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("ganvae.api"), name)
    raise AttributeError(f"module 'ganvae' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
