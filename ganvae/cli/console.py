"""Where the command line writes to."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any, TextIO

from rich.console import Console as RichConsole
from rich.text import Text

from ganvae.telling import plain


class Console(RichConsole):
    """One that shows text as it is: nothing in it is markup, or obeyed by the terminal.

    It leaves it to its user what follows when nobody listens any more.
    """

    def __init__(self, file: TextIO, width: int | None = None, **options: Any):
        super().__init__(
            file=file, width=width, highlight=False, markup=False, emoji=False, **options
        )

    def render_str(self, text: str, **options: Any) -> Text:
        """What is printed, and what stands in tables, unless it is more than text already."""
        return super().render_str(plain(text), **options)

    def on_broken_pipe(self) -> None:
        """Rich would end the process here."""
        raise BrokenPipeError


def console(stream: str = "stderr") -> Console:
    """A console on ``sys.stderr`` or ``sys.stdout``, or on nothing where that is closed.

    Off a terminal its lines are as long as they are, and without colours.
    """
    file: TextIO | None = getattr(sys, stream)
    if file is None or file.closed:
        file = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    width = None if file.isatty() else min(shutil.get_terminal_size((100, 24)).columns, 1000)
    return Console(file, width, soft_wrap=False)
