"""From a setting to images ready for training: one set, two to translate between, or shards."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from ganvae import config
from ganvae.data import findings, pairs
from ganvae.data.manifest import Manifest, content_keys, name_keys
from ganvae.data.origins import Origin
from ganvae.data.packing import PackedSet, pack, refuse_contradictions
from ganvae.data.shards import Shards
from ganvae.data.split import Sides, bound, has_own_split, leaks, split
from ganvae.data.store import Store
from ganvae.data.stream import Streamed
from ganvae.data.subset import Images
from ganvae.errors import DataError
from ganvae.progress import Progress
from ganvae.task import TASKS


@dataclass(frozen=True, kw_only=True)
class Data:
    """Images to train on and images held out.

    With a task other than to generate, ``train`` and ``test`` have sources.

    fingerprint: hex digest of contents, preparation, split and sources; equal if and only if
        training sees the same images in the same order
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
    sources: Store | None = None
    """The sources, where they are images of their own."""
    stream: Streamed | None = None
    """The set that is read while training; ``train`` and ``test`` are then samples of it."""

    @property
    def source_channels(self) -> int:
        """Channels of the sources; 0 where images are made from nothing."""
        return self.train.source_channels

    @property
    def depth(self) -> int | None:
        """How many bits of 16-bit pictures are used; None: all 16."""
        return self.store.depth

    @property
    def source_depth(self) -> int | None:
        """The same for the sources of a completion or translation."""
        if self.sources is not None:
            return self.sources.depth
        return self.depth if self.source_channels else None

    @property
    def paired(self) -> bool | None:
        """Whether each source belongs to its image; None where there are none."""
        return self.train.paired

    def manifest(self) -> Manifest:
        """Digests by which :func:`difference` can say later how the images changed."""
        if self.stream is not None:
            shards = self.stream.shards
            contents = name_keys([shard.digest for shard in shards])
            return Manifest(name_keys([shard.name for shard in shards]), contents, "shards")
        names, hashes = self.store.names(), self.store.hashes()
        if self.sources is not None:
            names = [f"{pairs.TARGET}/{name}" for name in names]
            names += [f"{pairs.SOURCE}/{name}" for name in self.sources.names()]
            hashes = np.concatenate([hashes, self.sources.hashes()])
        return Manifest(name_keys(names), content_keys(hashes))


def open_data(
    chosen: config.Data,
    labels: bool = False,
    *,
    paired: bool | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Data:
    """The images of a setting, packed at the first call and found packed at the next.

    labels: take labels even where the setting does not ask for them
    paired: whether sets to translate between must be in pairs (True), or are taken as if they were
        not (False); None goes by the names. Where these match, source and target are held out
        together in either case
    progress: called with "images packed", how many are, and of how many where that is known
    workers: decoding processes; 0 decodes in this one, None chooses

    Raises DataError where the images cannot be used, ConfigError for settings that cannot be.
    """
    refuse_contradictions(chosen)
    labels = labels or chosen.labels
    if not chosen.stream and TASKS[chosen.task].starts_from(chosen.origin) == "given":
        return _between(chosen, labels, paired, progress, workers)
    packed = findings.usable(pack(chosen, progress=progress, workers=workers))
    return _streamed(packed, labels, workers) if chosen.stream else _single(packed, labels)


def judged_by(
    settings: config.Data,
    fingerprint: str,
    *,
    paired: bool | None = None,
    progress: Progress | None = None,
) -> config.Data:
    """The setting of images that somebody names to judge a model by, without saying how many.

    Those that the model was trained on are divided as they were; of others all are held out, but
    of shards that are read while training, of which there is but a sample.

    fingerprint: of the images that the model was trained on
    """
    if settings.stream:
        return settings
    try:
        is_same = open_data(settings, paired=paired, progress=progress).fingerprint == fingerprint
    except (
        DataError
    ):  # unusable, so not what was trained on; the error is raised when it is opened
        is_same = False
    return settings if is_same else replace(settings, test_share=1.0)


def _single(packed: PackedSet, labelled: bool) -> Data:
    """One set, from whose images the sources are made, if the task has any."""
    settings = packed.settings
    sides = split(packed.store, settings.test_share)
    data = _data(packed, sides, labelled, Origin.of(settings, packed.store.shape))
    if pairs.are_here(settings.path):
        data.notes.append(
            f"{settings.path} holds {pairs.SOURCE}/ and {pairs.TARGET}/, and the images of both"
            " are taken; to learn to translate between them, choose data.task translate alone"
        )
    if pairs.is_cycle(Path(settings.path).expanduser()):
        data.notes.append(
            f"{settings.path} holds trainA and trainB, and the images of all its folders are"
            " taken; to learn to translate between them, choose data.task translate"
        )
    return data


def _data(
    packed: PackedSet,
    sides: Sides,
    labelled: bool,
    origin: Origin | tuple[Images, Images] | None = None,
    paired: bool = True,
) -> Data:
    """The data of the rows of a set.

    origin: what makes the source images, or those to train with and those held out
    paired: whether source images that are given belong to the images
    """
    store = packed.store
    class_notes: list[str] = []
    if labelled:
        sides, class_notes = findings.with_classes(packed, sides, fixed=isinstance(origin, tuple))
    train, test = sides
    leaked = leaks(store.hashes(), train, test) if has_own_split(store) else test[:0]
    origins = origin if isinstance(origin, tuple) else (origin, origin)
    parts = [
        Images(store, rows, store.labels[rows] if labelled else None, origin=its, paired=paired)
        for rows, its in zip(sides, origins, strict=True)
    ]
    classes = store.classes if labelled else []
    fingerprints = [part.fingerprint for part in parts]
    identity: list[Any] = [fingerprints, store.meta["preparation"], classes]
    if isinstance(origin, Origin):
        identity.append([origin.kind, origin.holes])
    elif origin is not None:
        identity.append([paired, *(its.fingerprint for its in origin)])
    height, width, channels = store.shape
    report = findings.report(packed, sides, leaked)
    return Data(
        train=parts[0],
        test=parts[1],
        fingerprint=_fingerprint(identity),
        classes=classes,
        shape=(channels, height, width),
        report=report,
        notes=[*findings.notes(report, packed.settings), *packed.index.notes, *class_notes],
        store=store,
        leaked=np.searchsorted(test, leaked),
    )


def _fingerprint(identity: list[Any]) -> str:
    return blake2b(json.dumps(identity).encode(), digest_size=16).hexdigest()


def _between(
    settings: config.Data,
    labelled: bool,
    paired: bool | None,
    progress: Progress | None,
    workers: int | None,
) -> Data:
    """The targets, with the sources as another set of images."""
    match, share = pairs.match(settings.path, paired), settings.test_share
    source, target = (
        findings.usable(pack(setting, progress=progress, workers=workers))
        for setting in pairs.settings(settings)
    )
    if match.paired:
        of_source, of_target = pairs.split_together(source.store, target.store, share, match)
    else:
        of_source, of_target = split(source.store, share), split(target.store, share)
    aside = _data(source, of_source, labelled=False)
    origin, in_pairs = (aside.train, aside.test), match.paired and paired is not False
    data = _data(target, of_target, labelled, origin, in_pairs)
    source_notes = [f"sources: {note}" for note in aside.notes]
    return replace(
        data,
        sources=source.store,
        report=data.report | {"paired": data.paired, "sources": aside.report},
        notes=[*pairs.notes(settings.path, match), *source_notes, *data.notes],
    )


def _streamed(packed: PackedSet, labelled: bool, workers: int | None) -> Data:
    """Shards to read while training, and a sample of them, packed to judge by."""
    settings, store, source = packed.settings, packed.store, packed.source
    assert isinstance(source, Shards)
    if not source.shards:
        raise DataError(
            f"{settings.path} cannot be reached, and must be to be read while training"
        )
    sides = split(store, settings.test_share)
    origin = Origin.of(settings, store.shape)
    data = _data(packed, sides, labelled, origin)
    has_split = has_own_split(store)
    stream = Streamed(
        path=settings.path,
        shards=[shard for shard in source.shards if shard.split != "test"],
        how=replace(packed.how, channels=store.shape[2], depth=store.depth),
        held_out=0 if has_split else bound(store.hashes(), settings.test_share),
        classes=data.classes,
        origin=origin,
        max_bad=settings.max_bad,
        workers=workers,
    )
    note = (
        f"{len(stream.shards):,} shards are read while training; a sample of {len(data.test):,}"
        f" held-out and {len(data.train):,} training images is packed to judge by"
    )
    return replace(
        data,
        stream=stream,
        fingerprint=_fingerprint([packed.index.digest, data.fingerprint, stream.held_out]),
        notes=[*data.notes, note],
    )
