"""Directions of the latents learnt from images."""

from __future__ import annotations

from pathlib import Path

from ganvae.errors import ConfigError
from ganvae.models import Model, checks
from ganvae.models.checks import Label
from ganvae.progress import Progress
from ganvae.tasks import directions
from ganvae.tasks.directions import Directions
from ganvae.tasks.encode import posteriors
from ganvae.tasks.reader import Pictures, Reader


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
    learnt = learn(
        model, data, having=having, only=only, principal=principal, label=label, n=n, batch=batch,
        name=out.stem, progress=progress,
    )  # fmt: skip
    return [learnt.save(out)]


def learn(
    model: Model,
    data: Pictures,
    *,
    having: Pictures | None = None,
    only: str | None = None,
    principal: int | None = None,
    label: Label = None,
    n: int | None = None,
    batch: int = 64,
    name: str = "",
    progress: Progress | None = None,
) -> Directions:
    """Directions learnt from images; no files.

    name: of the direction from ``data`` to ``having``
    The others: see :func:`direction`.
    """
    checks.trained_to(model.info, "generate")
    if (having is not None) + (only is not None) + (principal is not None) > 1:
        raise ConfigError(
            "a direction is learnt from two folders, from classes or as a principal one: choose "
            "one of these"
        )
    latents = posteriors(Reader(model, data, n, batch, label), progress)
    if having is not None:
        other = posteriors(Reader(model, having, n, batch, label), progress)
        return directions.between(model, latents.q, other.q, name)
    if principal is not None:
        return directions.principal(model, latents.q, principal)
    if None in latents.kinds:
        raise ConfigError(
            "not all images are in sub-folders named after classes: give a second folder of "
            "images to go to, or ask for --principal directions"
        )
    return directions.of_classes(model, latents.q, [str(kind) for kind in latents.kinds], only)
