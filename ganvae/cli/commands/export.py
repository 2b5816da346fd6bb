"""``ganvae export``: a model for other programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ganvae.cli.options import Group, Model, Work
from ganvae.cli.printing import tell_files
from ganvae.cli.work import loaded


@dataclass(frozen=True, kw_only=True)
class Options(Group):
    """Into what, and where to."""

    to: str = "pt2"
    """The format; pt2: programs of torch.export, which run without ganvae."""
    out: Path = Path("export")
    """The folder that the files go into."""


def export(model: Model, /, *, options: Options = Options(), work: Work = Work()) -> None:
    """Write a model for other programs."""
    from ganvae import exports

    with loaded(model, work) as (ready, _):
        files = exports.write(ready, options.to, options.out)
    tell_files(files, work.json)
