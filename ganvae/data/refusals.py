"""What cannot be: settings of the data, and packed images that no training can start from."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from ganvae import config
from ganvae.data.find import is_remote
from ganvae.data.findings import beside, printable
from ganvae.data.formats import EXTENSIONS, MENDS
from ganvae.data.packing import PackedSet
from ganvae.errors import ConfigError, DataError
from ganvae.task import TASKS


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
    """Raises ConfigError where a run's settings lead out of it and nobody here has said so.

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


def usable(one: PackedSet) -> PackedSet:
    """A set that a training can start from. Raises DataError for any other."""
    bad, chosen = one.store.meta["bad"], one.chosen
    total = len(one.store) + len(bad)
    if len(bad) > chosen.max_bad * total:
        examples = "; ".join(f"{printable(name)} ({why})" for name, why in bad[:5])
        more = f" and {len(bad) - 5:,} more" if len(bad) > 5 else ""
        raise DataError(
            f"{len(bad):,} of {total:,} images in {chosen.path} cannot be read: {examples}{more};"
            f" mend or remove them, or allow this share with data.max_bad (now {chosen.max_bad:g})"
        )
    if len(one.store):
        return one
    ignored = beside(one)
    there = ", ".join(f"{count:,} {kind}" for kind, count in [*ignored.items()][:5])
    listed = [f"; not taken: {printable(name)} ({why})" for name, why in one.index.listed[:1]]
    mends = {MENDS[kind]: kind for kind in ignored if kind in MENDS}
    mended = [f"; {kind}: {mend}" for mend, kind in [*mends.items()][:2]]
    raise DataError(
        f"no images in {chosen.path} (found {there or 'nothing'}{''.join([*listed, *mended])});"
        f" give a place that holds {', '.join(kind[1:] for kind in EXTENSIONS)} files"
    )
