"""Findings on packed images: the report, notes for users, unusable sets, unused files, classes."""

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


def report(packed: PackedSet, sides: Sides, leaked: np.ndarray) -> dict[str, Any]:
    """JSON-able counts of what was taken, converted, skipped and found twice.

    leaked: the rows held out whose content is also among those to train on
    """
    settings, store, listed = packed.settings, packed.store, packed.index.listed
    train, test = sides
    bad = store.meta["bad"]
    by_content = f"by content, {settings.test_share:.0%} held out"
    split = "the source's own" if has_own_split(store) else by_content
    return {
        "source": {"kind": store.meta["source"]["kind"], "path": settings.path},
        "images": len(store),
        "train": len(train),
        "test": len(test),
        "split": "all held out" if settings.test_share == 1 else split,
        "shape": list(store.shape),
        "resize": settings.resize,
        "background": settings.background,
        "policies": store.meta["policies"],
        "skipped": {
            "count": len(bad),
            "reasons": dict(Counter(why.partition(":")[0] for _, why in bad).most_common()),
            "examples": bad[:EXAMPLES],
        },
        "listed": {"count": len(listed), "examples": listed[:EXAMPLES]},
        "ignored": beside(packed),
        "duplicates": len(store) - store.meta["distinct"],
        "leaks": len(leaked),
    }


def notes(report: dict[str, Any], settings: config.Data) -> list[str]:
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
        and abs(shares - settings.test_share) > 0.05
        and (report["test"] == 1 or report["train"] == 1)
    ):
        notes.append(
            f"so few images that {report['test']} is held out instead of {settings.test_share:.0%}"
        )
    return notes


def usable(packed: PackedSet) -> PackedSet:
    """A set that a training can start from. Raises DataError for any other."""
    bad, settings, path = packed.store.meta["bad"], packed.settings, packed.settings.path
    total = len(packed.store) + len(bad)
    if len(bad) > settings.max_bad * total:
        examples = "; ".join(f"{printable(name)} ({why})" for name, why in bad[:5])
        more = f" and {len(bad) - 5:,} more" if len(bad) > 5 else ""
        raise DataError(
            f"{len(bad):,} of {total:,} images in {path} cannot be read: {examples}{more};"
            " mend or remove them, or allow this share with data.max_bad (now"
            f" {settings.max_bad:g})"
        )
    if len(packed.store):
        return packed
    ignored = beside(packed)
    contents = ", ".join(f"{count:,} {kind}" for kind, count in [*ignored.items()][:5])
    listed = [f"; not taken: {printable(name)} ({why})" for name, why in packed.index.listed[:1]]
    mends = {MENDS[kind]: kind for kind in ignored if kind in MENDS}
    advice = [f"; {kind}: {mend}" for mend, kind in [*mends.items()][:2]]
    raise DataError(
        f"no images in {path} (found {contents or 'nothing'}{''.join([*listed, *advice])});"
        f" give a place that holds {', '.join(kind[1:] for kind in EXTENSIONS)} files"
    )


def unused(ignored: Mapping[str, int], taken: int) -> list[str]:
    """Sentences on the files of a source that no training sees, with what may be done about them.

    ignored: how many there are of each kind: an ending, or what else they are called. Pictures
        that are not read come first, with emphasis where they outnumber those that are. Hidden
        files are not mentioned
    taken: number of images that are read
    """
    kinds = {kind: count for kind, count in ignored.items() if kind != "hidden" and count}
    pictures = {k: n for k, n in kinds.items() if k in UNREAD or k.endswith(INSIDE)}
    others = {k: n for k, n in kinds.items() if k not in pictures}
    sentences = []
    if total := sum(pictures.values()):
        most = total > taken
        subject = f"most pictures, {total:,} of {total + taken:,}," if most else f"{total:,}"
        predicate = "are not read" if most else "pictures are not read"
        if total == 1 and taken:
            predicate = "picture is not read"
        sentences.append(f"{subject} {predicate}: {_summary(pictures)}")
    if others:
        sentences.append(f"files that are not used: {_summary(others)}")
    return sentences


def _summary(kinds: Mapping[str, int], limit: int = 8) -> str:
    parts = []
    for kind, count in [*kinds.items()][:limit]:
        ending = kind.removesuffix(INSIDE)
        mend = MENDS.get(ending, "" if ending == kind else f"give them the ending {ending}")
        parts.append(f"{count:,} {plain(kind)}{f' ({mend})' if mend else ''}")
    rest = sum([*kinds.values()][limit:])
    return ", ".join([*parts, *([f"{rest:,} of other kinds"] if rest else [])])


def beside(packed: PackedSet) -> dict[str, int]:
    """How many files of each kind a source has beside its images, most frequent first."""
    return dict(
        (Counter(packed.index.ignored) + Counter(packed.store.meta["unused"])).most_common()
    )


def printable(name: str) -> str:
    """A file name on one line, whatever characters it has."""
    return name if name.isprintable() else json.dumps(name)


def with_classes(
    packed: PackedSet, sides: Sides, *, fixed: bool = False
) -> tuple[Sides, list[str]]:
    """The rows that a training with classes can use, and notes on the classes.

    fixed: keep all rows, because each belongs to a source image. A stream's are kept, too: they
        are but a sample, which does not show how many images a class has

    Raises DataError where a class is missing, or too few images are left.
    """
    _refuse_unlabelled(packed)
    notes: list[str] = []
    if not fixed and not packed.settings.stream:
        sides, notes = _learnable(packed, *sides)
    if packed.settings.test_share < 1 and not packed.settings.stream:
        notes += _about(packed.store, *sides)
    return sides, notes


def _refuse_unlabelled(packed: PackedSet) -> None:
    """Raises DataError where an image has no class, unless it is in a folder of such images."""
    store, settings, index = packed.store, packed.settings, packed.index
    names = {name.lower() for name in store.classes}
    if index.label_error:
        raise DataError(index.label_error)
    if not index.labels and names & {*TRAIN} and names & {*TEST}:
        raise DataError(
            f"the classes of {settings.path} would be {_listed(store.classes)}, which are names of"
            " a split; leave nothing beside these folders, and put those of the classes into them"
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
            f" in {settings.path} have none; {mend}"
        )


def _learnable(packed: PackedSet, train: np.ndarray, test: np.ndarray) -> tuple[Sides, list[str]]:
    """The rows that a training with classes can use, and sentences on the others.

    Images without a class are left out, and held-out ones of a class that is not trained: no
    network knows it. Where all images are held out none is trained here. Raises DataError where
    too few are left.
    """
    labels, classes = packed.store.labels, packed.store.classes
    notes = list(packed.index.labels.notes) if packed.index.labels else []
    if without := int((labels[train] < 0).sum() + (labels[test] < 0).sum()):
        notes.append(f"{without:,} images without a class are left out, as classes are learnt")
        train, test = train[labels[train] >= 0], test[labels[test] >= 0]
    has_training = np.bincount(labels[train], minlength=len(classes)) > 0
    if len(train) and not has_training[labels[test]].all():
        unknown = int((~has_training[labels[test]]).sum())
        test = test[has_training[labels[test]]]
        notes.append(
            f"{unknown:,} held-out images of classes without a training image are left out"
        )
    if not len(test) or (not len(train) and packed.settings.test_share < 1):
        raise DataError(
            f"too few images in {packed.settings.path} have a class that can be learnt: one is"
            " needed to learn from, and another one to hold out"
        )
    return (train, test), notes


def _about(store: Store, train: np.ndarray, test: np.ndarray) -> list[str]:
    """Sentences on classes that the split, or too few images, left with little or nothing."""
    counts = [
        np.bincount(store.labels[rows][store.labels[rows] >= 0], minlength=len(store.classes))
        for rows in (train, test, np.arange(len(store)))
    ]
    training, held_out, total = counts
    notes = []
    for which, singular, plural in (
        (training == 0, "has no training image: it is not learnt, and cannot be generated",
         "have no training image: they are not learnt, and cannot be generated"),
        ((training == 1) & (total == 1), "has a single image, which is learnt by heart",
         "have a single image each, which are learnt by heart"),
        ((training > 0) & (held_out == 0) & (total > 1),
         "has no held-out image, so that no score tells how well it is learnt",
         "have no held-out image, so that no score tells how well they are learnt"),
    ):  # fmt: skip
        names = [name for name, so in zip(store.classes, which, strict=True) if so]
        if names:
            noun, verb = ("class", singular) if len(names) == 1 else ("classes", plural)
            notes.append(f"{noun} {_listed(names)} {verb}")
    return notes


def _listed(names: Sequence[str]) -> str:
    return some([short(printable(name), 60) for name in names])
