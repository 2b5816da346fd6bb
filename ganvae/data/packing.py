"""From a setting to packed images: the source, how its images are prepared, their store."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ganvae import config
from ganvae.data.decode import Preparation, colour, depth_of
from ganvae.data.find import find
from ganvae.data.hub import Shards
from ganvae.data.sample import Sample
from ganvae.data.sources import Folder, Index, Source
from ganvae.data.store import Progress, Store, cache_folder, ingest
from ganvae.errors import ConfigError
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
