"""Prints what commands report: lines, JSON, scores and files."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from ganvae.telling import line

_ALIKE = {"±": "+-", "…": "...", "·": "-", "–": "-", "×": "x", "≤": "<=", "≥": ">=", "\ufffd": "?"}
"""Replacements for characters that a terminal's encoding does not have."""


def tell(*lines: str, to: TextIO | None = None) -> None:
    """Prints lines, without control characters; to: unset: ``sys.stdout``."""
    print("\n".join(map(line, lines)), file=to or sys.stdout, flush=to is not None)


def adapt(stream: TextIO | None) -> None:
    """Makes a stream replace the characters that its encoding lacks."""
    codecs.register_error("ganvae", _alike)
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="ganvae")


def _alike(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(
        _ALIKE.get(c) or c.encode("ascii", "backslashreplace").decode() for c in characters
    ), error.end


def tell_json(value: Any) -> None:
    """Prints JSON, in ASCII."""
    tell(*json.dumps(value, indent=2, allow_nan=False).split("\n"))


def tell_scores(scores: Mapping[str, Any]) -> None:
    """Prints the table of an evaluation."""
    from rich import box
    from rich.table import Table

    from ganvae.cli.console import console
    from ganvae.pages.scores import alarms, conditions, missing, rows

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
        tell(json.dumps({"files": [str(path) for path in paths]}))
    elif paths:
        more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
        tell(f"wrote {paths[0]}{more}")
