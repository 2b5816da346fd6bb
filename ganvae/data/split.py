"""The split into training and held-out images, and held-out images that leak into training."""

from __future__ import annotations

import numpy as np

from ganvae.data.rng import bits
from ganvae.data.store import Store
from ganvae.errors import ConfigError, DataError

Sides = tuple[np.ndarray, np.ndarray]
"""Rows to train on and rows held out."""


def split(store: Store, share: float, partners: np.ndarray | None = None) -> Sides:
    """Rows to train on and rows held out: the source's own split, else by content.

    share: of what is held out by content; 1 holds everything out, whatever the source says
    partners: content hash of what each image is paired with, uint8 (N, 16); images with the same
        partner are on the same side as well

    Raises DataError where one of them would be empty.
    """
    if share == 1:
        everything = np.arange(len(store))
        return everything[:0], everything
    check_share(share)
    if has_own_split(store):
        held_out = store.splits == 1
        if held_out.all() or not held_out.any():
            which = "train" if held_out.all() else "test"
            raise DataError(
                f"{store.meta['source']['path']} names its own split but has no usable image in"
                f" {which}; add some"
            )
    else:
        hashes = store.hashes()
        if partners is not None:
            hashes = hashes[heads(hashes, partners)]
        held_out = by_content(hashes, share)
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def has_own_split(store: Store) -> bool:
    """Whether the source itself says of every image if it is held out."""
    return len(store) > 0 and bool((store.splits >= 0).all())


def check_share(share: float) -> None:
    """Raises ConfigError for a share that leaves nothing on one side."""
    if not 0 < share < 1:
        raise ConfigError(f"data.test_share must be between 0 and 1, got {share}")


def by_content(hashes: np.ndarray, share: float) -> np.ndarray:
    """True for held-out images, by nothing but each image's content: shape (N,).

    Copies of one image are always on the same side, and other images do not matter: adding some
    moves nobody. Only where no image falls on one side (there are few) the nearest one is taken.

    hashes: content hashes, uint8 (N, 16). Raises DataError where all are equal.
    """
    return keys_of(hashes) < np.uint64(bound(hashes, share))


def bound(hashes: np.ndarray, share: float) -> int:
    """The key below which images are held out; see :func:`by_content`."""
    keys = keys_of(hashes)
    if len(np.unique(keys)) < 2:
        count = "only one image" if len(keys) == 1 else f"{len(keys)} copies of one image"
        raise DataError(f"found {count}; at least 2 different ones are needed, one to hold out")
    held_out = keys < np.uint64(limit(share))
    if not held_out.any():
        return int(keys.min()) + 1
    return int(keys.max()) if held_out.all() else limit(share)


def limit(share: float) -> int:
    """The key below which a share of all possible ones is."""
    return int(share * 2.0**64)


def keys_of(hashes: np.ndarray) -> np.ndarray:
    """The keys that decide what is held out: uint64 (N,) of hashes (N, 16)."""
    keys: np.ndarray = np.ascontiguousarray(hashes[:, :8]).view(">u8")[:, 0].astype(np.uint64)
    return keys


def key_of(hash_: bytes) -> int:
    """The key of one hash."""
    return int.from_bytes(hash_[:8], "big")


def heads(images: np.ndarray, partners: np.ndarray) -> np.ndarray:
    """For every pair the row of its group's representative: int64 (N,).

    Pairs with an image or a partner in common are in one group, and so is what is in a group with
    either. One hash then puts a whole group on the same side of the split.

    images, partners: content hashes of each pair's two images, uint8 (N, 16)
    """
    keys = np.ascontiguousarray(images[:, :8]).view(np.uint64)[:, 0]
    first, rank = np.unique(bits(keys), return_index=True, return_inverse=True)[1:]
    groups = [np.unique(as_keys(hashes), return_inverse=True)[1] for hashes in (images, partners)]
    while True:
        lowest = rank.copy()
        for group in groups:
            least = np.full(group.max(initial=-1) + 1, len(rank))
            np.minimum.at(least, group, lowest)
            lowest = least[group]
        if (lowest == rank).all():
            return first[rank]
        rank = lowest


def leaks(hashes: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Those of the rows ``test`` whose content is also among the rows ``train``."""
    keys = as_keys(hashes)
    return test[np.isin(keys[test], keys[train])]


def as_keys(hashes: np.ndarray) -> np.ndarray:
    """Hashes (N, 16) as an array of N values that compare whole."""
    return np.ascontiguousarray(hashes).view(f"S{hashes.shape[1]}")[:, 0]


def duplicates(hashes: np.ndarray) -> list[np.ndarray]:
    """Groups of rows of equal content, each of two or more, in order of their first row."""
    keys = as_keys(hashes)
    order = np.argsort(keys, kind="stable")
    edges = np.flatnonzero(keys[order][1:] != keys[order][:-1]) + 1
    groups = [group for group in np.split(order, edges) if len(group) > 1]
    return sorted(groups, key=lambda group: int(group[0]))
