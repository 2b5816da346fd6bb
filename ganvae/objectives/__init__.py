"""One paper, one file. An objective is found by the name of its module."""

from __future__ import annotations

from ganvae.objectives.base import refuse_classes
from ganvae.objectives.registry import build, get, names

__all__ = ["build", "get", "names", "refuse_classes"]
