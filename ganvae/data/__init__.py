"""Images: sources, the packed store, the split, batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganvae.data.batches import Batches
    from ganvae.data.dataset import Data, open_data
    from ganvae.data.manifest import Difference, Manifest, difference
    from ganvae.data.subset import Images

_HOMES = {
    "Batches": "batches",
    "Data": "dataset",
    "Difference": "manifest",
    "Images": "subset",
    "Manifest": "manifest",
    "difference": "manifest",
    "open_data": "dataset",
}

__all__ = ["Batches", "Data", "Difference", "Images", "Manifest", "difference", "open_data"]


def __getattr__(name: str) -> Any:
    # decoding processes import this package too, and must not wait for torch
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
