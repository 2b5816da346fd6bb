"""How work that takes long says how far it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, how much of it is done, and how much there is, if known."""


class Display:
    """A silent display. Others show what these methods are told."""

    def start(self, budget: str) -> None:
        """Training begins. ``budget`` says for how long, as the configuration has it."""

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
        """Where the training is; called about twice a second.

        losses: the latest loss of each network
        remaining_s: seconds left at this speed
        score: the latest held-out score, once there is one
        progress: the share of the budget that is spent, in [0, 1]
        """

    def message(self, text: str) -> None:
        """Something to read: a stage begins, an alarm, a skipped step."""

    def close(self) -> None:
        """Training has ended, one way or another."""
