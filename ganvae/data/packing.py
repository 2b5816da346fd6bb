"""From settings to packed images: checks the settings, finds the source, packs it into a store."""

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

    settings: config.Data
    source: Source
    how: Preparation
    store: Store
    index: Index


def pack(
    settings: config.Data, *, progress: Progress | None = None, workers: int | None = None
) -> PackedSet:
    """Packs the images of some settings, however many of its files are bad; of a stream a sample.

    Where no value of the set's 16-bit pictures needs all their bits, and the settings leave the
    depth open, they are packed again with the depth they need, which the first pass has found.

    Raises DataError, or ConfigError for a setting that does not fit the source.
    """
    source = _source(settings)
    how = _preparation(settings, source)
    shards = _shards(source, settings) if settings.stream else None

    def packed(preparation: Preparation) -> PackedSet:
        images = Sample(shards, preparation, settings.test_share, workers) if shards else source
        cache = cache_folder(settings.cache)
        store, index = ingest(images, preparation, cache, progress=progress, workers=workers)
        return PackedSet(settings, source, preparation, store, index)

    result = packed(how)
    peak = result.store.meta["peak"]
    depth = depth_of(peak)
    if depth is None or settings.depth not in (None, 16):
        return result
    if settings.depth == 16:
        result.index.notes.append(
            f"no value of the 16-bit pictures is above {peak:,}, so they are dark with data.depth"
            f" 16; data.depth {depth} would make {(1 << depth) - 1:,} white"
        )
        return result
    result = packed(replace(how, depth=depth))
    result.index.notes.append(
        f"no value of the 16-bit pictures is above {peak:,}, so they are taken as of {depth} bits:"
        f" {(1 << depth) - 1:,} becomes white; to have it otherwise, choose data.depth (16 uses"
        " all bits)"
    )
    return result


def _source(settings: config.Data) -> Source:
    source = find(settings.path)
    if settings.labels_file is None:
        return source
    if not isinstance(source, Folder):
        raise ConfigError(
            f"data.labels_file says the classes of files in a folder, and {settings.path} is"
            " none; leave it out"
        )
    return Folder(settings.path, source.root, Path(settings.labels_file).expanduser())


def _preparation(settings: config.Data, source: Source) -> Preparation:
    height, width = (settings.size, settings.size) if settings.size is not None else source.size()
    return Preparation(
        height=height,
        width=width,
        channels=settings.channels,
        resize=settings.resize,
        background=colour(settings.background),
        depth=None if settings.depth == 16 else settings.depth,
    )


def _shards(source: Source, settings: config.Data) -> Shards:
    """The source, if it can be streamed. Raises ConfigError for all others."""
    between_sets = TASKS[settings.task].starts_from(settings.origin) == "given"
    if not isinstance(source, Shards) or between_sets:
        raise ConfigError(
            f"data.stream reads one set of tar or Parquet shards, and {settings.path} is none;"
            " leave out data.stream to have the images packed"
        )
    return source


def refuse_contradictions(settings: config.Data) -> None:
    """Raises ConfigError for settings of the data that cannot be, whatever the images are."""
    if not 0 <= settings.max_bad <= 1:
        raise ConfigError(f"data.max_bad must be between 0 and 1, got {settings.max_bad}")
    if settings.stream and settings.test_share == 1:
        raise ConfigError(
            "data.test_share 1 holds all images out, and of data.stream only a sample is packed;"
            " leave out one of them"
        )
    if settings.labels_file is not None and not settings.labels:
        raise ConfigError(
            f"data.labels_file {settings.labels_file} says classes, and none are asked for; add"
            " --data.labels, or leave it out"
        )
    if settings.origin != "given" and TASKS[settings.task].origin != "given":
        raise ConfigError(
            f"data.origin {settings.origin} is what a translation starts from, and data.task is"
            f" {settings.task}; choose data.task translate, or leave data.origin out"
        )
    if settings.masks != config.Data.masks and TASKS[settings.task].origin != "masked":
        raise ConfigError(
            f"data.masks {settings.masks} is what a completion learns from, and data.task is"
            f" {settings.task}; choose data.task complete, or leave data.masks out"
        )


def refuse_untold(settings: config.Data, overrides: Container[str], run: Path | str) -> None:
    """Raises ConfigError where a run's settings lead elsewhere and the user does not repeat them.

    A run's directory may come from anybody: it does not decide what is asked for over the network
    or where this machine writes.

    overrides: the settings that the user gives here, by dotted name
    """
    if "data.path" not in overrides and is_remote(settings.path):
        raise ConfigError(
            f"{run} names images that are not on this machine, {settings.path}: to have them asked"
            " for, name them, too"
        )
    if "data.cache" not in overrides and settings.cache is not None:
        raise ConfigError(
            f"{run} names a place for packed images, {settings.cache}: confirm it with"
            " --data.cache, or set data.cache to none for the usual one"
        )
