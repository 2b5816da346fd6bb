"""Which of the split images can be learnt with their classes, and what is to be said of these."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ganvae.data import sources
from ganvae.data.findings import printable
from ganvae.data.packing import PackedSet
from ganvae.data.split import Sides
from ganvae.data.store import Store
from ganvae.errors import DataError
from ganvae.telling import short, some


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
    if not index.labels and names & {*sources.TRAIN} and names & {*sources.TEST}:
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
