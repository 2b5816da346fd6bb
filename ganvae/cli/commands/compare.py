"""``ganvae compare``: several runs on one page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ganvae.cli.options import Group, Machine
from ganvae.cli.printing import tell_files
from ganvae.cli.work import working

Runs = Annotated[str, Parameter(help="The runs' directories.")]
Json = Annotated[bool, Parameter(help="Print which file was written as JSON.")]


@dataclass(frozen=True, kw_only=True)
class Options(Group):
    """The page and what is drawn for it."""

    out: Path = Path("comparison.html")
    """The page."""
    seed: int = 0
    """Of the samples, the same for every run."""


def compare(
    *runs: Runs,
    options: Options = Options(),
    machine: Machine = Machine(),
    json: Json = False,
) -> None:
    """Show several runs side by side on one self-contained page.

    Their scores, samples of the same seed, reconstructions of the same held-out images, curves,
    and what differs between their settings.
    """
    from ganvae import api

    with working(machine) as progress:
        page = api.compare(
            runs, options.out, seed=options.seed, device=machine.device, progress=progress
        )
    tell_files([page], json)
