"""``ganvae translate``: images made from source images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ganvae.cli.options import MODEL, Group, Work
from ganvae.cli.printing import tell_files
from ganvae.cli.work import loaded

Model = Annotated[str, Parameter(help=f"{MODEL}; trained with --task translate.")]
Sources = Annotated[
    str,
    Parameter(
        help="The sources: an image file, a folder, or anything else that can be trained on."
    ),
]


@dataclass(frozen=True, kw_only=True)
class Options(Group):
    """How many, from which sources, and in which direction."""

    variants: int = 4
    """How many of each."""
    reverse: bool = False
    """From images to sources, where the model learnt from unpaired sets."""
    n: int | None = None
    """Only the first n images; unset: all, 32 for a sheet."""
    seed: int = 0
    """Variant v of image i of a seed is always the same."""
    out: Path = Path("translations")
    """A folder: a PNG a variant, sheet.png and index.json; or a .png, the sheet alone."""


def translate(
    model: Model, images: Sources, /, *, options: Options = Options(), work: Work = Work()
) -> None:
    """Make images from source images: outlines, grey or small ones, or those of another kind."""
    from ganvae import tasks

    with loaded(model, work) as (ready, progress):
        files = tasks.translate(ready, images, progress=progress, **asdict(options))
    tell_files(files, work.json)
