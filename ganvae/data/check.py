"""Everything that may be wrong with some images, found before any training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from ganvae import config
from ganvae.data import near, pairs
from ganvae.data.findings import beside, printable, unused, with_classes
from ganvae.data.packing import PackedSet, pack
from ganvae.data.sample import SAMPLE
from ganvae.data.split import Sides, as_keys, duplicates, split
from ganvae.data.store import Store
from ganvae.errors import DataError
from ganvae.progress import Progress
from ganvae.task import TASKS

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a check found; names are those within the source.

    defects: images that cannot be read, with the reason
    listed: entries that were not taken or need a look, with the reason
    ignored: other files by kind
    policies: how many images were converted or resized, and how
    duplicates: groups of images of equal content
    near_duplicates: pairs (name, name, correlation) that show the same picture
    leaks: (held-out name, training name, "equal" or "near"): scores on these flatter
    problems: sentences that keep a training from starting
    notes: sentences a user should read
    sources: of a set to translate to, the report of the set to translate from
    paired: whether the two are in pairs
    unmatched: names without a partner, where others have one
    packed: folder that the packed images are in, made again where it is deleted; and its bytes
    """

    source: str
    kind: str
    images: int
    train: int
    test: int
    shape: tuple[int, int, int]
    classes: dict[str, int] = field(default_factory=dict)
    defects: list[tuple[str, str]] = field(default_factory=list)
    listed: list[tuple[str, str]] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)
    policies: dict[str, int] = field(default_factory=dict)
    duplicates: list[list[str]] = field(default_factory=list)
    near_duplicates: list[tuple[str, str, float]] = field(default_factory=list)
    leaks: list[tuple[str, str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sources: Report | None = None
    paired: bool | None = None
    unmatched: list[str] = field(default_factory=list)
    packed: tuple[str, int] | None = None

    @property
    def ok(self) -> bool:
        """Whether there are no problems, defects, copies or leaks, whatever a training does."""
        faults = self.defects or self.duplicates or self.near_duplicates or self.leaks
        return not (self.problems or faults) and (self.sources is None or self.sources.ok)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary."""
        return asdict(self) | {"ok": self.ok}

    def lines(self, most: int = 10) -> list[str]:
        """The report as text, with at most so many names of each kind."""
        text = self._of_set(most)
        if self.sources is not None:
            extent = "" if self.paired else "not all " if self.unmatched else "not "
            text += [*self.sources._of_set(most), f"sources and targets are {extent}in pairs"]
            text += _listing("without a partner", list(map(printable, self.unmatched)), most)
        return text + self.problems + self.notes

    def _of_set(self, most: int) -> list[str]:
        """The lines of this set alone."""
        channels, height, width = self.shape
        text = [
            f"{self.source}: {self.images:,} images of {height}x{width},"
            f" {'grey' if channels == 1 else 'RGB'}; {self.train:,} to train on,"
            f" {self.test:,} held out"
        ]
        text += [f"  class {printable(name)}: {count:,}" for name, count in self.classes.items()]
        text += [f"  {count:,} {meaning}" for meaning, count in self.policies.items()]
        if self.packed is not None:
            place, size = self.packed
            text.append(f"  packed in {place}, {size / 1e6:,.1f} MB, which may be deleted")
        text += [f"  {line}" for line in unused(self.ignored, self.images)]
        text += _listing("unreadable", [f"{printable(n)}: {why}" for n, why in self.defects], most)
        text += _listing("to look at", [f"{printable(n)}: {why}" for n, why in self.listed], most)
        groups = [" = ".join(map(printable, group[:5])) for group in self.duplicates]
        text += _listing("groups of equal images", groups, most)
        pairs = [f"{printable(a)} ~ {printable(b)} ({s:.3f})" for a, b, s in self.near_duplicates]
        text += _listing("pairs of near-duplicates", pairs, most)
        leaks = [f"{printable(a)} is also {printable(b)} ({kind})" for a, b, kind in self.leaks]
        return text + _listing("held-out images that leak into training", leaks, most)


def _listing(title: str, entries: list[str], most: int) -> list[str]:
    if not entries:
        return []
    more = [f"  … and {len(entries) - most:,} more"] if len(entries) > most else []
    return [f"{title}: {len(entries):,}", *(f"  {entry}" for entry in entries[:most]), *more]


def check(
    settings: config.Data, *, progress: Progress | None = None, workers: int | None = None
) -> Report:
    """Packs the images if need be and looks for every defect, copy and leak.

    A folder of ``source`` and ``target`` alone is looked at as sets to translate between. Of
    shards to be read while training it is the sample that is packed and looked at.

    progress: called with "images packed", how many are, and of how many where that is known

    Raises DataError where there is no such source.
    """
    origin = TASKS[settings.task].starts_from(settings.origin)
    between = origin == "given" or (origin is None and pairs.are_here(settings.path))
    if between and not settings.stream:
        return _check_sets(settings, progress, workers)
    return _examine(pack(settings, progress=progress, workers=workers))


def _check_sets(settings: config.Data, progress: Progress | None, workers: int | None) -> Report:
    """The report of the targets, with that of the sources inside."""
    source, target = (
        pack(setting, progress=progress, workers=workers) for setting in pairs.settings(settings)
    )
    match = pairs.compare(settings.path, source.index.names, target.index.names)
    sides: tuple[Sides | None, Sides | None] = None, None
    problems: list[str] = []
    if match.paired and len(source.store) and len(target.store):
        sides, problems = _attempt(
            lambda: pairs.split_together(source.store, target.store, settings.test_share, match),
            (_everything(source.store), _everything(target.store)),
        )
    elif match.problem and source.index.names and target.index.names:
        problems = [match.problem]
    sources, targets = map(_examine, (source, target), sides)
    return replace(
        targets,
        sources=sources,
        paired=match.paired,
        unmatched=match.unmatched,
        problems=[*(f"sources: {p}" for p in sources.problems), *targets.problems, *problems],
        notes=[*(f"sources: {note}" for note in sources.notes), *targets.notes],
    )


def _everything(store: Store) -> Sides:
    return np.arange(len(store)), np.zeros(0, np.int64)


def _attempt(work: Callable[[], _T], otherwise: _T) -> tuple[_T, list[str]]:
    """The result of ``work`` and no problems; or, where it fails, ``otherwise`` and the reason."""
    try:
        return work(), []
    except DataError as error:
        return otherwise, [str(error)]


def _examine(packed: PackedSet, sides: Sides | None = None) -> Report:
    """The report of a set, split as training would split it, or by ``sides``."""
    settings, store, index = packed.settings, packed.store, packed.index
    bad = store.meta["bad"]
    problems = []
    if len(bad) > settings.max_bad * (len(store) + len(bad)):
        problems.append(
            f"{len(bad):,} unreadable images are more than"
            f" data.max_bad={settings.max_bad:g} allows"
        )
    fixed = sides is not None or not len(store)
    if not fixed:
        sides, wrong = _attempt(lambda: split(store, settings.test_share), _everything(store))
        problems += wrong
        fixed = bool(wrong)
    rows = sides or _everything(store)
    class_notes: list[str] = []
    if settings.labels:
        (rows, class_notes), wrong = _attempt(
            partial(with_classes, packed, rows, fixed=fixed), (rows, class_notes)
        )
        problems += wrong
    train, test = rows
    if not len(store):
        problems.append(f"no images in {settings.path}")
    names = store.names()
    hashes = store.hashes()
    groups = duplicates(hashes)
    _, first = np.unique(as_keys(hashes), return_index=True)
    pairs, notes = near.near_duplicates(store, np.sort(first))
    if settings.stream:
        notes.append(
            f"this is a sample, up to {SAMPLE:,} images held out and {SAMPLE:,} to train on, as"
            " data.stream packs it; leave out data.stream to have all images packed and looked at"
        )
    height, width, channels = store.shape
    return Report(
        source=settings.path,
        kind=store.meta["source"]["kind"],
        images=len(store),
        train=len(train),
        test=len(test),
        shape=(channels, height, width),
        classes=_classes(store),
        defects=[(name, why) for name, why in bad],
        listed=index.listed,
        ignored=beside(packed),
        policies=store.meta["policies"],
        duplicates=[[names[row] for row in group] for group in groups],
        near_duplicates=[(names[p.first], names[p.second], p.similarity) for p in pairs],
        leaks=_leaks(names, test, groups, pairs),
        problems=problems,
        notes=[*index.notes, *class_notes, *notes],
        packed=(str(store.folder), sum(f.stat().st_size for f in store.folder.iterdir())),
    )


def _classes(store: Store) -> dict[str, int]:
    labels = store.labels[store.labels >= 0]
    counts = np.bincount(labels, minlength=len(store.classes)).tolist()
    return dict(zip(store.classes, counts, strict=True)) if len(labels) else {}


def _leaks(
    names: list[str], test: np.ndarray, groups: list[np.ndarray], pairs: list[near.Pair]
) -> list[tuple[str, str, str]]:
    held_out = np.zeros(len(names), np.bool_)
    held_out[test] = True
    leaks = []
    for group in groups:
        inside = group[~held_out[group]]
        if len(inside):
            original = names[inside[0]]
            leaks += [(names[row], original, "equal") for row in group[held_out[group]]]
    for pair in pairs:
        if held_out[pair.first] != held_out[pair.second]:
            first, second = pair.first, pair.second
            test_row, train_row = (first, second) if held_out[first] else (second, first)
            leaks.append((names[test_row], names[train_row], "near"))
    return leaks
