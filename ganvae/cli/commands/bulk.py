"""``ganvae bulk``: encode, generate and evaluate where there are millions of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from ganvae.cli.options import Class, Group, Model, Truncation
from ganvae.cli.printing import tell_files, tell_scores
from ganvae.errors import ConfigError

Verb = Annotated[
    Literal["encode", "generate", "evaluate"],
    Parameter(help="What to do: encode, generate or evaluate."),
]
Set = Annotated[
    str | None,
    Parameter(help="The images; not to generate, and to evaluate if not those of the run."),
]
Out = Annotated[Path, Parameter(help="The folder of Parquet files.")]
Json = Annotated[bool, Parameter(help="Print what was done as JSON.")]


@dataclass(frozen=True, kw_only=True)
class Options(Group):
    """How many, of what, and how; what is unset is as in the command for fewer images."""

    n: int | None = None
    """How many to generate, or to evaluate on each side."""
    start: int | None = None
    """The number of the first image to generate."""
    label: Class = None
    """Only of this class, or the class of all images that are encoded."""
    seed: int | None = None
    """Image i of a seed is always the same."""
    temperature: float | None = None
    """Below 1: more typical, less various."""
    prior: str | None = None
    """What z is drawn from: normal, mixture or flow."""
    truncation: Truncation = None
    """Standard deviations within which the normal numbers that z is made of stay; 1 if alone."""
    spread: bool | None = None
    """Also write the logarithm of the posteriors' variance."""


@dataclass(frozen=True, kw_only=True)
class Sharing(Group):
    """How the work is shared out."""

    part: int | None = None
    """Images a Parquet file, about; what is lost where an actor is stopped."""
    batch: int | None = None
    """Images computed at once."""
    actors: int | None = None
    """Models at work; 0: one, in this process, without Ray; unset: one a GPU, else one a core."""
    gpus: float | None = None
    """GPUs for each actor."""


def bulk(
    what: Verb,
    model: Model,
    data: Set = None,
    /,
    *,
    out: Out,
    options: Options = Options(),
    sharing: Sharing = Sharing(),
    json: Json = False,
) -> None:
    """Encode, generate or evaluate very many images, in parts and by many workers.

    The folder OUT is filled with Parquet files; the same command goes on where it was stopped.
    """
    from ganvae import bulk as verbs
    from ganvae.cli.console import console
    from ganvae.cli.live import Tracker

    values = {k: v for k, v in {**asdict(options), **asdict(sharing)}.items() if v is not None}
    if "truncation" in values:
        values["truncation"] = float(values["truncation"])
    verb: Callable[..., Any] = getattr(verbs, what)
    arguments, keywords = _fitting(what, verb, data, values)
    with Tracker(console()) as progress:
        result = verb(model, *arguments, out, progress=progress, **keywords)
    if what != "evaluate":
        tell_files(result.parts, json)
    elif json:
        tell_files([out / "evaluation.json"], json)
    else:
        tell_scores(result)


def _fitting(
    what: str, verb: Callable[..., Any], data: str | None, values: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments between the model and the folder, and the options, as ``verb`` takes them.

    Raises ConfigError for options that it does not have, and for missing ones.
    """
    if what == "generate" and (data is not None or "n" not in values):
        raise ConfigError("ganvae bulk generate takes a model and --n, how many images to make")
    if what == "encode" and data is None:
        raise ConfigError("ganvae bulk encode takes a model and the images to encode")
    first = values.pop("n") if what == "generate" else data
    parameters = signature(verb).parameters
    python = {"n": "samples"} if what == "evaluate" else {}
    for name in values:
        if python.get(name, name) not in parameters:
            option = "class" if name == "label" else name
            raise ConfigError(f"--{option} is no option of ganvae bulk {what}")
    return [first], {python.get(name, name): value for name, value in values.items()}
