"""What is found in packed images: a report, notes on it and on classes, what no training takes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ganvae import config
from ganvae.data.decode import MEANING, Policy
from ganvae.data.folder import INSIDE
from ganvae.data.formats import EXTENSIONS, MENDS, UNREAD
from ganvae.data.packing import PackedSet
from ganvae.data.sources import TEST, TRAIN
from ganvae.data.split import Sides, has_own_split
from ganvae.data.store import Store
from ganvae.errors import DataError
from ganvae.telling import plain, short, some

EXAMPLES = 20


def report(one: PackedSet, sides: Sides, leaked: np.ndarray) -> dict[str, Any]:
    """JSON-able counts of what was taken, converted, skipped and found twice.

    leaked: the rows held out whose content is also among those to train on
    """
    chosen, store, listed = one.chosen, one.store, one.index.listed
    train, test = sides
    bad = store.meta["bad"]
    by_content = f"by content, {chosen.test_share:.0%} held out"
    split = "the source's own" if has_own_split(store) else by_content
    return {
        "source": {"kind": store.meta["source"]["kind"], "path": chosen.path},
        "images": len(store),
        "train": len(train),
        "test": len(test),
        "split": "all held out" if chosen.test_share == 1 else split,
        "shape": list(store.shape),
        "resize": chosen.resize,
        "background": chosen.background,
        "policies": store.meta["policies"],
        "skipped": {
            "count": len(bad),
            "reasons": dict(Counter(why.partition(":")[0] for _, why in bad).most_common()),
            "examples": bad[:EXAMPLES],
        },
        "listed": {"count": len(listed), "examples": listed[:EXAMPLES]},
        "ignored": beside(one),
        "duplicates": len(store) - store.meta["distinct"],
        "leaks": len(leaked),
    }


def notes(report: dict[str, Any], chosen: config.Data) -> list[str]:
    """Sentences on what of a report a user should know."""
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


def unused(ignored: Mapping[str, int], taken: int) -> list[str]:
    """Sentences on the files of a source that no training sees, with what may be done about them.

    ignored: how many there are of each kind: an ending, or what else they are called. Pictures
        that are not read are told first, and above all else where they are most of them. Hidden
        files are not worth a word
    taken: number of images that are read
    """
    kinds = {kind: count for kind, count in ignored.items() if kind != "hidden" and count}
    pictures = {k: n for k, n in kinds.items() if k in UNREAD or k.endswith(INSIDE)}
    others = {k: n for k, n in kinds.items() if k not in pictures}
    sentences = []
    if total := sum(pictures.values()):
        most = f"most pictures, {total:,} of {total + taken:,}," if total > taken else f"{total:,}"
        what = "are not read" if total > taken else "pictures are not read"
        if total == 1 and taken:
            what = "picture is not read"
        sentences.append(f"{most} {what}: {_counted(pictures)}")
    if others:
        sentences.append(f"files that are not used: {_counted(others)}")
    return sentences


def _counted(kinds: Mapping[str, int], most: int = 8) -> str:
    parts = []
    for kind, count in [*kinds.items()][:most]:
        ending = kind.removesuffix(INSIDE)
        mend = MENDS.get(ending, "" if ending == kind else f"give them the ending {ending}")
        parts.append(f"{count:,} {plain(kind)}{f' ({mend})' if mend else ''}")
    rest = sum([*kinds.values()][most:])
    return ", ".join([*parts, *([f"{rest:,} of other kinds"] if rest else [])])


def beside(one: PackedSet) -> dict[str, int]:
    """What a source has beside its images, listed or met while they were read: each kind's number.

    The most frequent kinds come first.
    """
    return dict((Counter(one.index.ignored) + Counter(one.store.meta["unused"])).most_common())


def printable(name: str) -> str:
    """A file name on one line, whatever characters it has."""
    return name if name.isprintable() else json.dumps(name)


def with_classes(one: PackedSet, sides: Sides, *, given: bool = False) -> tuple[Sides, list[str]]:
    """The rows that a training with classes can use, and all that is to be said about classes.

    Rows stay as they are where sources are given with them, and of a stream, of which they are but
    a sample: that says nothing of what a class has in all. Raises DataError where a class is
    missing, or too few images are left.
    """
    _refuse_unlabelled(one)
    notes: list[str] = []
    if not given and not one.chosen.stream:
        sides, notes = _learnable(one, *sides)
    if one.chosen.test_share < 1 and not one.chosen.stream:
        notes += _about(one.store, *sides)
    return sides, notes


def _refuse_unlabelled(one: PackedSet) -> None:
    """Raises DataError where an image has no class, unless it is in a folder of such images."""
    store, chosen, index = one.store, one.chosen, one.index
    names = {name.lower() for name in store.classes}
    if index.label_error:
        raise DataError(index.label_error)
    if not index.labels and names & {*TRAIN} and names & {*TEST}:
        raise DataError(
            f"the classes of {chosen.path} would be {_some(store.classes)}, which are names of a"
            " split; leave nothing beside these folders, and put those of the classes into them"
        )
    without = np.flatnonzero(store.labels < 0)
    if len(without) and index.unlabelled:
        tops = [name.partition("/")[0] for name in store.names()]
        without = without[[tops[row] not in index.unlabelled for row in without]]
    if len(without):
        mend = "put each into a sub-folder named after its class"
        if index.labels:
            mend = f"name each with its class in {index.labels.origin}"
        raise DataError(
            f"labels were asked for, but {len(without):,} of {len(store):,} images"
            f" in {chosen.path} have none; {mend}"
        )


def _learnable(one: PackedSet, train: np.ndarray, test: np.ndarray) -> tuple[Sides, list[str]]:
    """The rows that a training with classes can use, and sentences on the others.

    Images without a class are left out, and held-out ones of a class that is not trained: no
    network knows it. Where all images are held out none is trained here. Raises DataError where
    too few are left.
    """
    labels, classes = one.store.labels, one.store.classes
    notes = list(one.index.labels.notes) if one.index.labels else []
    if without := int((labels[train] < 0).sum() + (labels[test] < 0).sum()):
        notes.append(f"{without:,} images without a class are left out, as classes are learnt")
        train, test = train[labels[train] >= 0], test[labels[test] >= 0]
    trained = np.bincount(labels[train], minlength=len(classes)) > 0
    if len(train) and not trained[labels[test]].all():
        unknown = int((~trained[labels[test]]).sum())
        test = test[trained[labels[test]]]
        notes.append(
            f"{unknown:,} held-out images of classes without a training image are left out"
        )
    if not len(test) or (not len(train) and one.chosen.test_share < 1):
        raise DataError(
            f"too few images in {one.chosen.path} have a class that can be learnt: one is needed"
            " to learn from, and another one to hold out"
        )
    return (train, test), notes


def _about(store: Store, train: np.ndarray, test: np.ndarray) -> list[str]:
    """Sentences on classes that the split, or too few images, left with little or nothing."""
    counts = [
        np.bincount(store.labels[rows][store.labels[rows] >= 0], minlength=len(store.classes))
        for rows in (train, test, np.arange(len(store)))
    ]
    learnt, held_out, all_of_them = counts
    notes = []
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
            notes.append(f"{'class' if few else 'classes'} {_some(names)} {one if few else many}")
    return notes


def _some(names: Sequence[str]) -> str:
    return some([short(printable(name), 60) for name in names])
