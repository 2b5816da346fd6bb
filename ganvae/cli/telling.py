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
    from ganvae.scores import alarms, conditions, missing, rows

    table = Table("score", "value", "better", "real images", "reading", box=box.SIMPLE_HEAD)
    for column in table.columns[:2]:
        column.no_wrap = True
    for row in rows(scores):
        table.add_row(row.name, row.value, row.better, row.real, row.reading)
    out = console("stdout")
    out.print(table)
    for sentence in (conditions(scores), *missing(scores)):
        out.print(sentence, style="dim", markup=False)
    for sentence in alarms(scores):
        out.print(sentence, style="bold", markup=False)


def tell_files(paths: Sequence[Path], as_json: bool) -> None:
    """Prints which files were written."""
    if as_json:
        print(json.dumps({"files": [str(path) for path in paths]}))
    elif paths:
        more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
        print(f"wrote {paths[0]}{more}")
