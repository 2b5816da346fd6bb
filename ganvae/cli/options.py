"""Arguments and options that several commands have.

An argument's help is part of its type; the help of a :class:`Group`'s option is its docstring.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

MODEL = "A run's directory, a model's directory, or a Hub id"
SOURCES = "a folder, an array file, tar shards, Parquet, or a Hub name"
Model = Annotated[str, Parameter(help=f"{MODEL}.")]
Images = Annotated[
    str, Parameter(help="An image file, a folder, or anything else that can be trained on.")
]
Class = Annotated[str | None, Parameter(name="--class")]
ClassOfAll = Annotated[
    Class,
    Parameter(
        help="The class of all images, for a model of classes; unset: their sub-folders' names."
    ),
]
Truncation = Annotated[float | bool | None, Parameter(negative=())]
"""A number; ``--truncation`` alone is True, which as a number is 1."""
Threads = Annotated[int | None, Parameter(env_var="GANVAE_THREADS", show_env_var=True)]
Overrides = Annotated[dict[str, str], Parameter(parse=False)]
"""Settings by dotted name: see :mod:`ganvae.cli.overrides`."""


@Parameter(name="*")
class Group:
    """Base of dataclasses whose fields are options."""


@dataclass(frozen=True, kw_only=True)
class Machine(Group):
    """The device and threads that a model computes with."""

    device: str = "auto"
    """auto, cpu, cuda or mps."""
    threads: Threads = None
    """CPU threads; unset: all cores."""


@dataclass(frozen=True, kw_only=True)
class Work(Machine):
    """The last options of every command that writes files."""

    json: bool = False
    """Print which files were written as JSON."""
