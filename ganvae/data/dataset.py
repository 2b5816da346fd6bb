"""From a setting to images ready for training: find the source, pack it, split it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from ganvae import config
from ganvae.data import sources
from ganvae.data.decode import EXTENSIONS, Preparation, colour
from ganvae.data.images import Images
from ganvae.data.split import leaks, split
from ganvae.data.store import Progress, Store, cache_folder, ingest
from ganvae.errors import ConfigError, DataError

EXAMPLES = 20


@dataclass(frozen=True, kw_only=True)
class Data:
    """Images to train on and images held out.

    fingerprint: hex digest of contents, preparation and split; equal if and only if training sees
        the same images in the same order
    classes: names by class number; empty where labels were not asked for
    shape: (C, H, W)
    report: JSON-able counts of what was skipped, converted, resized and found twice
    notes: sentences a user should read
    """

    train: Images
    test: Images
    fingerprint: str
    classes: list[str]
    shape: tuple[int, int, int]
    report: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    store: Store
    leaked: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """Positions in ``test`` whose very content is also in ``train``."""

    def summary(self) -> dict[str, Any]:
        """The few facts that identify the data, JSON-able."""
        return {
            "fingerprint": self.fingerprint,
            "images": len(self.train) + len(self.test),
            "train": len(self.train),
            "test": len(self.test),
            "shape": list(self.shape),
            "classes": self.classes,
        }

    def manifest(self) -> Manifest:
        """What :func:`difference` needs to say later how the images changed."""
        hashes = self.store.hashes()
        content = np.ascontiguousarray(hashes[:, :8]).view(np.uint64)[:, 0]
        return Manifest(_name_keys(self.store.names()), content)


@dataclass(frozen=True)
class Manifest:
    """64-bit digests of every image's name and content, shape (N,) each."""

    names: np.ndarray
    contents: np.ndarray

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


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How many images were added, removed, edited (same name) or renamed (same content)."""

    added: int
    removed: int
    edited: int
    renamed: int

    def __str__(self) -> str:
        counts = [
            f"{count:,} {what}"
            for what, count in (
                ("added", self.added),
                ("removed", self.removed),
                ("edited", self.edited),
                ("renamed", self.renamed),
            )
            if count
        ]
        return f"images: {', '.join(counts)}" if counts else "images: only their order or labels"


def difference(old: Manifest | Path, new: Manifest) -> Difference:
    """What happened to the images between two manifests."""
    before = old if isinstance(old, Manifest) else Manifest.load(old)
    was = dict(zip(before.names.tolist(), before.contents.tolist(), strict=True))
    now = dict(zip(new.names.tolist(), new.contents.tolist(), strict=True))
    edited = sum(was[name] != content for name, content in now.items() if name in was)
    gone = Counter(content for name, content in was.items() if name not in now)
    come = Counter(content for name, content in now.items() if name not in was)
    renamed = (gone & come).total()
    return Difference(
        added=come.total() - renamed,
        removed=gone.total() - renamed,
        edited=edited,
        renamed=renamed,
    )


def _name_keys(names: list[str]) -> np.ndarray:
    keys = b"".join(
        blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest() for name in names
    )
    return np.frombuffer(keys, np.uint64)


def open_data(
    chosen: config.Data,
    labels: bool = False,
    *,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Data:
    """The images of a setting, packed at the first call and found packed at the next.

    labels: take labels even where the setting does not ask for them
    progress: called with the number of images packed so far and their total or None
    workers: decoding processes; 0 decodes in this one, None chooses

    Raises DataError where the images cannot be used, ConfigError for settings that cannot be.
    """
    if not 0 <= chosen.max_bad <= 1:
        raise ConfigError(f"data.max_bad must be between 0 and 1, got {chosen.max_bad}")
    store, index = packed(chosen, progress=progress, workers=workers)
    _refuse_bad(store, chosen)
    _refuse_empty(store, index, chosen)
    train, test = split(store, chosen.test_share)
    labelled = labels or chosen.labels
    if labelled and (without := int((store.labels < 0).sum())):
        raise DataError(
            f"labels were asked for, but {without:,} of {len(store):,} images"
            f" in {chosen.path} have none; put each into a sub-folder named after its class"
        )
    leaked = leaks(store.hashes(), train, test) if _own_split(store) else test[:0]
    parts = [
        Images(store, rows, store.labels[rows] if labelled else None) for rows in (train, test)
    ]
    classes = store.classes if labelled else []
    prints = [part.fingerprint for part in parts]
    identity = json.dumps([prints, store.meta["preparation"], classes])
    height, width, channels = store.shape
    report = _report(store, index, chosen, train, test, leaked)
    return Data(
        train=parts[0],
        test=parts[1],
        fingerprint=blake2b(identity.encode(), digest_size=16).hexdigest(),
        classes=classes,
        shape=(channels, height, width),
        report=report,
        notes=[*index.notes, *_notes(report, chosen)],
        store=store,
        leaked=np.searchsorted(test, leaked),
    )


def packed(
    chosen: config.Data, *, progress: Progress | None = None, workers: int | None = None
) -> tuple[Store, sources.Index]:
    """The packed store of a setting, however many of its files are bad."""
    background = colour(chosen.background)
    source = sources.find(chosen.path)
    height, width = (chosen.size, chosen.size) if chosen.size is not None else source.size()
    how = Preparation(
        height=height,
        width=width,
        channels=chosen.channels,
        resize=chosen.resize,
        background=background,
    )
    cache = cache_folder(chosen.cache)
    return ingest(source, how, cache, progress=progress, workers=workers)


def _own_split(store: Store) -> bool:
    return bool((store.splits >= 0).all())


def _refuse_bad(store: Store, chosen: config.Data) -> None:
    bad = store.meta["bad"]
    total = len(store) + len(bad)
    if len(bad) > chosen.max_bad * total:
        examples = "; ".join(f"{printable(name)} ({why})" for name, why in bad[:5])
        more = f" and {len(bad) - 5:,} more" if len(bad) > 5 else ""
        raise DataError(
            f"{len(bad):,} of {total:,} images in {chosen.path} cannot be read: {examples}{more};"
            f" mend or remove them, or allow this share with data.max_bad (now {chosen.max_bad:g})"
        )


def _refuse_empty(store: Store, index: sources.Index, chosen: config.Data) -> None:
    if len(store):
        return
    found = ", ".join(f"{count:,} {kind}" for kind, count in [*index.ignored.items()][:5])
    listed = [f"; not taken: {printable(name)} ({why})" for name, why in index.listed[:1]]
    raise DataError(
        f"no images in {chosen.path} (found {found or 'nothing'}"
        f"{''.join(listed)}); give a place that holds"
        f" {', '.join(kind[1:] for kind in EXTENSIONS)} files"
    )


def printable(name: str) -> str:
    """A file name on one line, whatever characters it has."""
    return name if name.isprintable() else json.dumps(name)


def _report(
    store: Store,
    index: sources.Index,
    chosen: config.Data,
    train: np.ndarray,
    test: np.ndarray,
    leaked: np.ndarray,
) -> dict[str, Any]:
    bad = store.meta["bad"]
    own = _own_split(store)
    return {
        "source": {"kind": store.meta["source"]["kind"], "path": chosen.path},
        "images": len(store),
        "train": len(train),
        "test": len(test),
        "split": "the source's own" if own else f"by content, {chosen.test_share:.0%} held out",
        "shape": list(store.shape),
        "resize": chosen.resize,
        "background": chosen.background,
        "policies": store.meta["policies"],
        "skipped": {
            "count": len(bad),
            "reasons": dict(Counter(why.partition(":")[0] for _, why in bad).most_common()),
            "examples": bad[:EXAMPLES],
        },
        "listed": {"count": len(index.listed), "examples": index.listed[:EXAMPLES]},
        "ignored": index.ignored,
        "duplicates": len(store) - store.meta["distinct"],
        "leaks": len(leaked),
    }


def _notes(report: dict[str, Any], chosen: config.Data) -> list[str]:
    notes = []
    if skipped := report["skipped"]["count"]:
        reasons = ", ".join(f"{n:,} {why}" for why, n in report["skipped"]["reasons"].items())
        notes.append(f"{skipped:,} images skipped: {reasons}")
    if listed := report["listed"]["count"]:
        name, why = report["listed"]["examples"][0]
        notes.append(f"{listed:,} entries need a look, for example {printable(name)}: {why}")
    if leaked := report["leaks"]:
        notes.append(
            f"{leaked:,} of {report['test']:,} held-out images are also training images:"
            " scores on them flatter"
        )
    shares = report["test"] / report["images"]
    if (
        report["split"].startswith("by")
        and abs(shares - chosen.test_share) > 0.05
        and (report["test"] == 1 or report["train"] == 1)
    ):
        notes.append(
            f"so few images that {report['test']} is held out instead of {chosen.test_share:.0%}"
        )
    return notes
