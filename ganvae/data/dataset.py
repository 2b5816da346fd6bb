"""From a setting to images ready for training: find the source, pack it, split it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from ganvae import config
from ganvae.data import pairs, sources
from ganvae.data.decode import MEANING, Policy, Preparation, colour, depth_of
from ganvae.data.find import find, is_remote
from ganvae.data.formats import EXTENSIONS, MENDS, UNREAD
from ganvae.data.hub import Shards
from ganvae.data.images import Images
from ganvae.data.origins import Origin
from ganvae.data.split import bound, leaks, split
from ganvae.data.store import Progress, Store, cache_folder, ingest
from ganvae.data.stream import Sample, Streamed
from ganvae.errors import ConfigError, DataError
from ganvae.telling import plain, short, some

EXAMPLES = 20
Sides = tuple[np.ndarray, np.ndarray]
"""Rows to train on and rows held out."""


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
    """What is read while training; ``train`` and ``test`` are then samples of it."""

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

    def summary(self) -> dict[str, Any]:
        """The few facts that identify the data, JSON-able."""
        facts = {
            "fingerprint": self.fingerprint,
            "images": len(self.train) + len(self.test),
            "train": len(self.train),
            "test": len(self.test),
            "shape": list(self.shape),
            "classes": self.classes,
        }
        if self.source_channels:
            facts |= {"source_channels": self.source_channels, "paired": self.paired}
        return facts

    def manifest(self) -> Manifest:
        """What :func:`difference` needs to say later how the images changed."""
        if self.stream is not None:
            shards = self.stream.shards
            contents = _name_keys([shard.digest for shard in shards])
            return Manifest(_name_keys([shard.name for shard in shards]), contents, "shards")
        names, hashes = self.store.names(), self.store.hashes()
        if self.sources is not None:
            names = [f"{pairs.TARGET}/{name}" for name in names]
            names += [f"{pairs.SOURCE}/{name}" for name in self.sources.names()]
            hashes = np.concatenate([hashes, self.sources.hashes()])
        return Manifest(_name_keys(names), _content_keys(hashes))


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
        return int(np.isin(_content_keys(images.hashes()), self.contents).sum())


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How many images were added, removed, edited (same name) or renamed (same content)."""

    added: int
    removed: int
    edited: int
    renamed: int
    of: str = "images"

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
        return f"{self.of}: {', '.join(counts) or 'only their order or labels'}"


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
        of=new.of,
    )


def _content_keys(hashes: np.ndarray) -> np.ndarray:
    keys: np.ndarray = np.ascontiguousarray(hashes[:, :8]).view(np.uint64)[:, 0]
    return keys


def _name_keys(names: list[str]) -> np.ndarray:
    keys = b"".join(
        blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest() for name in names
    )
    return np.frombuffer(keys, np.uint64)


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
    progress: called with the number of images packed so far and their total or None
    workers: decoding processes; 0 decodes in this one, None chooses

    Raises DataError where the images cannot be used, ConfigError for settings that cannot be.
    """
    refuse_contradictions(chosen)
    if chosen.stream:
        return _streamed(chosen, labels or chosen.labels, progress, workers)
    if chosen.task == "translate" and chosen.origin == "given":
        return _between_sets(chosen, labels or chosen.labels, paired, progress, workers)
    one = _packed_set(chosen, progress, workers)
    train, test = split(one.store, chosen.test_share)
    data = _data(one, train, test, labels or chosen.labels, _origin(chosen, one.store))
    if pairs.are_here(chosen.path):
        data.notes.append(
            f"{chosen.path} holds {pairs.SOURCE}/ and {pairs.TARGET}/, and the images of both are"
            " taken; to learn to translate between them, choose data.task translate alone"
        )
    if pairs.is_cycle(Path(chosen.path).expanduser()):
        data.notes.append(
            f"{chosen.path} holds trainA and trainB, and the images of all its folders are taken;"
            " to learn to translate between them, choose data.task translate"
        )
    return data


def judged_by(
    chosen: config.Data,
    trained: str,
    *,
    paired: bool | None = None,
    progress: Progress | None = None,
) -> config.Data:
    """The setting of images that somebody names to judge a model by, without saying how many.

    Those that the model was trained on are divided as they were; of others all are held out, but
    of shards that are read while training, of which there is but a sample.

    trained: fingerprint of the images that the model was trained on
    """
    if chosen.stream:
        return chosen
    try:
        divided = open_data(chosen, paired=paired, progress=progress)
    except DataError:  # nothing can have been trained on it; what else is wrong is said later
        divided = None
    own = divided is not None and divided.fingerprint == trained
    return chosen if own else replace(chosen, test_share=1.0)


def refuse_contradictions(chosen: config.Data) -> None:
    """Raises ConfigError for settings of the data that cannot be, whatever the images are."""
    if not 0 <= chosen.max_bad <= 1:
        raise ConfigError(f"data.max_bad must be between 0 and 1, got {chosen.max_bad}")
    if chosen.stream and chosen.test_share == 1:
        raise ConfigError(
            "data.test_share 1 holds all images out, and of data.stream only a sample is packed;"
            " leave out one of them"
        )
    if chosen.labels_file is not None and not chosen.labels:
        raise ConfigError(
            f"data.labels_file {chosen.labels_file} says classes, and none are asked for; add"
            " --data.labels, or leave it out"
        )
    if chosen.origin != "given" and chosen.task != "translate":
        raise ConfigError(
            f"data.origin {chosen.origin} is what a translation starts from, and data.task is"
            f" {chosen.task}; choose data.task translate, or leave data.origin out"
        )
    if chosen.masks != config.Data.masks and chosen.task != "complete":
        raise ConfigError(
            f"data.masks {chosen.masks} is what a completion learns from, and data.task is"
            f" {chosen.task}; choose data.task complete, or leave data.masks out"
        )


def refuse_untold(kept: config.Data, told: Container[str], run: Path | str) -> None:
    """Raises ConfigError where a run's settings lead out of it and nobody here has said so.

    A run's directory may come from anybody: it does not decide what is asked for over the network
    or where this machine writes.

    told: the settings that were given here, by dotted name
    """
    if "data.path" not in told and is_remote(kept.path):
        raise ConfigError(
            f"{run} names images that are not on this machine, {kept.path}: to have them asked"
            " for, name them, too"
        )
    if "data.cache" not in told and kept.cache is not None:
        raise ConfigError(
            f"{run} names a place for packed images, {kept.cache}: confirm it with --data.cache,"
            " or set data.cache to none for the usual one"
        )


def _streamed(
    chosen: config.Data, labelled: bool, progress: Progress | None, workers: int | None
) -> Data:
    """Shards to read while training, and a sample of them, packed to judge by."""
    source, how = _source(chosen)
    assert isinstance(source, Shards)
    one = _packed_set(chosen, progress, workers, (source, how))
    shards = source.shards
    if not shards:
        raise DataError(f"{chosen.path} cannot be reached, and must be to be read while training")
    train, test = split(one.store, chosen.test_share)
    origin = _origin(chosen, one.store)
    data = _data(one, train, test, labelled, origin)
    own = _own_split(one.store)
    stream = Streamed(
        path=chosen.path,
        shards=[shard for shard in shards if shard.split != "test"],
        how=replace(how, channels=one.store.shape[2], depth=one.store.depth),
        held_out=0 if own else bound(one.store.hashes(), chosen.test_share),
        classes=data.classes,
        origin=origin,
        max_bad=chosen.max_bad,
        workers=workers,
    )
    identity = [one.index.digest, data.fingerprint, stream.held_out]
    return replace(
        data,
        stream=stream,
        fingerprint=blake2b(json.dumps(identity).encode(), digest_size=16).hexdigest(),
        notes=[*data.notes, _about(stream, data)],
    )


def _about(stream: Streamed, data: Data) -> str:
    return (
        f"{len(stream.shards):,} shards are read while training; a sample of {len(data.test):,}"
        f" held-out and {len(data.train):,} training images is packed to judge by"
    )


@dataclass(frozen=True)
class PackedSet:
    """A packed set of images, and the setting and the listing it comes from."""

    chosen: config.Data
    store: Store
    index: sources.Index


def _packed_set(
    chosen: config.Data,
    progress: Progress | None,
    workers: int | None,
    found: tuple[sources.Source, Preparation] | None = None,
) -> PackedSet:
    store, index = packed(chosen, progress=progress, workers=workers, found=found)
    _refuse_bad(store, chosen)
    _refuse_empty(store, index, chosen)
    return PackedSet(chosen, store, index)


def _origin(chosen: config.Data, store: Store) -> Origin | None:
    """What makes the sources of a single set."""
    if chosen.task == "generate":
        return None
    height, width, channels = store.shape
    if chosen.task == "complete":
        if min(height, width) < 2:
            raise ConfigError(f"images of {height}x{width} pixels are too small to complete")
        return Origin("masked", chosen.masks)
    assert chosen.origin != "given"
    if chosen.origin == "grey" and channels == 1:
        raise ConfigError(
            f"the images in {chosen.path} are grey, so there is no colour to learn; choose another"
            " data.origin, or coloured images"
        )
    return Origin(chosen.origin)


def _data(
    one: PackedSet,
    train: np.ndarray,
    test: np.ndarray,
    labelled: bool,
    origin: Origin | tuple[Images, Images] | None = None,
    paired: bool = True,
) -> Data:
    """The data of some rows; given sources come as those of training and those held out."""
    chosen, store = one.chosen, one.store
    told: list[str] = []
    if labelled:
        train, test, told = with_classes(one, train, test, given=isinstance(origin, tuple))
    leaked = leaks(store.hashes(), train, test) if _own_split(store) else test[:0]
    origins = origin if isinstance(origin, tuple) else (origin, origin)
    parts = [
        Images(store, rows, store.labels[rows] if labelled else None, origin=its, paired=paired)
        for rows, its in zip((train, test), origins, strict=True)
    ]
    classes = store.classes if labelled else []
    identity: list[Any] = [
        [part.fingerprint for part in parts],
        store.meta["preparation"],
        classes,
    ]
    if isinstance(origin, Origin):
        identity.append([origin.kind, origin.holes])
    elif origin is not None:
        identity.append([paired, *(its.fingerprint for its in origin)])
    height, width, channels = store.shape
    report = _report(store, one.index, chosen, train, test, leaked)
    return Data(
        train=parts[0],
        test=parts[1],
        fingerprint=blake2b(json.dumps(identity).encode(), digest_size=16).hexdigest(),
        classes=classes,
        shape=(channels, height, width),
        report=report,
        notes=[*_notes(report, chosen), *one.index.notes, *told],
        store=store,
        leaked=np.searchsorted(test, leaked),
    )


# ------------------------------------------------------------------------------ pairs of sets


def _between_sets(
    chosen: config.Data,
    labelled: bool,
    paired: bool | None,
    progress: Progress | None,
    workers: int | None,
) -> Data:
    """The targets, with the sources as another set of images."""
    settings = of_sets(chosen)
    match = _match(chosen.path, settings, paired)
    source, target = (_packed_set(setting, progress, workers) for setting in settings)
    if match.paired:
        of_source, of_target = together(source.store, target.store, chosen.test_share, match)
    else:
        of_source = split(source.store, chosen.test_share)
        of_target = split(target.store, chosen.test_share)
    aside = _data(source, *of_source, labelled=False)
    data = _data(
        target,
        *of_target,
        labelled,
        (aside.train, aside.test),
        match.paired and paired is not False,
    )
    return replace(
        data,
        sources=source.store,
        report=data.report | {"paired": data.paired, "sources": aside.report},
        notes=[
            *_about_match(chosen.path, match),
            *(f"sources: {note}" for note in aside.notes),
            *data.notes,
        ],
    )


def of_sets(chosen: config.Data) -> tuple[config.Data, config.Data]:
    """The settings of the sources and of the targets; grey sources stay grey, without classes."""
    source, target = pairs.folders(chosen.path)
    return (
        replace(chosen, path=str(source), channels=None, labels=False),
        replace(chosen, path=str(target)),
    )


def _match(
    path: str, settings: tuple[config.Data, config.Data], paired: bool | None
) -> pairs.Match:
    """How two sets match by name. Raises DataError where they are not as they are to be."""
    match = pairs.compare(
        path, *(sources.Folder(s.path, Path(s.path)).index().names for s in settings)
    )
    if match.problem and paired is not False:
        raise DataError(match.problem)
    if paired and not match.paired:
        raise DataError(
            f"hardly any image in {path}/{pairs.SOURCE} has the name of one in"
            f" {path}/{pairs.TARGET}, but pairs are needed; name both of a pair alike, or choose"
            " an objective for unpaired sets, such as unit"
        )
    return match


def _about_match(path: str, match: pairs.Match) -> list[str]:
    if any(match.marks):
        first, second = match.marks
        return [
            f"the images in {path} are pairs by their names, where {first} among the sources is"
            f" {second} among the targets"
        ]
    if match.paired:
        return []
    return [
        f"no image in {path}/{pairs.SOURCE} has the name of one in {path}/{pairs.TARGET}: they are"
        " taken as sets without pairs; name both of a pair alike if there are some"
    ]


def together(
    source: Store, target: Store, share: float, match: pairs.Match
) -> tuple[Sides, Sides]:
    """Rows (training, held out) of the sources and of the targets, each at its partner's place.

    The target says what is held out, and pairs of equal sources stay together. A pair of which one
    could not be read is left out. Raises DataError where too few are left.
    """
    ours, theirs = (
        [pairs.key(name, mark) for name in store.names()]
        for store, mark in zip((source, target), match.marks, strict=True)
    )
    place = {key: row for row, key in enumerate(ours)}
    partner = np.array([place.get(key, -1) for key in theirs], np.int64)
    hashes = target.hashes()
    hashes[partner >= 0] = source.hashes()[partner[partner >= 0]]
    parts = [part[partner[part] >= 0] for part in split(target, share, hashes)]
    if not len(parts[1]) or (share < 1 and not len(parts[0])):
        raise DataError(
            f"too few pairs with {target.meta['source']['path']} can be read: one is needed to"
            " learn from, and another one to hold out"
        )
    return (partner[parts[0]], partner[parts[1]]), (parts[0], parts[1])


def packed(
    chosen: config.Data,
    *,
    progress: Progress | None = None,
    workers: int | None = None,
    found: tuple[sources.Source, Preparation] | None = None,
) -> tuple[Store, sources.Index]:
    """The packed store of a setting, however many of its files are bad; of a stream a sample.

    Where no value of the set's 16-bit pictures needs all their bits, and nothing was chosen, they
    are packed again by the bits they need: how many is known when all were seen once.

    found: the source and how it is prepared, where this is known
    """
    source, how = found or _source(chosen)

    def pack(how: Preparation) -> tuple[Store, sources.Index]:
        what = source
        if chosen.stream:
            assert isinstance(source, Shards)
            what = Sample(source, how, chosen.test_share, workers)
        cache = cache_folder(chosen.cache)
        return ingest(what, how, cache, progress=progress, workers=workers)

    store, index = pack(how)
    peak = store.meta["peak"]
    depth = depth_of(peak)
    if depth is None or chosen.depth not in (None, 16):
        return store, index
    if chosen.depth == 16:
        index.notes.append(
            f"no value of the 16-bit pictures is above {peak:,}, so they are dark with data.depth"
            f" 16; data.depth {depth} would make {(1 << depth) - 1:,} white"
        )
        return store, index
    store, index = pack(replace(how, depth=depth))
    index.notes.append(
        f"no value of the 16-bit pictures is above {peak:,}, so they are taken as of {depth} bits:"
        f" {(1 << depth) - 1:,} becomes white; to have it otherwise, choose data.depth (16 uses"
        " all bits)"
    )
    return store, index


def _source(chosen: config.Data) -> tuple[sources.Source, Preparation]:
    """What is packed, and how. Raises ConfigError for what cannot be streamed, but is to be."""
    source = find(chosen.path)
    if chosen.labels_file is not None:
        if not isinstance(source, sources.Folder):
            raise ConfigError(
                f"data.labels_file says the classes of files in a folder, and {chosen.path} is"
                " none; leave it out"
            )
        table = Path(chosen.labels_file).expanduser()
        source = sources.Folder(chosen.path, source.root, table)
    how = _preparation(chosen, source)
    if not chosen.stream:
        return source, how
    if not isinstance(source, Shards) or (chosen.task, chosen.origin) == ("translate", "given"):
        raise ConfigError(
            f"data.stream reads one set of tar or Parquet shards, and {chosen.path} is none;"
            " leave out data.stream to have the images packed"
        )
    return source, how


def _preparation(chosen: config.Data, source: sources.Source) -> Preparation:
    height, width = (chosen.size, chosen.size) if chosen.size is not None else source.size()
    return Preparation(
        height=height,
        width=width,
        channels=chosen.channels,
        resize=chosen.resize,
        background=colour(chosen.background),
        depth=None if chosen.depth == 16 else chosen.depth,
    )


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
    ignored = beside(store, index)
    found = ", ".join(f"{count:,} {kind}" for kind, count in [*ignored.items()][:5])
    listed = [f"; not taken: {printable(name)} ({why})" for name, why in index.listed[:1]]
    raise DataError(
        f"no images in {chosen.path} (found {found or 'nothing'}"
        f"{''.join(listed)}{_mended(ignored)}); give a place that holds"
        f" {', '.join(kind[1:] for kind in EXTENSIONS)} files"
    )


# --------------------------------------------------------------------------- what is not used


def unused(ignored: Mapping[str, int], taken: int) -> list[str]:
    """Sentences on the files of a source that no training sees, with what may be done about them.

    ignored: how many there are of each kind: an ending, or what else they are called. Pictures
        that are not read are told first, and above all else where they are most of them. Hidden
        files are not worth a word
    taken: number of images that are read
    """
    kinds = {kind: count for kind, count in ignored.items() if kind != "hidden" and count}
    pictures = {k: n for k, n in kinds.items() if k in UNREAD or k.endswith(sources.INSIDE)}
    others = {k: n for k, n in kinds.items() if k not in pictures}
    told = []
    if total := sum(pictures.values()):
        most = f"most pictures, {total:,} of {total + taken:,}," if total > taken else f"{total:,}"
        what = "are not read" if total > taken else "pictures are not read"
        if total == 1 and taken:
            what = "picture is not read"
        told.append(f"{most} {what}: {_counted(pictures)}")
    if others:
        told.append(f"files that are not used: {_counted(others)}")
    return told


def _counted(kinds: Mapping[str, int], most: int = 8) -> str:
    parts = []
    for kind, count in [*kinds.items()][:most]:
        ending = kind.removesuffix(sources.INSIDE)
        mend = MENDS.get(ending, "" if ending == kind else f"give them the ending {ending}")
        parts.append(f"{count:,} {plain(kind)}{f' ({mend})' if mend else ''}")
    rest = sum([*kinds.values()][most:])
    return ", ".join([*parts, *([f"{rest:,} of other kinds"] if rest else [])])


def _mended(ignored: Mapping[str, int]) -> str:
    mends = {MENDS[kind]: kind for kind in ignored if kind in MENDS}
    return "".join(f"; {kind}: {mend}" for mend, kind in [*mends.items()][:2])


# ------------------------------------------------------------------------------------- classes


def refuse_unlabelled(store: Store, chosen: config.Data, index: sources.Index) -> None:
    """Raises DataError where an image has no class, unless it is in a folder of such images."""
    if index.label_error:
        raise DataError(index.label_error)
    if not index.labels and {*sources.TRAIN} & _lower(store) and {*sources.TEST} & _lower(store):
        raise DataError(
            f"the classes of {chosen.path} would be {_some(store.classes)}, which are names of a"
            " split; leave nothing beside these folders, and put those of the classes into them"
        )
    without = np.flatnonzero(store.labels < 0)
    if len(without) and index.unlabelled:
        names = store.names()
        without = without[
            [names[row].partition("/")[0] not in index.unlabelled for row in without]
        ]
    if len(without):
        mend = "put each into a sub-folder named after its class"
        if index.labels:
            mend = f"name each with its class in {index.labels.origin}"
        raise DataError(
            f"labels were asked for, but {len(without):,} of {len(store):,} images"
            f" in {chosen.path} have none; {mend}"
        )


def _lower(store: Store) -> set[str]:
    return {name.lower() for name in store.classes}


def with_classes(
    one: PackedSet, train: np.ndarray, test: np.ndarray, *, given: bool = False
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The rows of :func:`with_class`, and all that is to be said about classes.

    Rows stay as they are where sources are given with them, and of a stream, of which they are but
    a sample: that says nothing of what a class has in all. Raises DataError where one is missing.
    """
    chosen = one.chosen
    refuse_unlabelled(one.store, chosen, one.index)
    told: list[str] = []
    if not given and not chosen.stream:
        train, test, told = with_class(one, train, test)
    if chosen.test_share < 1 and not chosen.stream:
        told += about_classes(one.store, train, test)
    return train, test, told


def with_class(
    one: PackedSet, train: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The rows that a training with classes can use, and sentences on the others.

    Images without a class are left out, and held-out ones of a class that is not trained: no
    network knows it. Where all images are held out none is trained here. Raises DataError where
    too few are left.
    """
    labels, classes = one.store.labels, one.store.classes
    told = list(one.index.labels.notes) if one.index.labels else []
    if without := int((labels[train] < 0).sum() + (labels[test] < 0).sum()):
        told.append(f"{without:,} images without a class are left out, as classes are learnt")
        train, test = train[labels[train] >= 0], test[labels[test] >= 0]
    trained = np.bincount(labels[train], minlength=len(classes)) > 0
    if len(train) and not trained[labels[test]].all():
        unknown = int((~trained[labels[test]]).sum())
        test = test[trained[labels[test]]]
        told.append(
            f"{unknown:,} held-out images of classes without a training image are left out"
        )
    if not len(test) or (not len(train) and one.chosen.test_share < 1):
        raise DataError(
            f"too few images in {one.chosen.path} have a class that can be learnt: one is needed"
            " to learn from, and another one to hold out"
        )
    return train, test, told


def about_classes(store: Store, train: np.ndarray, test: np.ndarray) -> list[str]:
    """Sentences on classes that the split, or too few images, left with little or nothing."""
    counts = [
        np.bincount(store.labels[rows][store.labels[rows] >= 0], minlength=len(store.classes))
        for rows in (train, test, np.arange(len(store)))
    ]
    learnt, held_out, all_of_them = counts
    told = []
    for which, one, many in (
        (learnt == 0, "has no training image: it is not learnt, and cannot be generated",
         "have no training image: they are not learnt, and cannot be generated"),
        ((learnt == 1) & (all_of_them == 1), "has a single image, which is learnt by heart",
         "have a single image each, which are learnt by heart"),
        ((learnt > 0) & (held_out == 0) & (all_of_them > 1),
         "has no held-out image, so that no score tells how well it is learnt",
         "have no held-out image, so that no score tells how well they are learnt"),
    ):  # fmt: skip
        names = [name for name, so in zip(store.classes, which, strict=True) if so]
        if names:
            few = len(names) == 1
            told.append(f"{'class' if few else 'classes'} {_some(names)} {one if few else many}")
    return told


def _some(names: Sequence[str]) -> str:
    return some([short(printable(name), 60) for name in names])


def beside(store: Store, index: sources.Index) -> dict[str, int]:
    """What a source has beside its images, listed or met while they were read: each kind's number.

    The most frequent kinds come first.
    """
    return dict((Counter(index.ignored) + Counter(store.meta["unused"])).most_common())


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
        "split": _split_in_words(chosen, own),
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
        "ignored": beside(store, index),
        "duplicates": len(store) - store.meta["distinct"],
        "leaks": len(leaked),
    }


def _split_in_words(chosen: config.Data, own: bool) -> str:
    if chosen.test_share == 1:
        return "all held out"
    return "the source's own" if own else f"by content, {chosen.test_share:.0%} held out"


def _notes(report: dict[str, Any], chosen: config.Data) -> list[str]:
    notes = unused(report["ignored"], report["images"])
    if beyond := report["policies"].get(MEANING[Policy.CUT_OFF]):
        notes.append(f"{beyond:,} pictures are {MEANING[Policy.CUT_OFF]}")
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
