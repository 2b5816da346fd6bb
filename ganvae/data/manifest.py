"""The images of a training in 16 bytes each, and how another set differs from them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from ganvae.data.subset import Images
from ganvae.errors import DataError


@dataclass(frozen=True)
class Manifest:
    """64-bit digests of every image's name and content, shape (N,) each."""

    names: np.ndarray
    contents: np.ndarray
    of: str = "images"

    def save(self, path: Path) -> None:
        """Writes an .npy file of 16 bytes an image."""
        with path.open("wb") as file:
            np.save(file, np.stack([self.names, self.contents]), allow_pickle=False)

    @staticmethod
    def load(path: Path) -> Manifest:
        """Reads what :meth:`save` wrote. Raises DataError."""
        try:
            names, contents = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read the list of images {path}: {error}") from None
        return Manifest(names, contents)

    def count(self, images: Images) -> int:
        """How many of some images have the content of one that is listed."""
        return int(np.isin(content_keys(images.hashes()), self.contents).sum())


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How many images were added, removed, edited (same name) or renamed (same content)."""

    added: int
    removed: int
    edited: int
    renamed: int
    of: str = "images"

    def __str__(self) -> str:
        kinds = ("added", "removed", "edited", "renamed")
        counts = [f"{count:,} {kind}" for kind in kinds if (count := getattr(self, kind))]
        return f"{self.of}: {', '.join(counts) or 'only their order or labels'}"


def difference(old: Manifest | Path, new: Manifest) -> Difference:
    """Compares two manifests."""
    before = old if isinstance(old, Manifest) else Manifest.load(old)
    earlier = dict(zip(before.names.tolist(), before.contents.tolist(), strict=True))
    later = dict(zip(new.names.tolist(), new.contents.tolist(), strict=True))
    edited = sum(earlier[name] != content for name, content in later.items() if name in earlier)
    lost = Counter(content for name, content in earlier.items() if name not in later)
    gained = Counter(content for name, content in later.items() if name not in earlier)
    renamed = (lost & gained).total()
    return Difference(
        added=gained.total() - renamed,
        removed=lost.total() - renamed,
        edited=edited,
        renamed=renamed,
        of=new.of,
    )


def content_keys(hashes: np.ndarray) -> np.ndarray:
    """The first half of each content hash: uint64 (N,) of (N, 16)."""
    keys: np.ndarray = np.ascontiguousarray(hashes[:, :8]).view(np.uint64)[:, 0]
    return keys


def name_keys(names: list[str]) -> np.ndarray:
    """64 bits of the digest of each name: uint64 (N,)."""
    keys = b"".join(
        blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest() for name in names
    )
    return np.frombuffer(keys, np.uint64)
