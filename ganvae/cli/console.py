"""Consoles for stdout and stderr."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any, TextIO

from rich.console import Console as RichConsole
from rich.text import Text

from ganvae.telling import plain


class Console(RichConsole):
    """A console that prints text literally, without markup or control characters.

    A closed pipe raises BrokenPipeError.
    """

    def __init__(self, file: TextIO, width: int | None = None, **options: Any):
        super().__init__(
            file=file, width=width, highlight=False, markup=False, emoji=False, **options
        )

    def render_str(self, text: str, **options: Any) -> Text:
        """Called by rich for strings that are printed and for those in tables."""
        return super().render_str(plain(text), **options)

    def on_broken_pipe(self) -> None:
        """Rich would end the process here."""
        raise BrokenPipeError


def console(stream: str = "stderr") -> Console:
    """A console on ``sys.stderr`` or ``sys.stdout``, or on nothing where that is closed.

    Where it is no terminal, lines are not wrapped and have no colours.
    """
    file: TextIO | None = getattr(sys, stream)
    if file is None or file.closed:
        file = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    width = None if file.isatty() else min(shutil.get_terminal_size((100, 24)).columns, 1000)
    return Console(file, width, soft_wrap=False)
