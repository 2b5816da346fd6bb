"""Sets to translate between: DIR/source and DIR/target, in pairs or not."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ganvae import config
from ganvae.data.folder import Folder
from ganvae.data.formats import opened
from ganvae.data.split import Sides, split
from ganvae.data.store import Store
from ganvae.errors import DataError

SOURCE, TARGET = "source", "target"
FEW = 0.01
"""Sets of which a smaller share have a partner by name are no pairs."""
MARKS = (
    ("a", "b"), ("source", "target"), ("src", "tgt"), ("src", "dst"), ("input", "output"),
    ("input", "target"), ("input", "gt"), ("in", "out"), ("x", "y"), ("lr", "hr"), ("lq", "hq"),
    ("lq", "gt"), ("low", "high"), ("before", "after"),
)  # fmt: skip
"""Prefixes or suffixes that tell partners apart, as in ``001_A.png`` and ``001_B.png``."""
LOOKED_AT = 16
"""Images of which the size is looked at to tell pairs side by side."""


@dataclass(frozen=True)
class Match:
    """How two sets go together by name, without suffix, of their files.

    paired: whether every file has a partner
    unmatched: files of a set without one, ``source/`` or ``target/`` in front
    problem: what is wrong where the sets are neither in pairs nor without any
    marks: what is cut off the names of sources and of targets, so that those of partners are equal
    """

    paired: bool
    unmatched: list[str]
    problem: str | None
    marks: tuple[str, str] = ("", "")


def match(path: str, paired: bool | None = None) -> Match:
    """How DIR/source and DIR/target match, by their names alone: nothing is decoded.

    paired: whether they must be in pairs (True), or are taken as they are (False)

    Raises DataError where there are no such folders, or where they do not match as they have to.
    """
    names = [Folder(str(folder), folder).index().names for folder in folders(path)]
    match = compare(path, *names)
    if match.problem and paired is not False:
        raise DataError(match.problem)
    if paired and not match.paired:
        raise DataError(
            f"hardly any image in {path}/{SOURCE} has the name of one in {path}/{TARGET}, but"
            " pairs are needed; name both of a pair alike, or choose an objective for unpaired"
            " sets, such as unit"
        )
    return match


def settings(data: config.Data) -> tuple[config.Data, config.Data]:
    """The settings of the sources and of the targets; grey sources stay grey, without classes."""
    source, target = folders(data.path)
    return (
        replace(data, path=str(source), channels=None, labels=False),
        replace(data, path=str(target)),
    )


def split_together(
    source: Store, target: Store, share: float, match: Match
) -> tuple[Sides, Sides]:
    """Rows (training, held out) of the sources and of the targets, each at its partner's place.

    The target says what is held out, and pairs of equal sources stay together. A pair of which one
    could not be read is left out. Raises DataError where too few are left.
    """
    sources, targets = (
        [key(name, mark) for name in store.names()]
        for store, mark in zip((source, target), match.marks, strict=True)
    )
    place = {key: row for row, key in enumerate(sources)}
    partner = np.array([place.get(key, -1) for key in targets], np.int64)
    hashes = target.hashes()
    hashes[partner >= 0] = source.hashes()[partner[partner >= 0]]
    train, test = (rows[partner[rows] >= 0] for rows in split(target, share, hashes))
    if not len(test) or (share < 1 and not len(train)):
        raise DataError(
            f"too few pairs with {target.meta['source']['path']} can be read: one is needed to"
            " learn from, and another one to hold out"
        )
    return (partner[train], partner[test]), (train, test)


def notes(path: str, match: Match) -> list[str]:
    """Notes for the user on how two sets were matched."""
    if any(match.marks):
        first, second = match.marks
        return [
            f"the images in {path} are pairs by their names, where {first} among the sources is"
            f" {second} among the targets"
        ]
    if match.paired:
        return []
    return [
        f"no image in {path}/{SOURCE} has the name of one in {path}/{TARGET}: they are"
        " taken as sets without pairs; name both of a pair alike if there are some"
    ]


def folders(path: str) -> tuple[Path, Path]:
    """DIR/source and DIR/target. Raises DataError where one of them is missing."""
    paths = Path(path).expanduser() / SOURCE, Path(path).expanduser() / TARGET
    for folder in paths:
        if not folder.is_dir():
            raise DataError(
                f"there is no folder {folder}; a translation learns from {path}/{SOURCE} and"
                f" {path}/{TARGET}, or from a single set whose sources data.origin makes"
                f"{_mend(Path(path).expanduser())}"
            )
    return paths


def are_here(path: str) -> bool:
    """Whether a path is a folder of ``source`` and ``target`` and nothing else."""
    try:
        entries = {entry.name: entry for entry in Path(path).expanduser().iterdir()}
    except (OSError, ValueError):
        return False
    names = {name for name in entries if not name.startswith(".")}
    return names == {SOURCE, TARGET} and all(entries[name].is_dir() for name in names)


def _mend(folder: Path) -> str:
    """Advice how to turn a folder of pairs laid out for another tool into ours; else empty."""
    if is_cycle(folder):
        return (
            f"; trainA and trainB are such sets: make them {SOURCE}/train and {TARGET}/train, and"
            f" testA and testB {SOURCE}/test and {TARGET}/test"
        )
    if not folder.is_dir():
        return ""
    index = Folder(str(folder), folder).index()
    for marks in MARKS:
        ours = [[name for name in index.names if _marked(name, mark)] for mark in marks]
        keys = [{key(name, mark) for name in own} for own, mark in zip(ours, marks, strict=True)]
        if keys[0] == keys[1] and sum(map(len, ours)) == len(index.names) > 0:
            return (
                f"; its images are pairs by name, such as {ours[0][0]!r} and {ours[1][0]!r}: move"
                f" the former ones into {SOURCE}/, the latter into {TARGET}/"
            )
    if _side_by_side(folder, index.names):
        return (
            "; its images are twice as wide as high, as pairs side by side are: save the left"
            f" halves in {SOURCE}/ and the right ones in {TARGET}/, under the same names"
        )
    return ""


def is_cycle(folder: Path) -> bool:
    """Whether a folder has sub-folders ``trainA`` and ``trainB``, as those of CycleGAN have."""
    return all(os.path.isdir(folder / f"train{which}") for which in "AB")


def _side_by_side(folder: Path, names: list[str]) -> bool:
    """Whether images are twice as wide as high, by the headers of some of them."""
    sample = names[:: max(1, len(names) // LOOKED_AT)][:LOOKED_AT]
    for name in sample:
        try:
            with (folder / name).open("rb") as file, opened(file) as image:
                width, height = image.size
        except Exception:  # whatever is wrong with a file, it is no pair
            return False
        if width != 2 * height:
            return False
    return len(sample) > 1


def key(name: str, mark: str = "") -> str:
    """The key that partners share: the path without its suffix, and without a mark."""
    stem = os.path.splitext(name)[0]
    if not mark:
        return stem
    folder, slash, base = stem.rpartition("/")
    return f"{folder}{slash}{_bare(base, mark) or base}"


def _bare(base: str, mark: str) -> str:
    """A name without a mark at its end or beginning; empty where it has none."""
    match = re.fullmatch(rf"(.+)[ _.-]{mark}|{mark}[ _.-](.+)", base, re.IGNORECASE | re.DOTALL)
    return "" if match is None else match[1] or match[2]


def _marked(name: str, mark: str) -> bool:
    return bool(_bare(os.path.splitext(name)[0].rpartition("/")[2], mark))


def _marks(sources: list[str], targets: list[str]) -> tuple[str, str]:
    """The marks that all names of sources, and all names of targets, have; else none."""
    for first, second in MARKS:
        for marks in ((first, second), (second, first)):
            if all(
                _marked(name, mark)
                for names, mark in zip((sources, targets), marks, strict=True)
                for name in names
            ):
                return marks
    return "", ""


def compare(path: str, sources: list[str], targets: list[str]) -> Match:
    """Compares the names of two sets, each sorted and relative to its folder."""
    if not sources or not targets:
        return Match(False, [], f"no images in {path}/{TARGET if sources else SOURCE}")
    marks = ("", "")
    common = {key(name) for name in sources} & {key(name) for name in targets}
    if len(common) < FEW * min(len(sources), len(targets)):
        marks = _marks(sources, targets)
        common = {key(n, marks[0]) for n in sources} & {key(n, marks[1]) for n in targets}
    if len(common) < FEW * min(len(sources), len(targets)):
        return Match(False, [], None)
    lonely = [
        [name for name in names if key(name, mark) not in common]
        for names, mark in zip((sources, targets), marks, strict=True)
    ]
    unmatched = [f"{SOURCE}/{name}" for name in lonely[0]]
    unmatched += [f"{TARGET}/{name}" for name in lonely[1]]
    if unmatched:
        return Match(False, unmatched, _lonely(path, lonely[0], lonely[1], len(common)))
    twins = _twins(SOURCE, sources, marks[0]) or _twins(TARGET, targets, marks[1])
    problem = f"{twins} in {path}; rename or remove one" if twins else None
    return Match(not twins, [], problem, marks)


def _lonely(path: str, sources: list[str], targets: list[str], common: int) -> str:
    parts = []
    for folder, names in ((SOURCE, sources), (TARGET, targets)):
        if names:
            more = ", …" if len(names) > 3 else ""
            parts.append(f"{len(names):,} in {folder} ({', '.join(map(repr, names[:3]))}{more})")
    return (
        f"{common:,} files of {path} have a partner of the same name in the other folder, but"
        f" {' and '.join(parts)} have none; add or remove these, or for sets that are no pairs"
        " give all of them different names"
    )


def _twins(folder: str, names: list[str], mark: str) -> str:
    names_by_key: dict[str, str] = {}
    for name in names:
        twin = names_by_key.setdefault(key(name, mark), name)
        if twin != name:
            return f"{folder}/{twin} and {folder}/{name} would have the same partner"
    return ""
