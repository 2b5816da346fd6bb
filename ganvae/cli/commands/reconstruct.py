"""``ganvae reconstruct``: images encoded and decoded again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from ganvae.cli.options import ClassOfAll, Group, Images, Model, Work
from ganvae.cli.printing import tell_files
from ganvae.cli.work import loaded


@dataclass(frozen=True, kw_only=True)
class Options(Group):
    """Which images, and what becomes of them."""

    n: int | None = None
    """Only the first n images; unset: all, 32 for a grid."""
    label: ClassOfAll = None
    seed: int | None = None
    """From a sample of the posterior; unset: from its mean."""
    out: Path = Path("reconstructions.png")
    """A .png for one grid, originals above reconstructions, else a folder of single images."""


def reconstruct(
    model: Model, images: Images, /, *, options: Options = Options(), work: Work = Work()
) -> None:
    """Encode images and decode them again."""
    from ganvae import tasks

    with loaded(model, work) as (ready, progress):
        files = tasks.reconstruct(ready, images, progress=progress, **asdict(options))
    tell_files(files, work.json)
