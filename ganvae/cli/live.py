"""Progress displays: live on a terminal, a plain line every few seconds everywhere else."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from ganvae.cli.console import Console, console
from ganvae.progress import Display
from ganvae.telling import clock, redacted

_SCORES = ("kid", "fid", "mse", "psnr")


def display(where: Console | None = None) -> Display:
    """A :class:`LiveDisplay` on a terminal, else a :class:`LineDisplay`."""
    where = where or console()
    return LiveDisplay(where) if where.is_terminal else LineDisplay(where)


class LineDisplay(Display):
    """A plain line every ``every`` seconds."""

    def __init__(self, where: Console, every: float = 10.0):
        self.console, self.every = where, every
        self._next = 0.0

    def start(self, budget: str) -> None:
        """Prints the budget."""
        self.message(f"training for {budget}")

    def update(
        self,
        step: int,
        images: int,
        images_per_s: float,
        losses: Mapping[str, float],
        remaining_s: float,
        score: Mapping[str, float] | None,
        progress: float,
    ) -> None:
        """Prints a line, if the last one was long enough ago."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self.every
        parts = [
            f"{progress:4.0%}",
            f"step {step:,}",
            f"{images_per_s:,.0f} images/s",
            "loss " + " ".join(f"{name} {value:.3g}" for name, value in losses.items()),
            f"{clock(remaining_s)} left",
        ]
        if score:
            parts.append("held-out " + scores(score))
        self.message(" · ".join(parts))

    def message(self, text: str) -> None:
        """Prints a line; if the stream was closed, training goes on without output."""
        try:
            self.console.print(redacted(text), soft_wrap=True)
            self.console.file.flush()
        except (OSError, ValueError):
            self.console = Console(open(os.devnull, "w"))  # noqa: SIM115


class LiveDisplay(Display):
    """A bar and the numbers under it, redrawn in place; messages scroll by above."""

    def __init__(self, where: Console):
        self.console = where
        self._live = Live(console=where, refresh_per_second=4, transient=False)

    def start(self, budget: str) -> None:
        """Draws an empty bar."""
        self._live.start()
        self._live.update(f"training for {budget} …", refresh=True)

    def update(
        self,
        step: int,
        images: int,
        images_per_s: float,
        losses: Mapping[str, float],
        remaining_s: float,
        score: Mapping[str, float] | None,
        progress: float,
    ) -> None:
        """Redraws."""
        head = Table.grid(padding=(0, 2))
        head.add_row(
            ProgressBar(total=1.0, completed=progress, width=30),
            f"{progress:.0%}",
            f"{clock(remaining_s)} left",
        )
        body = Table.grid(padding=(0, 2))
        body.add_column(style="dim")
        body.add_row("step", f"{step:,}  ({images:,} images, {images_per_s:,.0f}/s)")
        text = "  ".join(f"{name} {value:.4g}" for name, value in losses.items())
        body.add_row("losses", text)
        body.add_row("held-out", scores(score) if score else "not yet")
        both = Table.grid()
        both.add_row(head)
        both.add_row(body)
        self._live.update(both)

    def message(self, text: str) -> None:
        """Prints a line above the bar."""
        self.console.print(redacted(text), style="yellow")

    def close(self) -> None:
        """Ends the updates; the last one stays on the screen."""
        self._live.stop()


class Tracker:
    """A :data:`ganvae.progress.Progress` that shows a bar or lines.

    after: seconds before anything is shown
    every: seconds between two lines where there is no terminal
    """

    def __init__(self, where: Console, after: float = 2.0, every: float = 10.0):
        self.console, self.after, self.every = where, after, every
        self._what, self._began, self._shown_at = "", time.monotonic(), 0.0
        self._live: Live | None = None

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Shows that ``done`` of ``total`` (None: unknown) are done of ``what``."""
        now = time.monotonic()
        if total is not None and done >= total:
            self.close()
            return
        if what != self._what:
            self._what, self._began, self._shown_at = what, now, 0.0
        spent = now - self._began
        if spent < self.after or (
            not self.console.is_terminal and now - self._shown_at < self.every
        ):
            return
        self._shown_at = now
        remaining = f"{clock(spent * (total - done) / max(done, 1))} left" if total else ""
        count = f"{done:,}/{total:,}" if total else f"{done:,}"
        if not self.console.is_terminal:
            self.console.print(f"{what} {count} {remaining}".strip(), soft_wrap=True)
            return
        if self._live is None:
            self._live = Live(console=self.console, refresh_per_second=4, transient=True)
            self._live.start()
        line = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=total, completed=done, width=30, pulse=not total)
        line.add_row(bar, count, what, remaining)
        self._live.update(line)

    def close(self) -> None:
        """Removes the bar."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def scores(score: Mapping[str, Any]) -> str:
    """A quick score in one line."""
    numbers = {name: value for name, value in score.items() if isinstance(value, (int, float))}
    names = [name for name in _SCORES if name in numbers] or list(numbers)[:3]
    return "  ".join(f"{name.upper()} {numbers[name]:.4g}" for name in names)
