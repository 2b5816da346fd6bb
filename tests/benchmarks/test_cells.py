"""Cells of a race: processes of their own, kept, and measured once."""

import os
import signal
import subprocess
import sys
import time
import types
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import race as races
from benchmarks.race import ROOT, Cell, measure

RACE = """
import os, pathlib, time
def cell(settings):
    log = pathlib.Path(settings["log"])
    log.write_text(log.read_text() + settings["name"] if log.exists() else settings["name"])
    print("noise on stdout")
    if settings["name"] == "bad":
        raise ValueError("broken")
    time.sleep(20 if settings["name"] == "slow" else 0)
    return {"pid": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"]}
"""


@pytest.fixture
def race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that cells import as ``benchmarks.sham``, from a package path of the test."""
    package = tmp_path / "benchmarks"
    package.mkdir()
    for file in ("__init__.py", "race.py", "sections.py"):
        (package / file).write_text((ROOT / "benchmarks" / file).read_text(encoding="utf-8"))
    (package / "sham.py").write_text(RACE)
    monkeypatch.setattr(races, "ROOT", tmp_path)
    return "sham"


def cell(race: str, tmp_path: Path, name: str = "a") -> Cell:
    return Cell(race, name, {"name": name, "threads": 1, "log": str(tmp_path / "log")})


def test_cells_run_apart_once_and_are_kept(race: str, tmp_path: Path) -> None:
    grid = [cell(race, tmp_path, "a"), cell(race, tmp_path, "b")]
    first = measure(grid, tmp_path / "kept")
    assert [one["label"] for one in first] == ["a", "b"]
    assert len({os.getpid(), *(one["pid"] for one in first)}) == 3
    assert first[0]["threads"] == "1" and first[0]["machine"] == races.machine()
    assert measure(grid, tmp_path / "kept") == first
    assert (tmp_path / "log").read_text() == "ab"


def test_a_failure_costs_no_other_cell(
    race: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    grid = [cell(race, tmp_path, name) for name in ("bad", "good")]
    with pytest.raises(SystemExit, match="1 of 2 cells failed: bad"):
        measure(grid, tmp_path / "kept")
    assert capfd.readouterr().out == ""  # stdout is the result's
    assert not grid[0].path(tmp_path / "kept").exists()
    assert measure(grid[1:], tmp_path / "kept")[0]["label"] == "good"
    assert (tmp_path / "log").read_text() == "badgood"


def test_a_quick_look_is_taken_in_this_process_and_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    race = types.SimpleNamespace(cell=lambda settings: {"pid": os.getpid(), "n": settings["n"]})
    monkeypatch.setitem(sys.modules, "benchmarks.sham", race)
    monkeypatch.chdir(tmp_path)
    (found,) = measure([Cell("sham", "a", {"n": (1, 2)})], folder=None)
    assert found["pid"] == os.getpid() and found["label"] == "a" and not list(tmp_path.iterdir())
    assert found["n"] == [1, 2]  # as from a file


def test_what_decides_the_result_decides_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = cell("sham", tmp_path)
    other = replace(one, settings={**one.settings, "budget": "10m"})
    assert len({one.path(tmp_path), other.path(tmp_path)}) == 2
    before = one.path(tmp_path)
    monkeypatch.setattr(races, "machine", lambda: {"cpu": "another"})
    assert one.path(tmp_path) != before


def test_a_race_that_is_terminated_takes_its_cell_with_it(race: str, tmp_path: Path) -> None:
    code = (
        "import json, pathlib; from benchmarks.race import *\n"
        f"settings = {cell(race, tmp_path, 'slow').settings!r}\n"
        f"measure([Cell('sham', 'slow', settings)], pathlib.Path({str(tmp_path)!r}))"
    )
    racing = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    end = time.monotonic() + 20
    while not (tmp_path / "log").exists() and time.monotonic() < end:
        time.sleep(0.02)
    children = Path(f"/proc/{racing.pid}/task/{racing.pid}/children").read_text().split()
    racing.send_signal(signal.SIGTERM)
    assert racing.wait(10) == 143
    assert len(children) == 1 and not Path("/proc", children[0], "stat").exists()
    assert not list(tmp_path.glob("sham/[!.]*"))
