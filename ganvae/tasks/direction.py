"""Learns directions in the latent space from images."""

from __future__ import annotations

from functools import partial
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

    data: images; on their own, one direction for each of their classes, by sub-folder
    having: images with an attribute that ``data`` lacks: one direction from ``data`` to these
    only: a single class
    principal: instead so many principal directions, which need no classes
    label: for a class-conditional model: the class of all images; unset: by sub-folder
    n: takes the first n images of each; unset: all

    Returns the path. Raises ConfigError for what does not fit together, DataError for images that
    cannot be used.
    """
    out = Path(out)
    if out.suffix.lower() != ".npz" or out.is_dir():
        raise ConfigError(f"{out} must end in .npz")
    reader = partial(Reader, model, n=n, batch=batch, label=label)
    other = None if having is None else reader(having)
    result = learn(
        reader(data), other, only=only, principal=principal, name=out.stem, progress=progress
    )
    return [result.save(out)]


def learn(
    reader: Reader,
    having: Reader | None = None,
    *,
    only: str | None = None,
    principal: int | None = None,
    name: str = "",
    progress: Progress | None = None,
) -> Directions:
    """Directions learnt from the images of a reader, or of two; no files.

    name: of the direction from the first ones to those of ``having``
    only, principal: see :func:`direction`
    """
    model = reader.model
    checks.trained_to(model.info, "generate")
    if (having is not None) + (only is not None) + (principal is not None) > 1:
        raise ConfigError(
            "a direction is learnt from two folders, from classes or as a principal one: choose "
            "one of these"
        )
    latents = posteriors(reader, progress)
    if having is not None:
        return directions.between(model, latents.q, posteriors(having, progress).q, name)
    if principal is not None:
        return directions.principal(model, latents.q, principal)
    if None in latents.kinds:
        raise ConfigError(
            "not all images are in sub-folders named after classes: give a second folder of "
            "images to go to, or ask for --principal directions"
        )
    return directions.of_classes(model, latents.q, [str(kind) for kind in latents.kinds], only)
