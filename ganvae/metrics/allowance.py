"""A time limit on judging, and notes on what was left out to keep it."""

from __future__ import annotations

import math
import time


class Allowance:
    """A limit on the time that judging may take, counted from when this is made.

    seconds: unset: no limit, and then nothing depends on the clock
    """

    def __init__(self, seconds: float | None = None):
        self.seconds = math.inf if seconds is None else max(0.0, seconds)
        self._end = time.monotonic() + self.seconds
        self.shortened: list[str] = []
        """What was left out or cut short, a sentence each."""

    @property
    def bounded(self) -> bool:
        """Whether there is a limit."""
        return self.seconds < math.inf

    def left(self) -> float:
        """Seconds that are left, 0 or more."""
        return max(0.0, self._end - time.monotonic()) if self.bounded else math.inf

    def part(self, share: float) -> Allowance:
        """This share of the seconds left. Both share one list of notes."""
        part = Allowance(share * self.left() if self.bounded else None)
        part.shortened = self.shortened
        return part
