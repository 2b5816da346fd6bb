"""``ganvae interpolate``: from image to image through the latents."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ganvae.cli.options import ClassOfAll, Group, Model, Work
from ganvae.cli.printing import tell_files
from ganvae.cli.work import loaded

Ends = Annotated[
    str,
    Parameter(
        help="Image files, or a folder or anything else that can be trained on; unset: images "
        "that the model makes."
    ),
]


@dataclass(frozen=True, kw_only=True)
class Options(Group):
    """How finely, between which images, and into what."""

    steps: int = 9
    """Images from one to the next, both included."""
    n: int | None = None
    """Only the first n images; unset: 9, or 8 for a film."""
    label: ClassOfAll = None
    seed: int = 0
    """Of the images that the model makes."""
    milliseconds: int = 80
    """Of each frame of a film."""
    out: Path = Path("interpolation.png")
    """A .png for one grid, a .gif, .webp or .mp4 for a film, else a folder of single images."""


def interpolate(
    model: Model, /, *images: Ends, options: Options = Options(), work: Work = Work()
) -> None:
    """Go from each image to the next, through the latents."""
    from ganvae import tasks

    ends = (images if len(images) > 1 else images[0]) if images else None
    with loaded(model, work) as (ready, progress):
        files = tasks.interpolate(ready, ends, progress=progress, **asdict(options))
    tell_files(files, work.json)
