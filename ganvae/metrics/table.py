"""An evaluation as rows of a table."""

from __future__ import annotations

from typing import Any

from ganvae.metrics.figures import Better

Row = tuple[str, float | None, Better, str]
"""Name, value (None: the note says why), which direction is better, and a note."""


def rows(evaluation: dict[str, Any]) -> list[Row]:
    """The figures of :func:`evaluate`'s result, each followed by its real-against-real one."""
    table = []
    for key, figure in evaluation["figures"].items():
        table.append(_row(figure, figure["name"]))
        if real := evaluation["reference"].get(key):
            table.append(_row(real, f"{figure['name']}, training images"))
    return table


def _row(figure: dict[str, Any], name: str) -> Row:
    return name, figure["value"], figure["better"], "; ".join(filter(None, _notes(figure)))


def _notes(figure: dict[str, Any]) -> list[str]:
    counts = [
        f"{figure[key]:,} {what}"
        for key, what in (("n_generated", "generated"), ("n_train", "training"))
        if figure[key]
    ]
    if figure["n_heldout"]:
        counts.append(f"{figure['n_heldout']:,} held-out")
    error = f"± {figure['error']:.2g}" if figure["error"] is not None else ""
    return [error, figure["note"], figure["judge"] or "", " / ".join(counts)]
