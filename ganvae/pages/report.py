"""A run's ``report.html``: one file with everything in it, made from what the run holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from ganvae import config, files, objectives
from ganvae.config import Config
from ganvae.pages import markup, record, scores
from ganvae.pages.markup import Curves
from ganvae.pages.record import Record, series
from ganvae.task import TASKS
from ganvae.telling import duration, name_of
from ganvae.version import VERSION

PREVIEWS = 12
"""Samples over time that are shown, spread evenly."""
EVENTS = 200
FEW = 1000
"""Held-out images below which choosing a prior by them flatters it enough to be said."""


def write(run: Path | str) -> Path:
    """Writes ``report.html`` into a run's directory and returns its path.

    It shows what is there: ``config.yaml``, ``metrics.jsonl``, ``evaluation.json``, ``previews/``
    and the grids beside it. The page holds its pictures and asks no network for anything.

    Raises DataError where the directory holds no run.
    """
    held = record.read(run)
    return files.write_text(held.path / "report.html", html(held))


def html(held: Record) -> str:
    """The report of a run."""
    run, lines, chosen = held.path, held.lines, held.config
    title = f"{run.resolve().name}: {chosen.objective} on {name_of(chosen.data.path)}"
    sections = {
        "Held-out scores": _scores(held.evaluation),
        "Samples": markup.file(run / "samples.png", _samples(chosen)),
        "Priors": _priors(held),
        "Samples over time": _previews(held),
        "Reconstructions": markup.file(
            run / "reconstructions.png", "Held-out images above, reconstructions below"
        ),
        "Interpolation": markup.file(
            run / "interpolation.png", "From one held-out image to another, through latents"
        ),
        "Curves": "".join(map(markup.chart, charts(lines))),
        "Events": _events(lines),
        "Configuration": markup.preformatted(config.dump(chosen)),
        "Environment": markup.facts(markup.flatten(held.evaluation.get("environment") or {})),
    }
    return markup.document(
        title, _about(lines), [markup.section(*item) for item in sections.items()]
    )


def _samples(chosen: Config) -> str:
    """What ``samples.png`` shows."""
    if TASKS[chosen.data.task].from_sources:
        return "A row each: a held-out image's source, four images made of it, the image itself"
    return "New images from the model"


# -- curves ---------------------------------------------------------------------------------------


def charts(lines: Sequence[Mapping[str, Any]]) -> list[Curves]:
    """What is worth a chart among the lines of ``metrics.jsonl``."""
    measured = series(lines)
    known: dict[str, Curves] = {}
    groups = {
        "Held-out score (lower is better)": ("", ["kid", "mse"]),
        "Loss by network": ("loss", [n for n in measured if n.startswith("loss/")]),
        "Gradient norm by network": ("norm", [n for n in measured if n.startswith("norm/")]),
        "Speed": ("images/s", ["images_per_s"]),
    }
    for title, (unit, names) in groups.items():
        curves = {
            name.rpartition("/")[2]: measured.pop(name) for name in names if name in measured
        }
        if title.startswith("Held-out"):  # figures of different sizes: a chart each
            for name, points in curves.items():
                known[name] = Curves(
                    f"Held-out {name.upper()} (lower is better)", "", {name: points}
                )
        elif curves:
            known[title] = Curves(title, unit, curves, logarithmic=title.startswith("Gradient"))
    quiet = ("stage", "kid_error", "n_generated", "n_heldout", "seed")
    others = {name: points for name, points in measured.items() if name not in quiet}
    for name, points in others.items():
        known[name] = Curves(name, "", {name: points})
    return list(known.values())


# -- parts of the page ----------------------------------------------------------------------------


def _scores(evaluation: Mapping[str, Any]) -> str:
    if not evaluation.get("figures"):
        return ""
    titles = ("score", "value", "better", "real images", "reading", "compared", "how")
    table = markup.table(titles, map(astuple, scores.rows(evaluation)))
    about = scores.conditions(evaluation), *scores.missing(evaluation)
    return markup.alarms(*scores.alarms(evaluation)) + table + markup.sentences(*about)


def _priors(held: Record) -> str:
    """The priors that were fitted and judged, and samples of each."""
    lines = held.evaluation.get("priors") or []
    rows = [
        (
            markup.Cell(name, best=line["chosen"]),
            scores.measured({"value": line["kid"], "error": line["kid_error"]}),
            duration(line["seconds"]),
            "; ".join(
                word
                for word, holds in (
                    ("sampled", line["chosen"]), ("trained with", line["trained"])
                ) if holds
            ),
        )
        for line in lines
        for name in [str(line["name"])]
    ]  # fmt: skip
    if not rows:
        return ""
    count = held.evaluation.get("heldout_images") or 0
    about = markup.sentences(
        "Fitted to the encoder's z of training images. The least KID against held-out images "
        "decides what is sampled; where the prior trained with is within its standard error of "
        "that, it stays. The likelihood bounds above are of the prior sampled.",
        f"The same {count:,} held-out images chose the prior and judge its samples, so that with "
        "so few the KID of the one chosen is a little too good."
        if 0 < count < FEW
        else "",
    )
    names = ", ".join(str(line["name"]) for line in lines)
    grid = markup.file(held.path / "priors.png", f"New images from the same seed, by row: {names}")
    return markup.table(("prior", "KID", "time", ""), rows) + about + grid


def _previews(held: Record) -> str:
    paths, lines = sorted((held.path / "previews").glob("step-*.png")), held.lines
    paths = [path for path in paths if re.fullmatch("[0-9]{1,18}", path.stem[5:])]
    last = len(paths) - 1
    chosen = (
        sorted({round(i * last / max(1, PREVIEWS - 1)) for i in range(PREVIEWS)}) if paths else []
    )
    seconds = {line["step"]: line["seconds"] for line in lines if "seconds" in line}
    pictures = []
    for position in chosen:
        step = int(paths[position].stem.removeprefix("step-"))
        near = min(seconds, key=lambda s: abs(s - step), default=None)
        when = f", {duration(seconds[near])}" if near is not None else ""
        pictures.append(markup.file(paths[position], f"step {step:,}{when}"))
    return markup.sentences(_rows_of_previews(held.config) if pictures else "") + markup.strip(
        pictures
    )


def _rows_of_previews(chosen: Config) -> str:
    """Which row of a preview is what, in words; see :func:`ganvae.training.previews.write`."""
    wanted = objectives.get(chosen.objective)
    if TASKS[wanted.task].from_sources:
        return (
            "Rows of each from above: held-out sources, their targets (of unpaired sets, some of "
            "the other set), then four different images made of each source."
        )
    again = " their reconstructions," if "encoder" in wanted.networks else ""
    return (
        f"Rows of each from above: held-out images,{again} then new images from the model, "
        "always of the same random numbers."
    )


def _events(lines: Sequence[Mapping[str, Any]]) -> str:
    events = [(f"step {line['step']:,}", line["event"]) for line in lines if "event" in line]
    return markup.facts(events[-EVENTS:])


def _about(lines: Sequence[Mapping[str, Any]]) -> str:
    timed = [line for line in lines if "seconds" in line and "images" in line]
    if not timed:
        return f"ganvae {VERSION}"
    end = timed[-1]
    return (
        f"{end['step']:,} steps, {end['images']:,} images, {duration(end['seconds'])} of training "
        f"· ganvae {VERSION}"
    )
