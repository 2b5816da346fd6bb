"""Reads evaluations, and words them: a row a figure, compared with real images, and alarms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from ganvae import foreign, telling
from ganvae.errors import DataError
from ganvae.telling import shown

APART = 2.0
"""Standard errors by which two scores must differ to be told apart."""
ALARM = 3.0
"""An alarm is given for this many times as many suspected copies as chance makes."""
FEW = 0.05
"""Where chance alone makes a larger share of suspected copies, the check says little."""
SHARES = ("precision", "recall", "coverage")
"""Figures that are a share of the images compared, so that their error follows from the count."""
ANCHORS = {
    "mse": "0: perfect",
    "mse_best": "0: perfect",
    "psnr": "100: perfect",
    "ssim": "1: perfect",
    "perceptual": "0: perfect",
    "elbo_bits": "8: without a model",
    "iwae_bits": "8: without a model",
    "variety": "0: z is ignored",
    "kid": "around 0: as if real",
    "fid": "0: as if real",
    "diversity": "1: as various as real",
}
"""What a figure is compared with where real images have none, by key."""

Fields = Mapping[str, Any]
"""A figure's fields, see :class:`ganvae.metrics.figures.Figure`."""


MAX_BYTES = 2**24
_WORD, _NUMBER, _COUNT = (str, NoneType), (int, float, NoneType), (int, NoneType)
_COUNTS = dict.fromkeys(("n_generated", "n_heldout", "n_train"), _COUNT)
_FIGURE = {
    "name": (str,), "better": (str,), "value": _NUMBER, "error": _NUMBER, "judge": _WORD,
    "resize": _WORD, "note": _WORD, **_COUNTS,
}  # fmt: skip
_PRIOR = {
    "name": (str,), "chosen": (bool,), "trained": (bool,), "seconds": (int, float),
    "kid": _NUMBER, "kid_error": _NUMBER,
}  # fmt: skip
_MEMORISATION = {"share": (int, float), "allowed": (int, float), "n_heldout": (int,)}
_EVALUATION = {
    "figures": (dict, NoneType), "reference": (dict, NoneType), "priors": (list, NoneType),
    "memorisation": (dict, NoneType), "environment": (dict, NoneType), "leaked": _COUNT,
    "known": _COUNT, "heldout_images": _COUNT, **_COUNTS,
}  # fmt: skip
"""The keys that are read of an evaluation, and their types."""


def read(path: Path) -> dict[str, Any]:
    """The evaluation in a file, empty where there is none. Raises DataError for anything else."""
    if not path.exists():
        return {}
    evaluation = foreign.read_json(foreign.read(path, MAX_BYTES), str(path))
    _fits(evaluation, _EVALUATION, path)
    for name in ("figures", "reference"):
        for figure in (evaluation.get(name) or {}).values():
            _fits(figure, _FIGURE, path, ("name", "better"))
    for prior in evaluation.get("priors") or []:
        _fits(prior, _PRIOR, path, tuple(_PRIOR))
    if evaluation.get("memorisation"):
        _fits(evaluation["memorisation"], _MEMORISATION, path, tuple(_MEMORISATION))
    return evaluation


def _fits(
    value: Any, kinds: Mapping[str, tuple[type, ...]], path: Path, needed: tuple[str, ...] = ()
) -> None:
    """Raises DataError unless a mapping has values of these types, and no huge numbers."""
    fields = value if isinstance(value, dict) else {}
    wrong = [
        f"{name} {shown(fields.get(name))}"
        for name, allowed in kinds.items()
        if (name in fields or name in needed)
        and (type(fields.get(name)) not in allowed or not _sound(fields.get(name)))
    ]
    if wrong or fields is not value:
        what = ", ".join(wrong) or shown(value)
        raise DataError(
            f"{path} is no evaluation ({what}): remove it, or judge again with ganvae evaluate"
        )


def _sound(value: Any) -> bool:
    most = 1e300 if isinstance(value, float) else 2**63
    return not isinstance(value, (int, float)) or abs(value) < most


@dataclass(frozen=True)
class Row:
    """A figure as a line of the table of scores, all of it text."""

    name: str
    value: str
    better: str
    """The better direction: "lower" or "higher"."""
    real: str
    """The same figure of real training images; empty where there is none."""
    reading: str
    """What the value means beside that; see :func:`reading`."""
    counts: str
    """How many images were compared."""
    how: str
    """Judge and note."""


def rows(evaluation: Fields) -> list[Row]:
    """The table of an evaluation's scores, without those that have no value."""
    reference = evaluation.get("reference") or {}
    counts = {"n_generated": "generated", "n_heldout": "held-out", "n_train": "training"}
    table = []
    for key, figure in _figures(evaluation).items():
        if figure.get("value") is None:
            continue
        real = reference.get(key)
        sizes = [f"{figure[n]:,} {what}" for n, what in counts.items() if figure.get(n)]
        how = "; ".join(str(part) for part in (figure.get("judge"), figure.get("note")) if part)
        table.append(
            Row(
                str(figure["name"]),
                measured(figure),
                str(figure["better"]),
                "" if real is None or real.get("value") is None else measured(real),
                _of_copies(evaluation) if key == "copies" else reading(key, figure, real),
                " / ".join(sizes),
                how,
            )
        )
    return table


def measured(figure: Fields) -> str:
    """The value of a figure with its error, "-" where it has none."""
    if figure.get("value") is None:
        return "-"
    return telling.measured(figure["value"], figure.get("error"))


def reading(key: str, figure: Fields, real: Fields | None) -> str:
    """How a figure compares with the same one of real training images, in words.

    Within :data:`APART` standard errors of theirs the two are not told apart. Else it is so many
    standard errors away (KID), or such a share of theirs. Without theirs: what is perfect.
    """
    if key not in ("kid", "fid", "density", "diversity", *SHARES):
        return ANCHORS.get(key, "")
    if real is None or real.get("value") is None:
        return ANCHORS.get(key, "")
    value, floor = figure["value"], real["value"]
    error = math.hypot(*(_error(key, one) or 0.0 for one in (figure, real)))
    if error and abs(value - floor) <= APART * error:
        return "not told from real images"
    if key == "kid":
        side = "above" if value > floor else "below"
        return f"{abs(value - floor) / error:,.0f} standard errors {side}" if error else ""
    if not floor:
        return ANCHORS.get(key, "")
    return f"{telling.number(value / floor)} times theirs" if key == "fid" else (
        f"{value / floor:.0%} of theirs"
    )  # fmt: skip


def apart(figure: Fields, other: Fields) -> bool:
    """Whether two figures differ by more than their errors explain."""
    error = math.hypot(*(one.get("error") or 0.0 for one in (figure, other)))
    return bool(abs(figure["value"] - other["value"]) > APART * error)


def _error(key: str, figure: Fields) -> float | None:
    """A figure's standard error; of a share, as for independent images."""
    count = figure.get("n_heldout")
    if figure.get("error") is None and key in SHARES and count:
        share = min(max(figure["value"], 0.0), 1.0)
        return float(math.sqrt(share * (1 - share) / count))
    return figure.get("error")


def missing(evaluation: Fields) -> list[str]:
    """The reasons why figures have no value, a sentence each."""
    reasons: dict[str, list[str]] = {}
    for figure in _figures(evaluation).values():
        if figure.get("value") is None:
            reasons.setdefault(str(figure.get("note") or "not finite"), []).append(
                str(figure["name"])
            )
    return [f"Without {', '.join(names)}: {why}." for why, names in reasons.items()]


def conditions(evaluation: Fields) -> str:
    """The conditions of all figures, in a sentence."""
    leaked, known = evaluation.get("leaked"), evaluation.get("known")
    images = evaluation.get("judged") or f"{evaluation.get('split', 'held-out')} images"
    parts = [
        f"On {images}, with the averaged (EMA) weights",
        f"features of {evaluation.get('judge')}, {evaluation.get('resize')}",
        "flattered: trained with these features" if evaluation.get("flattered") else "",
        f"samples {evaluation.get('samples')}, seed {evaluation.get('seed')}",
        f"{leaked:,} held-out images are also training images" if leaked else "",
        f"{known:,} of them are also among the run's own images, held out or trained on: scores on"
        " these flatter"
        if known
        else "",
    ]
    cut = "; ".join(map(str, evaluation.get("shortened") or ()))
    short = f" For want of time (evaluation.budget): {cut}." if cut else ""
    return "; ".join(part for part in parts if part) + "." + short


# -- copies ---------------------------------------------------------------------------------------


def alarms(evaluation: Fields) -> list[str]:
    """Warnings about suspected copies of training images, a sentence each."""
    memory = evaluation.get("memorisation")
    if not memory or memory["share"] <= memory["allowed"]:
        return []
    chance, share = _by_chance(memory), f"{memory['share']:.0%}"
    if memory["share"] > ALARM * chance:
        also = " or their mirror images" if memory.get("mirrored") else ""
        return [
            f"The model seems to repeat training images{also}: {share} of its samples are "
            f"suspected copies, where unseen images give about {chance:.0%}. The worst pairs are "
            "in evaluation.json under memorisation; more images, data.augment or a shorter "
            "training make fewer."
        ]
    if chance > FEW:
        return [
            f"Whether samples are copies cannot be told: {share} are suspected, but with only "
            f"{memory['n_heldout']:,} held-out images chance alone makes about {chance:.0%}; hold "
            "out more with data.test_share."
        ]
    return []


def _by_chance(memory: Fields) -> float:
    """The share of unseen images that are suspected to be copies, on average.

    It is more than what is allowed, because an unseen image is below the least ratio of n
    held-out ones with probability 1 / (n + 1), in pixels and again in features.
    """
    return float(memory["allowed"] + 2 / (memory["n_heldout"] + 1))


def _of_copies(evaluation: Fields) -> str:
    memory = evaluation.get("memorisation")
    return f"unseen images: {_by_chance(memory):.0%}" if memory else ""


def _figures(evaluation: Fields) -> Mapping[str, Fields]:
    return evaluation.get("figures") or {}
