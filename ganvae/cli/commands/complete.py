"""``ganvae complete``: what is missing in a picture, filled in."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ganvae.cli.options import MODEL, Group, Work
from ganvae.cli.printing import tell_files
from ganvae.cli.work import loaded

Model = Annotated[str, Parameter(help=f"{MODEL}; trained with --task complete.")]
Image = Annotated[str, Parameter(help="The picture, of any size, or a folder of them.")]


@dataclass(frozen=True, kw_only=True)
class Options(Group):
    """Where the hole is, and what is put there."""

    mask: str | None = None
    """An image of the same size, white (or opaque, or coloured) where to fill in; of a folder of
    pictures one for all, or a folder of masks of their names."""
    mask_colour: str | None = None
    """Instead: fill in every pixel of this colour, #rrggbb or a name."""
    mask_alpha: bool = False
    """Instead: fill in every pixel that is not opaque."""
    invert_mask: bool = False
    """Fill in what is not marked, and keep what is."""
    variants: int = 4
    """How many different ones."""
    context: float = 2.0
    """Of a picture larger than the model's: how much is shown to it, over the hole's thickness."""
    seed: int = 0
    """Variant v of a seed is always the same."""
    out: Path = Path("completions")
    """A folder: a PNG a variant, sheet.png and index.json; for one variant also a .png. Of a
    folder of pictures: such a folder, or for one variant a PNG, of each one's name."""


def complete(
    model: Model, image: Image, /, *, options: Options = Options(), work: Work = Work()
) -> None:
    """Fill in what is missing in a picture; everything else keeps its value, to the last bit."""
    from ganvae import tasks

    with loaded(model, work) as (ready, progress):
        files = tasks.complete(ready, image, progress=progress, **asdict(options))
    tell_files(files, work.json)
