"""From a setting to packed images: what it may say, the source, the preparation, the store."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace
from pathlib import Path

from ganvae import config
from ganvae.data.decode import Preparation, colour, depth_of
from ganvae.data.find import find, is_remote
from ganvae.data.folder import Folder
from ganvae.data.sample import Sample
from ganvae.data.shards import Shards
from ganvae.data.sources import Index, Source
from ganvae.data.store import Store, cache_folder, ingest
from ganvae.errors import ConfigError
from ganvae.progress import Progress
from ganvae.task import TASKS


@dataclass(frozen=True)
class PackedSet:
    """A packed set of images, and the setting, the source and the listing it comes from."""

    chosen: config.Data
    source: Source
    how: Preparation
    store: Store
    index: Index


def packed(
    chosen: config.Data, *, progress: Progress | None = None, workers: int | None = None
) -> PackedSet:
    """The packed set of a setting, however many of its files are bad; of a stream a sample.

    Where no value of the set's 16-bit pictures needs all their bits, and nothing was chosen, they
    are packed again by the bits they need: how many is known when all were seen once.

    Raises DataError, or ConfigError for a setting that does not fit the source.
    """
    source = _source(chosen)
    how = _preparation(chosen, source)
    shards = _shards(source, chosen) if chosen.stream else None

    def pack(how: Preparation) -> PackedSet:
        what = Sample(shards, how, chosen.test_share, workers) if shards else source
        cache = cache_folder(chosen.cache)
        store, index = ingest(what, how, cache, progress=progress, workers=workers)
        return PackedSet(chosen, source, how, store, index)

    one = pack(how)
    peak = one.store.meta["peak"]
    depth = depth_of(peak)
    if depth is None or chosen.depth not in (None, 16):
        return one
    if chosen.depth == 16:
        one.index.notes.append(
            f"no value of the 16-bit pictures is above {peak:,}, so they are dark with data.depth"
            f" 16; data.depth {depth} would make {(1 << depth) - 1:,} white"
        )
        return one
    one = pack(replace(how, depth=depth))
    one.index.notes.append(
        f"no value of the 16-bit pictures is above {peak:,}, so they are taken as of {depth} bits:"
        f" {(1 << depth) - 1:,} becomes white; to have it otherwise, choose data.depth (16 uses"
        " all bits)"
    )
    return one


def _source(chosen: config.Data) -> Source:
    source = find(chosen.path)
    if chosen.labels_file is None:
        return source
    if not isinstance(source, Folder):
        raise ConfigError(
            f"data.labels_file says the classes of files in a folder, and {chosen.path} is"
            " none; leave it out"
        )
    return Folder(chosen.path, source.root, Path(chosen.labels_file).expanduser())


def _preparation(chosen: config.Data, source: Source) -> Preparation:
    height, width = (chosen.size, chosen.size) if chosen.size is not None else source.size()
    return Preparation(
        height=height,
        width=width,
        channels=chosen.channels,
        resize=chosen.resize,
        background=colour(chosen.background),
        depth=None if chosen.depth == 16 else chosen.depth,
    )


def _shards(source: Source, chosen: config.Data) -> Shards:
    """The source as what can be read while training. Raises ConfigError for all others."""
    between_sets = TASKS[chosen.task].starts_from(chosen.origin) == "given"
    if not isinstance(source, Shards) or between_sets:
        raise ConfigError(
            f"data.stream reads one set of tar or Parquet shards, and {chosen.path} is none;"
            " leave out data.stream to have the images packed"
        )
    return source


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
    if chosen.origin != "given" and TASKS[chosen.task].origin != "given":
        raise ConfigError(
            f"data.origin {chosen.origin} is what a translation starts from, and data.task is"
            f" {chosen.task}; choose data.task translate, or leave data.origin out"
        )
    if chosen.masks != config.Data.masks and TASKS[chosen.task].origin != "masked":
        raise ConfigError(
            f"data.masks {chosen.masks} is what a completion learns from, and data.task is"
            f" {chosen.task}; choose data.task complete, or leave data.masks out"
        )


def refuse_untold(kept: config.Data, given: Container[str], run: Path | str) -> None:
    """Raises ConfigError where a run's settings lead out of its directory and nobody confirmed it.

    A run's directory may come from anybody: it does not decide what is asked for over the network
    or where this machine writes.

    given: the settings that were named here, by dotted name
    """
    if "data.path" not in given and is_remote(kept.path):
        raise ConfigError(
            f"{run} names images that are not on this machine, {kept.path}: to have them asked"
            " for, name them, too"
        )
    if "data.cache" not in given and kept.cache is not None:
        raise ConfigError(
            f"{run} names a place for packed images, {kept.cache}: confirm it with --data.cache,"
            " or set data.cache to none for the usual one"
        )
