"""What is shown of progress, on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ganvae.cli import live
from ganvae.cli.live import LineDisplay, LiveDisplay, Tracker, scores
from ganvae.telling import clock, plain


def _console(terminal: bool) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=terminal, width=100, highlight=False), file


STATE = (1500, 96_000, 512.3, {"encoder": 12.5, "discriminator": 0.25}, 75.0, {"kid": 2.5}, 0.4)
PARTS = ["1,500", "512", "encoder", "12.5", "discriminator", "0.25", "1:15", "KID 2.5", "40%"]


def test_a_terminal_shows_all_of_it_live() -> None:
    where, file = _console(True)
    shown = LiveDisplay(where)
    shown.start("30m")
    shown.message("stage [2] of 2")
    shown.update(*STATE)
    shown.close()
    shown.close()
    text = file.getvalue()
    assert "training for 30m" in text and "stage [2] of 2" in text
    for part in PARTS:
        assert part in text, part


def test_elsewhere_a_plain_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    where, file = _console(False)
    shown = LineDisplay(where, every=10)
    shown.start("30m")
    for _ in range(100):
        now[0] += 0.5
        shown.update(*STATE)
    shown.close()
    lines = file.getvalue().splitlines()
    assert len(lines) == 1 + 5 and "\x1b" not in file.getvalue()
    for part in PARTS:
        assert part in lines[-1], part


def test_a_stream_that_closes_does_not_end_the_training() -> None:
    where, file = _console(False)
    shown = LineDisplay(where)
    file.close()
    shown.message("nobody hears this")
    shown.update(*STATE)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_tracker_shows_long_work_only(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    where, file = _console(terminal)
    with Tracker(where) as track:
        track("quick work", 1, 2)
        track("quick work", 2, 2)
        assert file.getvalue() == ""
        for done in range(30):
            now[0] += 1
            track("long work", done, 30)
        track("long work", 30, 30)
        track("who knows how much", 5, None)
    assert "long work" in file.getvalue() and "left" in file.getvalue()
    assert terminal or len(file.getvalue().splitlines()) <= 4


def test_words() -> None:
    assert [clock(s) for s in (-1, 42.4, 725, 3723)] == ["0:00", "0:42", "12:05", "1:02:03"]
    assert plain("a\x1b[31mb\rc\n") == "a\ufffd[31mb\ufffdc\n"
    assert scores({"seed": 0, "mse": 0.01234, "kid": 2.0, "judge": "x"}) == "KID 2  MSE 0.01234"
    assert scores({"psnr": None, "other": 1.5}) == "OTHER 1.5"
