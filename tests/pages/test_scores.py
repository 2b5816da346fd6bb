"""What an evaluation says in words: honest digits, readings by rule, alarms that are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ganvae.pages import scores


def figure(value: float | None, error: float | None = None, **more: Any) -> dict[str, Any]:
    known = {"name": "X", "value": value, "error": error, "better": "lower", "note": ""}
    return known | {"n_heldout": 400} | more


@pytest.mark.parametrize(
    ("key", "value", "real", "said"),
    [
        ("kid", figure(0.03, 0.02), figure(0.0, 0.01), "not told from real images"),
        ("kid", figure(5.0, 2.0), figure(0.1, 0.1), "2 standard errors above"),
        ("kid", figure(5.0, 0.3), figure(1.0, 0.4), "8 standard errors above"),
        ("kid", figure(-1.0, 0.1), figure(0.0, 0.1), "7 standard errors below"),
        ("kid", figure(5.0, None), figure(1.0, None), ""),
        ("kid", figure(5.0, 0.3), None, "around 0: as if real"),
        ("fid", figure(30.0), figure(10.0), "3 times theirs"),
        ("precision", figure(0.40), figure(0.80), "50% of theirs"),
        ("precision", figure(0.78), figure(0.80), "not told from real images"),
        ("coverage", figure(0.5, n_heldout=10), figure(0.8, n_heldout=10), "not told from real"),
        ("density", figure(1.2), figure(0.8), "150% of theirs"),
        ("diversity", figure(0.5), figure(0.0), "1: as various as real"),
        ("mse", figure(0.02, 0.001), None, "0: perfect"),
        ("elbo", figure(-900.0, 20.0), None, ""),
    ],
)
def test_a_score_is_read_by_what_real_images_score(
    key: str, value: dict[str, Any], real: dict[str, Any] | None, said: str
) -> None:
    assert scores.reading(key, value, real).startswith(said)
    assert bool(scores.reading(key, value, real)) == bool(said)


def test_what_has_no_value_is_no_row_but_a_sentence() -> None:
    figures = {
        "kid": figure(2.0, 0.5, name="KID"),
        "fid": figure(None, name="FID", note="needs 5,000 images a side, got 31"),
        "precision": figure(None, name="Precision", note="needs more than 5 images a side"),
        "recall": figure(None, name="Recall", note="needs more than 5 images a side"),
    }
    evaluation = {"figures": figures, "reference": {"kid": figure(0.12, 0.031)}}
    (row,) = scores.rows(evaluation)
    assert (row.name, row.value, row.real) == ("KID", "2.0 ± 0.5", "0.12 ± 0.03")
    assert scores.missing(evaluation) == [
        "Without FID: needs 5,000 images a side, got 31.",
        "Without Precision, Recall: needs more than 5 images a side.",
    ]


def memory(share: float, heldout: int) -> dict[str, Any]:
    found = {"share": share, "allowed": 0.01, "n_heldout": heldout}
    return {"figures": {"copies": figure(share)}, "memorisation": found}


@pytest.mark.parametrize(
    ("share", "heldout", "said"),
    [
        (0.5, 31, "seems to repeat training images: 50%"),
        (0.05, 1000, "seems to repeat training images: 5%"),
        (0.67, 5, "cannot be told: 67% are suspected, but with only 5 held-out images"),
        (0.15, 31, "cannot be told: 15%"),
        (0.02, 1000, ""),
        (0.01, 5, ""),
    ],
)
def test_copies_are_an_alarm_where_chance_does_not_make_them(
    share: float, heldout: int, said: str
) -> None:
    found = scores.alarms(memory(share, heldout))
    assert said in found[0] if said else found == []


def test_an_alarm_says_that_mirror_images_count() -> None:
    evaluation = memory(0.9, 400)
    evaluation["memorisation"]["mirrored"] = True
    assert "repeat training images or their mirror images" in scores.alarms(evaluation)[0]


def test_an_alarm_of_honest_samples_is_rare() -> None:
    """New images whose ratios are as those of held-out ones, in both spaces: one in a hundred."""
    random = np.random.default_rng(0)
    for heldout in (9, 31, 200, 1000):
        false = 0
        for _ in range(200):
            usual, new = random.random((2, heldout)), random.random((2, 1000))
            low = np.quantile(usual, 0.005, axis=1)[:, None]
            share = float((new < low).any(0).mean())
            false += "repeat" in "".join(scores.alarms(memory(share, heldout)))
        assert false <= 4, heldout


def test_nothing_is_said_of_copies_that_were_not_looked_for() -> None:
    assert scores.alarms({"memorisation": None}) == [] == scores.alarms({})
    evaluation = {"figures": {"copies": figure(0.3)}}
    assert scores.rows(evaluation)[0].reading == ""
