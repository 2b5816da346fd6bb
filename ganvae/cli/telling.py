"""What commands print when they are done: JSON, scores, files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def tell_json(value: Any) -> None:
    """Prints ``value`` for a program."""
    print(json.dumps(value, indent=2, allow_nan=False))


def tell_scores(scores: Mapping[str, Any]) -> None:
    """Prints the table of an evaluation."""
    from rich import box
    from rich.table import Table

    from ganvae.progress import console
    from ganvae.report import conditions, figures

    table = Table("score", "value", "better", "real images", "compared", box=box.SIMPLE_HEAD)
    table.columns[0].no_wrap = True
    for row in figures(scores):
        why = row.how.rpartition("; ")[2] if row.value == "-" else row.counts
        table.add_row(row.name, row.value, row.better, row.real, why)
    out = console("stdout")
    out.print(table)
    out.print(conditions(scores), style="dim")


def tell_files(paths: Sequence[Path], as_json: bool) -> None:
    """Prints which files were written."""
    if as_json:
        print(json.dumps({"files": [str(path) for path in paths]}))
    elif paths:
        more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
        print(f"wrote {paths[0]}{more}")
