"""The page of the races: every number from the results, every missed goal said."""

import argparse
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks import ROOT
from benchmarks.__main__ import summaries
from benchmarks.page import BEGIN, END, generate, placed, race
from benchmarks.sections import Chart, Pictures, figures, shown

MACHINE = {"cpu": "A processor", "cores": 2, "system": "Linux x86_64", "torch": "2.13.0"}
ABOUT = {
    "budget": "4m", "seeds": 2, "samples": 5000, "threads": 2, "load": [0.1, 2.2],
    "machine": MACHINE, "minutes": 9.0,
}  # fmt: skip


def scored(kid: float, **others: Any) -> dict[str, Any]:
    course = [{"seconds": 60.0, "kid": 2 * kid, "coverage": 0.1},
              {"seconds": 240.0, "kid": kid, "coverage": 0.2}]  # fmt: skip
    about = {"kids": [kid, 2 * kid], "steps": 1234, "course": course, "coverage": 0.2}
    return {"kid": kid, **about, **others}


CLAIM: dict[str, Any] = {
    "name": "claim", "ratio": 0.81, "goal": 1.0, **ABOUT,
    "goals": [
        {"what": "coverage", "measured": 1.51, "goal": 1.0, "better": "higher"},
        {"what": "KID", "measured": 0.81, "goal": 1.0, "better": "higher"},
        {"what": "time", "measured": None, "goal": 1.0, "better": "lower"},
    ],
    "hybrids": {
        "gan_vae": {
            "coverage_over_gan": 1.51, "vae_kid_over_kid": 0.81,
            "share_of_time_to_final": {"vae_kid": None, "vae_coverage": 0.5, "gan_kid": 0.0625,
                                       "gan_coverage": 0.125},
        }
    },
    "objectives": {"vae": scored(3.456), "gan_vae": scored(2.1, mse=0.0123, fid=None)},
}  # fmt: skip
PEER = {"networks": "conv", "rate": 3e-4, "adversarial": 0.2, "layer": None}
QUALITY: dict[str, Any] = {
    "name": "quality", "ratio": 0.071, "goal": 0.1, "machine": ABOUT["machine"],
    "goals": [{"what": "KID", "measured": 0.071, "goal": 0.1, "better": "lower"}],
    "data": {
        "cifar10": {
            "kid_share": 0.071, "failed": 1, "peer": {"peer_own": PEER},
            **ABOUT, "search_budget": "2m",
            "search": [{**PEER, "kid": 31.23, "steps": 77, "sampler": "mixture"},
                       {**PEER, "kid": None, "failed": "NaN"}],
            "contestants": {
                "gan_vae": scored(2.22), "short": scored(9.0),
                "peer_own": scored(31.0) | {"course": [{"seconds": 240.0, "kid": 31.0}]},
            },
        }
    },
}  # fmt: skip
OVERHEAD = {"name": "overhead", "ratio": 0.0412, "goal": 0.08}


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    for folder in ("kept", "images"):
        (tmp_path / folder).mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "kept" / "claim.png")
    return Pictures(tmp_path / "kept", tmp_path / "images")


def test_every_figure_is_there_and_every_missed_goal_said(pictures: Pictures) -> None:
    text = generate([OVERHEAD, QUALITY, CLAIM], pictures)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert "| `claim` | coverage | ≥ 1 | 1.51 | met |" in lines
    assert "|  | KID | ≥ 1 | .810 | **missed** |" in lines
    assert "|  | time | ≤ 1 | never | **missed** |" in lines
    assert "| `quality` | KID | ≤ .1 | .0710 | met |" in lines
    assert any("`overhead`" in line and "| .0412 | met |" in line for line in lines)
    assert any(line.startswith("| `gan_vae` | 2.10 (2.10 to 4.20) |") for line in lines)
    assert "| `gan_vae` | 1.51 | .810 | never | .500 | .0625 | .125 |" in lines
    assert "| its convolutions | 0.0003 | 0.2 | default | 31.2 | mixture | 77 |" in lines
    assert "| its convolutions | 0.0003 | 0.2 | default | - | - | - |" in lines
    assert "A processor, 2 cores, Linux x86_64, torch 2.13.0: `claim`, `quality`." in text
    assert "not recorded: `overhead`." in text
    assert "1 run(s) of the peer broke off" in text
    assert "best in its search, its convolutions, a learning rate of 0.0003" in text


def test_what_is_shown_exists_and_comes_out_the_same(pictures: Pictures) -> None:
    first = generate([CLAIM, QUALITY], pictures)
    shown_ = re.findall(r"\(images/(.*?)\)", first)
    drawn = {name: (pictures.folder / name).read_bytes() for name in shown_}
    assert set(drawn) == {path.name for path in pictures.folder.iterdir()}
    assert set(drawn) == {
        "race-claim-kid.svg", "race-claim-coverage.svg", "race-claim.png",
        "race-quality-cifar10.svg",
    }  # fmt: skip
    assert generate([QUALITY, CLAIM], pictures) == first
    assert drawn == {name: (pictures.folder / name).read_bytes() for name in drawn}
    assert b"pythae VAEGAN, own networks" in drawn["race-quality-cifar10.svg"]
    (pictures.source / "claim.png").unlink()  # a machine that has not run the race
    assert generate([QUALITY, CLAIM], pictures) == first
    assert (pictures.folder / "race-claim.png").exists()
    assert all(len(content) < 60_000 for content in drawn.values())


def test_only_the_generated_part_of_the_page_changes() -> None:
    page_ = placed("# Results\n\nBy hand.\n", "first")
    assert page_.startswith("# Results\n\nBy hand.\n") and "first" in page_
    page_ += "\nAfter.\n"
    again = placed(page_, "second")
    assert again == page_.replace("first", "second")
    assert again.count(BEGIN) == again.count(END) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0714, ".0714"), (12.345, "12.3"), (1234.0, "1,234"), (-0.004, "-.00400"), (2, "2"),
     (0.0, "0"), (None, "-"), (3.0, "3.00"), (0.5, ".500"), (1000.5, "1,000"), (96.0, "96.0"),
     (999.9, "1000")],
)  # fmt: skip
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert shown(value) == text


def test_races_without_goals_of_their_own_are_known() -> None:
    """Every race that keeps a bare ratio says to the page what it is."""
    races = {name: race(name) for name in summaries() if name not in ("cells", "fetch", "page")}
    sources = {name: Path(ROOT, f"benchmarks/{name}.py").read_text() for name in races}
    unknown = {n for n in races if '"goals"' not in sources[n] and not races[n].figure}
    assert len(races) > 8 and unknown == {"recipe"} and not races["recipe"].kept
    assert all(one.name == name for name, one in races.items())


def test_a_line_of_one_point_is_a_level(tmp_path: Path) -> None:
    for log in ("", "xy"):
        Chart("t", "x", "y", {"a": [(1, 2), (2, 3)], "b": [(2, 5)]}, log).save(tmp_path / "c.svg")
    assert (tmp_path / "c.svg").read_text().count("stroke-dasharray: 4.44") == 2


def test_the_other_races_sections_are_of_what_they_keep(pictures: Pictures) -> None:
    from benchmarks import growth, limit, stability

    step = {"step_s": 0.1, "step_s_by_stage": {}, "memory_mb": 50.0, "parameters": 9}
    about = {"label": "a", "wall_s": 1.0}
    steps = {f"{what} {x}": {**step, "step_s": 0.1 * x, "memory_mb": x**1.5, **about}
             for what in ("size", "width") for x in (16, 32)}  # fmt: skip
    numbers = {"seconds_per_image": {"1000": 0.1}, "flat": 1.0, "memory": 1.0, **about}
    grown = growth.summary({"numbers": numbers, "processes": {"ratio": 0.95, **about}, **steps}, 2)
    text = generate([grown], pictures)
    assert "| size | 1.00 | 1.50 |" in text

    stage = {"mflop_per_image": 12.3, "step_ms": 45.6, "gflop_per_s": 78.9,
             "kernels_gflop_per_s": 101.0, "ratio": 0.6543}  # fmt: skip
    found = {32: {"ratio": 0.5, "ratio_cpu": 0.5, "load": [0, 0], "stages": {"VAE": stage}}}
    text = generate([limit.summary(found, 2)], pictures)
    assert "| 32 px | VAE | 12.3 | 45.6 | 78.9 | 101 | .654 |" in text

    run = {"kid": 2.0, "diversity": 1.0, "diverged": None, "rollbacks": 0, "alarms": [],
           "skipped": 0, **about}  # fmt: skip
    args = argparse.Namespace(data=["digits"], budget="30s", samples=2000, threads=2)
    runs = {("digits", kind, 0): dict(run) for kind in ("1", "3", "1/3")}
    untrained = {("digits", "untrained", 0): {**run, "kid": 9.0}}
    text = generate([stability.summary(runs | untrained, args)], pictures)
    assert "| digits | learning rate × 1/3 | 1 of 1 | 0 | 2.00 | 2.00 | 2.00 |" in text


def test_a_section_of_figures_has_all_of_them_but_the_ratio_and_what_is_around_it(
    pictures: Pictures,
) -> None:
    result = {
        "name": "completion", "ratio": 0.8, "goal": 1.0, "budget": "10m", "seed": 0,
        "centre": {"kid": {"telea": 1.6624}, "known_pixels_differ_by": 0.0}, "steps": 5474,
        "vae": {"objective": "vae", "nats": [86.0, 90.0]}, "machine": {"cores": 2},
    }  # fmt: skip
    text = figures(result, pictures)
    assert text.startswith("Budget 10m, seed 0.\n")
    assert [line for line in text.splitlines() if line.startswith("| `")] == [
        "| `centre.kid.telea` | 1.66 |", "| `centre.known_pixels_differ_by` | 0 |",
        "| `steps` | 5,474 |", "| `vae.nats.0` | 86.0 |", "| `vae.nats.1` | 90.0 |",
    ]  # fmt: skip
