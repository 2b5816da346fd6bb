"""``ganvae encode``: the latents of images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from ganvae.cli.options import ClassOfAll, Group, Images, Model, Work
from ganvae.cli.printing import tell_files
from ganvae.cli.work import loaded


@dataclass(frozen=True, kw_only=True)
class Options(Group):
    """Which images, and where their latents go."""

    n: int | None = None
    """Only the first n images; unset: all."""
    label: ClassOfAll = None
    out: Path = Path("latents.npz")
    """An .npz file of arrays; the images' names go into a .json file beside it."""


def encode(
    model: Model, images: Images, /, *, options: Options = Options(), work: Work = Work()
) -> None:
    """Write the latents of images: mean and log-variance of each one's posterior."""
    from ganvae import tasks

    with loaded(model, work) as (ready, progress):
        files = tasks.encode(ready, images, progress=progress, **asdict(options))
    tell_files(files, work.json)
