"""What a model can be trained for: one row a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TaskName = Literal["generate", "complete", "translate"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a model is trained for, and the words for it.

    verb: the method of a model that does it, which is also the command
    origin: what its images are made from: None for nothing, "given" for what ``data.origin`` says,
        else a kind of :class:`ganvae.data.origins.Origin`
    objective: what learns it where none is named
    unpaired: the same where source and target are no pairs; unset: ``objective``
    does: "generates images"
    done: what then has happened to an image
    example: its use in Python; ``{source}`` stands for the number of a source's channels
    """

    verb: Literal["generate", "complete", "translate"]
    origin: str | None
    objective: str
    unpaired: str | None = None
    does: str
    done: str
    example: str

    @property
    def from_sources(self) -> bool:
        """Whether it starts from source images."""
        return self.origin is not None

    def starts_from(self, origin: str) -> str | None:
        """What the images are made from where ``data.origin`` is this."""
        return origin if self.origin == "given" else self.origin


TASKS: dict[str, Task] = {
    "generate": Task(
        verb="generate",
        origin=None,
        objective="gan_vae",
        does="generates images",
        done="generated",
        example="images = model.generate(16, seed=0)  # (16, C, H, W) in [-1, 1]",
    ),
    "complete": Task(
        verb="complete",
        origin="masked",
        objective="completion",
        does="fills in what is missing in images",
        done="completed",
        example=(
            "# images (B, C, H, W) in [-1, 1]; masks (B, 1, H, W), 1 is filled in\n"
            "variants = model.complete(images, masks, variants=4)  # (B, 4, C, H, W)"
        ),
    ),
    "translate": Task(
        verb="translate",
        origin="given",
        objective="bicycle",
        unpaired="unit",
        does="makes images from source images",
        done="translated",
        example=(
            "# sources (B, {source}, H, W) in [-1, 1]\n"
            "variants = model.translate(sources, variants=4)  # (B, 4, C, H, W)"
        ),
    ),
}
