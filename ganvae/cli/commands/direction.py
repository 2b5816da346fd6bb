"""``ganvae direction``: which way in the latents an attribute lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ganvae.cli.options import Class, Group, Model, Work
from ganvae.cli.printing import tell_files
from ganvae.cli.work import loaded

Without = Annotated[
    str, Parameter(help="Images without the attribute; or of several classes; or any.")
]
Having = Annotated[str | None, Parameter(help="Images with it.")]


@dataclass(frozen=True, kw_only=True)
class Options(Group):
    """Which directions, of which images."""

    label: Class = None
    """Only the direction to this class. With HAVING or --principal: the class of all images, for
    a model of classes."""
    principal: int | None = None
    """So many principal directions."""
    n: int | None = None
    """Only the first n images of a folder; unset: all."""
    out: Path = Path("direction.npz")
    """An .npz file."""


def direction(
    model: Model,
    images: Without,
    having: Having = None,
    /,
    *,
    options: Options = Options(),
    work: Work = Work(),
) -> None:
    """Learn which way in the latents an attribute lies, for `ganvae edit`.

    From IMAGES to HAVING; or, of IMAGES alone, to each class of its sub-folders from the others;
    or, where nothing is known of IMAGES, the ways in which they vary most.
    """
    from ganvae import tasks

    by_class = having is None and options.principal is None
    with loaded(model, work) as (ready, progress):
        files = tasks.direction(
            ready,
            images,
            options.out,
            having=having,
            only=options.label if by_class else None,
            principal=options.principal,
            label=None if by_class else options.label,
            n=options.n,
            progress=progress,
        )
    tell_files(files, work.json)
