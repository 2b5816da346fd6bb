"""Budgets, intervals and the learning rate's course."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganvae.errors import ConfigError
from ganvae.training.schedule import Budget, Every, rate
from ganvae.types import Optim


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("40s", Budget(seconds=40)),
        ("30m", Budget(seconds=1800)),
        ("2h", Budget(seconds=7200)),
        ("1.5h", Budget(seconds=5400)),
        ("1h30m", Budget(seconds=5400)),
        ("1d", Budget(seconds=86400)),
        (" 30 M ", Budget(seconds=1800)),
        ("500kimg", Budget(images=500_000)),
        ("2Mimg", Budget(images=2_000_000)),
        ("1_000img", Budget(images=1000)),
        ("300steps", Budget(steps=300)),
        ("1 step", Budget(steps=1)),
    ],
)
def test_the_three_forms(text, expected):
    assert Budget.parse(text) == expected
    assert Budget.parse(str(expected)) == expected


@pytest.mark.parametrize("text", ["30", "30.5", "", "m", "30x", "-5m", "1h20steps", "0s", "0img"])
@pytest.mark.parametrize("kind", [Budget, Every])
def test_anything_else_names_the_three_forms(kind, text):
    with pytest.raises(ConfigError) as caught:
        kind.parse(text)
    sentence = str(caught.value)
    assert repr(text) in sentence and "\n" not in sentence
    assert all(form in sentence for form in ("30m", "500kimg", "300steps"))


def test_a_missing_unit_is_named():
    with pytest.raises(ConfigError, match="'30' has no unit"):
        Budget.parse("30")


@given(st.text(max_size=12))
def test_no_text_does_anything_else(text):
    try:
        amount = Budget.parse(text)
    except ConfigError:
        return
    assert sum(value is not None for value in vars(amount).values()) == 1
    assert all(value is None or value > 0 for value in vars(amount).values())


def test_progress_counts_what_the_budget_is_in():
    spent = {"step": 30, "images": 4000, "seconds": 5.0}
    assert Budget.parse("10s").progress(**spent) == 0.5
    assert Budget.parse("16kimg").progress(**spent) == 0.25
    assert Budget.parse("300steps").progress(**spent) == 0.1
    assert Budget.parse("20steps").progress(**spent) == 1.0
    assert Budget.parse("10s").progress(0, 0, 0.0) == 0.0


@given(st.integers(1, 500), st.integers(1, 5000))
def test_every_n_steps_happens_at_every_nth_step(n, total):
    every = Every.parse(f"{n}steps")
    counts = [every.count(step, 0, 0.0) for step in range(min(total, 3 * n) + 1)]
    due = [s for s in range(1, len(counts)) if counts[s] > counts[s - 1]]
    assert due == [s for s in range(1, len(counts)) if s % n == 0]


def test_the_rate_rises_then_falls_as_half_a_cosine():
    optim = Optim(warmup=0.2, final=0.1)
    assert rate(0.0, optim) == 0.0
    assert rate(0.1, optim) == pytest.approx(0.5)
    assert rate(0.2, optim) == pytest.approx(1.0)
    assert rate(0.6, optim) == pytest.approx(0.55)
    assert rate(1.0, optim) == pytest.approx(0.1)
    assert rate(7.0, optim) == pytest.approx(0.1)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_rate_is_a_share_of_the_peak(progress, warmup, final):
    factor = rate(progress, Optim(warmup=warmup, final=final))
    assert 0 <= factor <= 1 and math.isfinite(factor)
    if progress >= warmup:
        assert factor >= final - 1e-12
    assert rate(progress, Optim(final=1.0)) == pytest.approx(1.0)
