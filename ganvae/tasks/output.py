"""The results of verbs, and how they are written: as one sheet, or into a folder."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganvae import files, foreign
from ganvae.data.formats import EXTENSIONS
from ganvae.errors import ConfigError, DataError
from ganvae.models import Model
from ganvae.models.images import save_png, to_uint8

INDEX, MARK = "index.json", ".ganvae"
"""The file that describes a folder's images, and the file that marks a folder of ganvae's."""
_INDEX_HEAD = b'{\n "model": {'
SHEET, ON_A_SHEET = "sheet.png", 32
"""A folder's sheet, and how many inputs it shows at most."""


@dataclass(frozen=True)
class Result:
    """Images that a verb made, or some of them.

    images: shape (N, …, C, H, W) in [-1, 1], on the CPU; the dimensions between N and C are the
        variants, steps, or directions and amounts of one image
    originals: the input images, (N, S, H, W) in [-1, 1]; of shape (0,) where there are none
    names: of the originals
    first: the number of the first image
    """

    images: Tensor
    originals: Tensor = field(default_factory=lambda: torch.empty(0))
    names: tuple[str, ...] = ()
    first: int = 0

    def head(self, n: int) -> Result:
        """The first n of them."""
        return Result(self.images[:n], self.originals[:n], self.names[:n], self.first)


def join(parts: Iterable[Result]) -> Result:
    """All parts, one or more, as one result in memory."""
    parts = list(parts)
    return Result(
        torch.cat([part.images for part in parts]),
        torch.cat([part.originals for part in parts]),
        tuple(name for part in parts for name in part.names),
        parts[0].first,
    )


@dataclass
class Folder:
    """Writes a folder of PNG files, one an image, and index.json; creates it with the first one.

    digits: of an image's numbers in its file's name: (6, 2) for 000000_00.png
    paths: the files written so far
    """

    out: Path
    digits: tuple[int, ...]
    paths: list[Path] = field(default_factory=list)

    def add(self, part: Result) -> list[Path]:
        """Writes the images of a part; returns their files."""
        place, shape = folder(self.out), part.images.shape[:-3]
        pixels = to_uint8(part.images.flatten(0, -4))
        paths = []
        for (i, *inner), image in zip(product(*map(range, shape)), pixels, strict=True):
            numbers = zip((part.first + i, *inner), self.digits, strict=True)
            name = "_".join(f"{number:0{digits}d}" for number, digits in numbers)
            paths.append(save_png(image, place / f"{name}.png"))
        self.paths += paths
        return paths

    def finish(self, index: dict[str, Any]) -> list[Path]:
        """Writes index.json; returns all files."""
        return write_index(self.out, self.paths, index)


def target(
    out: str | Path, *inputs: object, suffixes: Sequence[str] = (".png",)
) -> tuple[Path, bool]:
    """``out`` as a path, and :func:`is_sheet` of it.

    Raises ConfigError for a file of another kind, and for one that is also an input.
    """
    out = Path(out)
    sheet = is_sheet(out, *suffixes)
    refuse_over(out, *inputs)
    return out, sheet


def is_sheet(out: Path, *suffixes: str) -> bool:
    """Whether ``out`` is one file of these kinds; else it is a folder.

    Raises ConfigError for a file of another kind.
    """
    suffix = out.suffix.lower()
    if out.is_dir() or not suffix:
        return False
    if suffix in suffixes:
        return True
    if out.is_file() or suffix in (*EXTENSIONS, ".npz", ".npy", ".json", ".mp4", ".pt"):
        raise ConfigError(f"{out} must end in {' or '.join(suffixes)}, or be a folder")
    return False


def folder(out: Path) -> Path:
    """A folder for files: a new one, an empty one, or one that has been written by ganvae.

    It is marked first, so that many processes can write into one. Raises ConfigError where there
    is something else.
    """
    if out.is_file():
        raise ConfigError(f"{out} is a file: choose a folder")
    if (out / MARK).is_file():
        return out
    try:
        out.mkdir(parents=True, exist_ok=True)
        other = next((path.name for path in out.iterdir() if not files.is_scratch(path)), None)
    except (NotADirectoryError, FileExistsError) as error:
        raise ConfigError(f"{out} cannot be made a folder: {error.strerror}") from None
    except OSError as error:
        raise files.explain(error, out) from None
    if other and not (out / MARK).is_file() and not is_index(out / INDEX):
        raise ConfigError(
            f"{out} holds files that ganvae has not written, for example {other}: choose a new or "
            f"an empty folder, so that nothing of yours is replaced"
        )
    files.write_text(out / MARK, "What ganvae writes here may be replaced by ganvae.\n")
    return out


def refuse_over(out: Path, *inputs: object) -> None:
    """Raises ConfigError where an output would replace an input."""
    for source in inputs:
        if not isinstance(source, str | Path) or not out.exists() or not Path(source).exists():
            continue
        place = Path(source)
        inside = place.is_dir() and place.resolve() in out.resolve().parents
        if out.samefile(place) or (out.is_file() and inside):
            raise ConfigError(f"{out} is one of the inputs, which is not replaced: choose another")


def is_index(path: Path) -> bool:
    """Whether a file is JSON as :func:`write_index` writes it."""
    try:
        with foreign.regular(path, str(path)) as file:
            return file.read(len(_INDEX_HEAD)) == _INDEX_HEAD
    except DataError:
        return False


def write_json(path: Path, value: Any) -> Path:
    """Write JSON, in ASCII, so that any name can be in it."""
    text = json.dumps(value, indent=1, allow_nan=False)
    return files.write(path, lambda draft: draft.write_text(text + "\n", encoding="ascii"))


def write_index(place: Path, paths: Sequence[Path], index: Any) -> list[Path]:
    """Writes index.json beside a folder's files; returns all of them.

    Warns where the folder holds other images, such as those of an earlier call.
    """
    others = {path.name for path in place.glob("*.png")} - {path.name for path in paths}
    if others:
        warnings.warn(
            f"{place} also holds {len(others):,} images that are not of this call, for example "
            f"{min(others)}",
            stacklevel=3,
        )
    return [*paths, write_json(place / INDEX, index)]


def about(model: Model) -> dict[str, Any]:
    """The fields that identify a model in index.json."""
    info = model.info
    return {
        "objective": info.objective,
        "shape": list(model.shape),
        "latent": model.latent,
        "data": info.trained.fingerprint,
    }
