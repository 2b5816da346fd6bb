"""Images to latents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ganvae.errors import ConfigError
from ganvae.files import write
from ganvae.models import Model
from ganvae.models.checks import Label
from ganvae.progress import Progress
from ganvae.tasks.output import about, is_index, refuse_over, write_json
from ganvae.tasks.reader import Pictures, Reader
from ganvae.types import Posterior


def encode(
    model: Model,
    data: Pictures,
    out: str | Path,
    *,
    label: Label = None,
    n: int | None = None,
    batch: int = 64,
    progress: Progress | None = None,
) -> list[Path]:
    """Posteriors q(z|x) of images to an .npz file, their names to a .json file beside it.

    The .npz holds ``mean`` and ``logvar``, float32 of shape (N, latent), row by row the images in
    the .json's ``names``. It reads with ``numpy.load(path)``; there is no pickle in it.

    label: for a class-conditional model: the class of all images; unset: by sub-folder
    n: takes the first n images; unset: all
    Returns the two paths. Raises ConfigError for a model without an encoder or another kind of
    file, DataError for images that cannot be read.
    """
    out = Path(out)
    if out.suffix.lower() != ".npz" or out.is_dir():
        raise ConfigError(f"{out} must end in .npz")
    table = out.with_suffix(".json")
    refuse_over(out, data)
    if table.exists() and not is_index(table):
        raise ConfigError(
            f"{table} would hold the images' names and is not replaced, since ganvae has not "
            f"written it: choose another --out"
        )
    reader = Reader(model, data, n, batch, label)
    latents = posteriors(reader, progress)
    mean, logvar = latents.q.mean.numpy(), latents.q.logvar.numpy()

    def save(scratch: Path) -> None:
        with scratch.open("wb") as file:
            np.savez(file, mean=mean, logvar=logvar)

    index = {"model": about(model), "names": latents.names, "skipped": reader.skipped}
    return [write(out, save), write_json(table, index)]


@dataclass(frozen=True)
class Latents:
    """The posteriors of N images, on the CPU.

    q: mean and logvar, each (N, latent)
    kinds: the class of each image as its sub-folder, array or set says it
    """

    q: Posterior
    names: list[str]
    kinds: list[str | int | None]


def posteriors(reader: Reader, progress: Progress | None = None) -> Latents:
    """q(z|x) of all images of a reader; no files."""
    parts: list[Posterior] = []
    names: list[str] = []
    kinds: list[str | int | None] = []
    for part in reader.batches("encoding", progress):
        q = reader.model.encode(part.images, part.labels, batch=reader.batch)
        parts.append(Posterior(q.mean.cpu(), q.logvar.cpu()))
        names += part.names
        kinds += part.kinds
    return Latents(Posterior.cat(parts), names, kinds)
