"""Figures that compare features, a file each: another file here is another figure.

A file offers the two functions of :class:`Metric`. Its figures follow those of :data:`FIRST`.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from ganvae.metrics.judge import Judge
from ganvae.metrics.sides import Meaning, Sides

FIRST = ("kid", "fid", "neighbours", "diversity")
"""The files whose figures come first, in this order."""


class Metric(Protocol):
    """The functions of a file in this folder."""

    def values(self, sides: Sides, /) -> dict[str, float]:
        """Values by the keys of the figures, standard errors by ``KEY_error``.

        Those that so few images do not give are left out.
        """

    def figures(self, judge: Judge, few: int, /) -> Iterable[Meaning]:
        """What the figures mean; few: images on the smaller side, which may be 0."""


def names() -> list[str]:
    """The files of this folder, in the order of their figures."""
    files = {path.stem for path in Path(__file__).parent.glob("*.py")} - {"__init__"}
    return [*FIRST, *sorted(files.difference(FIRST))]


def metrics() -> list[Metric]:
    """The files of this folder."""
    return [cast(Metric, import_module(f"{__name__}.{name}")) for name in names()]
