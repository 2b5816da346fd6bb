"""``ganvae generate``: new images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from ganvae.cli.options import Class, Group, Model, Truncation, Work
from ganvae.cli.printing import tell_files
from ganvae.cli.work import loaded


@dataclass(frozen=True, kw_only=True)
class Options(Group):
    """How many, of what, and how drawn."""

    n: int = 64
    """How many."""
    label: Class = None
    """Only of this class, by name or number, where the model knows classes."""
    like: str | None = None
    """An image file: new ones around it, from its posterior."""
    seed: int = 0
    """Image i of a seed is always the same."""
    temperature: float = 1.0
    """Below 1: more typical, less various; with --like closer to it."""
    prior: str | None = None
    """What z is drawn from: normal, mixture or flow; unset: the one chosen after training."""
    truncation: Truncation = None
    """The normal numbers that z is made of stay within so many standard deviations (1 if alone);
    the smaller, the more typical and less various. Unset: no limit."""
    out: Path = Path("samples.png")
    """A .png for one grid, else a folder of single images."""


def generate(model: Model, /, *, options: Options = Options(), work: Work = Work()) -> None:
    """Make new images."""
    from ganvae import tasks

    settings = asdict(options)
    if options.truncation is not None:
        settings["truncation"] = float(options.truncation)
    with loaded(model, work) as (ready, progress):
        files = tasks.generate(ready, progress=progress, **settings)
    tell_files(files, work.json)
