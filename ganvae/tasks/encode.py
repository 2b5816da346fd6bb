"""Images to latents in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ganvae.errors import ConfigError
from ganvae.files import write
from ganvae.models import Model
from ganvae.models.model import Label
from ganvae.progress import Progress
from ganvae.tasks.pictures import (
    Pictures,
    Reader,
    about,
    is_index,
    refuse_over,
    write_json,
)


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
    means, logvars, names = [], [], []
    for part in reader:
        q = model.encode(part.images, part.labels, batch=batch)
        means.append(q.mean.cpu().numpy())
        logvars.append(q.logvar.cpu().numpy())
        names += part.names
        if progress:
            progress("encoding", len(names), reader.total)
    arrays = np.concatenate(means), np.concatenate(logvars)

    def save(scratch: Path) -> None:
        with scratch.open("wb") as file:
            np.savez(file, mean=arrays[0], logvar=arrays[1])

    told = {"model": about(model), "names": names, "skipped": reader.skipped}
    return [write(out, save), write_json(table, told)]
