"""Sets to translate between: DIR/source and DIR/target, in pairs or not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ganvae.data.sources import Folder
from ganvae.errors import DataError

SOURCE, TARGET = "source", "target"
FEW = 0.01
"""Sets of which a smaller share have a partner by name are no pairs."""


@dataclass(frozen=True)
class Match:
    """How two sets go together by name, without suffix, of their files.

    paired: whether every file has a partner
    unmatched: files of a set without one, ``source/`` or ``target/`` in front
    problem: what is wrong where the sets are neither in pairs nor without any
    """

    paired: bool
    unmatched: list[str]
    problem: str | None


def paired(path: str) -> bool:
    """Whether DIR/source and DIR/target are pairs, by their names alone; nothing is decoded.

    Raises DataError where there are no such folders, or some files have a partner and some not.
    """
    names = [Folder(str(folder), folder).index().names for folder in folders(path)]
    match = compare(path, *names)
    if match.problem:
        raise DataError(match.problem)
    return match.paired


def folders(path: str) -> tuple[Path, Path]:
    """DIR/source and DIR/target. Raises DataError where one of them is missing."""
    found = Path(path).expanduser() / SOURCE, Path(path).expanduser() / TARGET
    for folder in found:
        if not folder.is_dir():
            raise DataError(
                f"there is no folder {folder}; a translation learns from {path}/{SOURCE} and"
                f" {path}/{TARGET}, or from a single set whose sources data.origin makes"
            )
    return found


def are_here(path: str) -> bool:
    """Whether a path is a folder of ``source`` and ``target`` and nothing else."""
    try:
        entries = {entry.name: entry for entry in Path(path).expanduser().iterdir()}
    except (OSError, ValueError):
        return False
    seen = {name for name in entries if not name.startswith(".")}
    return seen == {SOURCE, TARGET} and all(entries[name].is_dir() for name in seen)


def key(name: str) -> str:
    """What partners have in common: the path without its suffix."""
    return os.path.splitext(name)[0]


def compare(path: str, sources: list[str], targets: list[str]) -> Match:
    """Compares the names of two sets, each sorted and relative to its folder."""
    if not sources or not targets:
        return Match(False, [], f"no images in {path}/{TARGET if sources else SOURCE}")
    of_sources, of_targets = {key(name) for name in sources}, {key(name) for name in targets}
    common = of_sources & of_targets
    if len(common) < FEW * min(len(of_sources), len(of_targets)):
        return Match(False, [], None)
    lonely = [[name for name in names if key(name) not in common] for names in (sources, targets)]
    unmatched = [f"{SOURCE}/{name}" for name in lonely[0]]
    unmatched += [f"{TARGET}/{name}" for name in lonely[1]]
    if unmatched:
        return Match(False, unmatched, _lonely(path, lonely[0], lonely[1], len(common)))
    twins = _twins(SOURCE, sources) or _twins(TARGET, targets)
    return Match(not twins, [], f"{twins} in {path}; rename or remove one" if twins else None)


def _lonely(path: str, sources: list[str], targets: list[str], common: int) -> str:
    told = []
    for where, names in ((SOURCE, sources), (TARGET, targets)):
        if names:
            more = ", …" if len(names) > 3 else ""
            told.append(f"{len(names):,} in {where} ({', '.join(map(repr, names[:3]))}{more})")
    return (
        f"{common:,} files of {path} have a partner of the same name in the other folder, but"
        f" {' and '.join(told)} have none; add or remove these, or for sets that are no pairs"
        " give all of them different names"
    )


def _twins(where: str, names: list[str]) -> str:
    before: dict[str, str] = {}
    for name in names:
        other = before.setdefault(key(name), name)
        if other != name:
            return f"{where}/{other} and {where}/{name} would have the same partner"
    return ""
