"""The interfaces by which long work reports its progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, how much of it is done, and how much there is, if known."""


class Display:
    """A silent display of a training; subclasses show what these methods get."""

    def start(self, budget: str) -> None:
        """Training begins; budget: how long it lasts, as the configuration says it."""

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
        """The state of the training; called about twice a second.

        losses: the latest loss of each network
        remaining_s: seconds left at this speed
        score: the latest held-out score, once there is one
        progress: the share of the budget that is spent, in [0, 1]
        """

    def message(self, text: str) -> None:
        """A sentence for the user: a stage begins, an alarm, a skipped step."""

    def close(self) -> None:
        """Training has ended, also by an error."""
