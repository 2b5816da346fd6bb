"""The report: complete, self-contained, and harmless whatever names it shows."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from reading import Page

from ganvae import config
from ganvae.errors import DataError
from ganvae.pages import markup, record, report
from ganvae.training import log

EVIL = "<script>alert(1)</script>\"'&"


def figure(name: str, value: float | None, **more: Any) -> dict[str, Any]:
    """A figure as an evaluation holds it."""
    common = {"name": name, "value": value, "better": "lower", "note": "", "error": None}
    return {**common, "judge": "EffLite0@64", "n_generated": 500, "n_heldout": 500, **more}


EVALUATION = {
    "judge": "EffLite0@64",
    "resize": "bilinear to 64x64",
    "split": "held-out",
    "seed": 0,
    "samples": "rounded to 8 bits",
    "leaked": 3,
    "figures": {
        "kid": figure("KID-EffLite0", 2.5, error=0.04, note=EVIL),
        "fid": figure("FID-EffLite0", None, note="needs 5,000 images"),
    },
    "reference": {"kid": figure("KID-EffLite0", 0.004)},
    "environment": {"python": "3.11", "versions": {"torch": "2.13.0", EVIL: "1"}},
}


@pytest.fixture()
def run(tmp_path: Path) -> Path:
    """What a short training leaves."""
    path = tmp_path / "run <b>"
    (path / "previews").mkdir(parents=True)
    chosen = config.override(config.Config(), {"data.path": f"/photos/{EVIL}"})
    (path / "config.yaml").write_text(config.dump(chosen))
    lines: list[dict[str, Any]] = [
        {"step": s, "images": 64 * s, "seconds": 0.1 * s, "loss/encoder": 1 / s, "odd": None}
        for s in range(1, 1500)
    ]
    lines.insert(700, {"step": 700, "event": EVIL})
    lines += [
        {"step": s, "images": 64 * s, "seconds": s / 10, "kid": 9 / s, "judge": "x", "seed": 0}
        for s in (100, 1400)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines) + '{"step')
    (path / "evaluation.json").write_text(json.dumps(EVALUATION))
    for step in range(0, 1500, 50):
        colour = (step % 256, 0, 0)
        Image.new("RGB", (8, 8), colour).save(path / "previews" / f"step-{step:08d}.png")
    for name in ("samples", "reconstructions", "interpolation"):
        Image.new("L", (9, 9)).save(path / f"{name}.png")
    return path


def html(run: Path) -> str:
    return report.html(record.read(run))


def test_the_report_is_complete_and_asks_no_network(run: Path) -> None:
    path = report.write(run)
    assert path == run / "report.html" and not list(run.glob(".ganvae-*"))
    text = path.read_text(encoding="utf-8")
    found = Page(text)
    assert found.open == []
    assert found.addresses and all(a.startswith("data:image/") for a in found.addresses)
    assert "@import" not in text and "url(" not in text
    words = " ".join(found.words)
    for title in (
        "Held-out scores", "Samples", "Samples over time", "Reconstructions", "Interpolation",
        "Curves", "Events", "Configuration", "Environment",
    ):  # fmt: skip
        assert title in words
    for part in ("KID-EffLite0", "2.50 ± 0.04", "0.004", "needs 5,000 images", "budget: 3m"):
        assert part in words
    assert "3 held-out images are also training images" in words
    assert "1,499 steps" in words or "1,400 steps" in words


def test_foreign_text_is_shown_and_not_obeyed(run: Path) -> None:
    found = Page(report.write(run).read_text(encoding="utf-8"))
    assert "script" not in found.tags and "b" not in found.tags
    shown = [word for word in found.words if "<script>alert(1)</script>" in word]
    assert len(shown) >= 3  # title, event, configuration, note


def test_the_pictures_decode_and_the_curves_are_drawn(run: Path) -> None:
    found = Page(html(run))
    kinds = {"png": 0, "svg+xml": 0}
    for address in found.addresses:
        kind, _, content = address.removeprefix("data:image/").partition(";base64,")
        data = base64.b64decode(content, validate=True)
        kinds[kind] += 1
        if kind == "png":
            Image.open(io.BytesIO(data)).verify()
        else:
            svg = data.decode()
            assert svg.rstrip().endswith("</svg>") and "minutes" in svg
            assert not re.search(r'(href|src)="http', svg)
    assert kinds["png"] == 3 + report.PREVIEWS
    assert kinds["svg+xml"] == 2  # the encoder's loss, KID


def test_previews_run_from_the_first_to_the_last(run: Path) -> None:
    words = " ".join(Page(html(run)).words)
    assert "step 0, 0.1 s" in words and "step 1,450, 2.4 min" in words


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        ("vae", "held-out images, their reconstructions, then new images"),
        ("gan", "held-out images, then new images"),
        ("completion", "held-out sources, their targets"),
    ],
)
def test_it_is_said_which_row_of_a_preview_is_what(run: Path, objective: str, said: str) -> None:
    task = "complete" if objective == "completion" else "generate"
    changes = {"objective": objective, "data.task": task}
    (run / "config.yaml").write_text(config.dump(config.override(config.Config(), changes)))
    assert f"Rows of each from above: {said}" in html(run)


def test_suspected_copies_are_an_alarm(run: Path) -> None:
    assert 'class="alarm"' not in html(run)
    memory = {"share": 0.5, "allowed": 0.01, "n_heldout": 31}
    (run / "evaluation.json").write_text(json.dumps(EVALUATION | {"memorisation": memory}))
    assert '<p class="alarm">The model seems to repeat training images: 50%' in html(run)


def test_scores_without_a_value_are_said_below_the_table(run: Path) -> None:
    section = html(run).split("Held-out scores</h2>")[1].split("</section>")[0]
    table, below = section.split("</table>")
    assert "FID" not in table and "Without FID-EffLite0: needs 5,000 images." in below


def test_a_run_without_an_evaluation_has_a_report_too(run: Path) -> None:
    for name in ("evaluation.json", "metrics.jsonl", "samples.png"):
        (run / name).unlink()
    text = html(run)
    assert "Held-out scores" not in text and "Configuration" in text


def test_no_run_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no run"):
        report.write(tmp_path)


def test_thinning_keeps_the_mean_and_the_length() -> None:
    points = [(float(i), float(i % 7)) for i in range(10_001)]
    thin = markup.thin(points, 400)
    assert len(thin) <= 400
    assert [x for x, _ in thin] == sorted(x for x, _ in thin)
    assert markup.thin(points[:3]) == points[:3]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (12345, "12,345"),
        (0.000123456, "0.0001235"),
        ([1, 2], "1, 2"),
        (16234.56, "16,235"),
        (2e-4, "0.0002"),
    ],
)
def test_values_are_shown_as_people_read_them(value: Any, text: str) -> None:
    assert markup.shown(value) == text


def test_priors_are_shown_where_they_were_judged(run: Path):
    assert "Priors" not in report.write(run).read_text()
    line = {"kid_error": 0.05, "seconds": 3.25, "chosen": False, "trained": False}
    evaluation = EVALUATION | {
        "priors": [
            line | {"name": "mixture", "kid": 1.5, "trained": True},
            line | {"name": EVIL, "kid": 1.25, "chosen": True},
            line | {"name": "flow", "kid": None, "kid_error": None},
        ]
    }
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    Image.new("L", (8, 8)).save(run / "priors.png")
    text = report.write(run).read_text()
    section = text.split("<h2>Priors</h2>")[1].split("</section>")[0]
    assert "1.50 ± 0.05" in section and "trained with" in section and "<img" in section
    assert section.count("<strong>") == 1 and section.count("sampled") >= 1
    assert EVIL not in section and "held-out images chose the prior" not in section
    few = evaluation | {"heldout_images": 31}
    (run / "evaluation.json").write_text(json.dumps(few))
    assert "The same 31 held-out images chose the prior" in report.write(run).read_text()


@pytest.mark.parametrize(
    "text",
    [
        "[]", "{", "nonsense", '{"figures": 3}', '{"figures": {"kid": 3}}', "[" * 100_000,
        '{"figures": {"kid": {"name": "KID", "better": "lower", "value": "x"}}}',
        '{"figures": {"kid": {"name": "KID", "better": "lower", "value": 1e999}}}',
        '{"figures": {}, "priors": [{"name": "a"}]}', '{"priors": {"a": 1}}',
        '{"memorisation": {"share": "x"}}', '{"leaked": 1' + "0" * 5000 + "}",
        '{"known": 1' + "0" * 4000 + "}", '{"environment": []}', '{"n_heldout": "many"}',
        '{"figures": {"kid": {"value": NaN}}}', '{"a": 1, "a": 2}',
    ],
)  # fmt: skip
def test_an_evaluation_of_a_stranger_is_one_sentence(run: Path, text: str) -> None:
    (run / "evaluation.json").write_text(text)
    with pytest.raises(DataError, match=r"evaluation\.json") as refused:
        report.write(run)
    assert len(str(refused.value)) < 600 and "\n" not in str(refused.value)


def test_lines_that_no_training_wrote_are_left_out(run: Path) -> None:
    before = list(log.read(run / "metrics.jsonl"))
    with (run / "metrics.jsonl").open("a") as file:
        for line in (
            "[" * 100_000, "x" * 3_000_000, '{"step": true}', '{"step": -1}', '{"step": "1"}',
            '{"step": 1' + "0" * 4000 + "}", '{"step": 1, "seconds": "x", "images": 1}',
            '{"step": 1, "images": {}, "seconds": 1}', '{"step": 1, "event": 5}',
            '{"step": 1, "seconds": 1e999}', '{"step": 1, "seconds": NaN}',
        ):  # fmt: skip
            file.write(line + "\n")
    assert list(log.read(run / "metrics.jsonl")) == before
    with (run / "metrics.jsonl").open("a") as file:
        for step in range(3):
            values = {f"n{i}": 1 for i in range(500)} | {"big": 10**400, "kid": 1e308}
            file.write(json.dumps({"step": step, "images": 1, "seconds": 1.0} | values) + "\n")
    assert len(report.charts(list(log.read(run / "metrics.jsonl")))) <= 200
    (run / "previews" / "step-x.png").write_bytes(b"")
    (run / "evaluation.json").unlink()
    (run / "evaluation.json").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="not a regular file"):
        report.write(run)
