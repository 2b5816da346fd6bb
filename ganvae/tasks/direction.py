"""Directions of the latents learnt from images, to a file."""

from __future__ import annotations

from pathlib import Path

from ganvae.errors import ConfigError
from ganvae.models import Model
from ganvae.models.model import Label
from ganvae.progress import Progress
from ganvae.tasks import directions
from ganvae.tasks.directions import join_posteriors
from ganvae.tasks.pictures import Pictures, Reader, require
from ganvae.types import Posterior


def direction(
    model: Model,
    data: Pictures,
    out: str | Path,
    *,
    having: Pictures | None = None,
    only: str | None = None,
    principal: int | None = None,
    label: Label = None,
    n: int | None = None,
    batch: int = 64,
    progress: Progress | None = None,
) -> list[Path]:
    """Learn directions from images and write them to an .npz file.

    data: images; of these alone, one direction for each of their classes, by sub-folder
    having: other images, with what ``data`` is without: one direction from the first to these
    only: a single class
    principal: so many principal directions instead, for which nothing need be known
    label: for a class-conditional model: the class of all images; unset: by sub-folder
    n: takes the first n images of each; unset: all

    Returns the path. Raises ConfigError for what does not fit together, DataError for images that
    cannot be used.
    """
    out = Path(out)
    if out.suffix.lower() != ".npz" or out.is_dir():
        raise ConfigError(f"{out} must end in .npz")
    require(model, "generate")
    ways = [having is not None, only is not None, principal is not None]
    if sum(ways) > 1:
        raise ConfigError(
            "a direction is learnt from two folders, from classes or as a principal one: choose "
            "one of these"
        )
    q, kinds = _encoded(model, data, n, label, batch, progress)
    if having is not None:
        other, _ = _encoded(model, having, n, label, batch, progress)
        found = directions.between(model, q, other, out.stem)
    elif principal is not None:
        found = directions.principal(model, q, principal)
    elif None in kinds:
        raise ConfigError(
            "not all images are in sub-folders named after classes: give a second folder of "
            "images to go to, or ask for --principal directions"
        )
    else:
        found = directions.of_classes(model, q, [str(kind) for kind in kinds], only)
    return [found.save(out)]


def _encoded(
    model: Model,
    data: Pictures,
    n: int | None,
    label: Label,
    batch: int,
    progress: Progress | None,
) -> tuple[Posterior, list[str | int | None]]:
    reader = Reader(model, data, n, batch, label)
    parts: list[Posterior] = []
    kinds: list[str | int | None] = []
    for part in reader:
        parts.append(model.encode(part.images, part.labels, batch=batch))
        kinds += part.kinds
        if progress:
            progress("encoding", len(kinds), reader.total)
    return join_posteriors(*parts), kinds
