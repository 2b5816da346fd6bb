"""``ganvae edit``: images changed along directions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ganvae.cli.options import ClassOfAll, Group, Images, Model, Work
from ganvae.cli.printing import tell_files
from ganvae.cli.work import loaded

Directions = Annotated[Path, Parameter(help="The .npz file of directions.")]
Amounts = Annotated[list[float] | None, Parameter(name="--amount", consume_multiple=True)]


@dataclass(frozen=True, kw_only=True)
class Options(Group):
    """How far, along which direction, and which images."""

    amount: Amounts = None
    """How far, in standard deviations; several make a strip; unset: 2."""
    which: str | None = None
    """One direction of the file, by name or number; unset: all, a row each."""
    n: int | None = None
    """Only the first n images; unset: all, 32 for a grid."""
    label: ClassOfAll = None
    out: Path = Path("edited.png")
    """A .png for the image or a grid, originals first, else a folder of single images."""


def edit(
    model: Model,
    images: Images,
    /,
    *,
    direction: Directions,
    options: Options = Options(),
    work: Work = Work(),
) -> None:
    """Change images along directions that `ganvae direction` has learnt."""
    from ganvae import tasks

    with loaded(model, work) as (ready, progress):
        files = tasks.edit(
            ready,
            images,
            direction,
            options.out,
            amounts=options.amount or (2.0,),
            which=options.which,
            label=options.label,
            n=options.n,
            progress=progress,
        )
    tell_files(files, work.json)
