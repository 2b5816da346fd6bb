"""A run's ``report.html``: one self-contained page of its settings, log, scores and pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from ganvae import files, objectives
from ganvae.config import Config, dump
from ganvae.pages import markup, scores
from ganvae.pages.markup import Curves
from ganvae.pages.record import Record, read, series
from ganvae.task import TASKS
from ganvae.telling import duration, name_of
from ganvae.version import VERSION

PREVIEWS = 12
"""How many previews are shown, spread evenly over the training."""
EVENTS = 200
FEW = 1000
"""With fewer held-out images than this, the page says that choosing by them flatters a prior."""


def write(run: Path | str) -> Path:
    """Writes ``report.html`` into a run's directory and returns its path.

    It shows what there is of ``config.yaml``, ``metrics.jsonl``, ``evaluation.json``,
    ``previews/`` and the grids beside it. The page holds its pictures and needs no network.

    Raises DataError where the directory holds no run.
    """
    record = read(run)
    return files.write_text(record.path / "report.html", html(record))


def html(record: Record) -> str:
    """The report of a run."""
    run, lines, config = record.path, record.lines, record.config
    title = f"{run.resolve().name}: {config.objective} on {name_of(config.data.path)}"
    sections = {
        "Held-out scores": _scores(record.evaluation),
        "Samples": markup.file(run / "samples.png", _samples(config)),
        "Priors": _priors(record),
        "Samples over time": _previews(record),
        "Reconstructions": markup.file(
            run / "reconstructions.png", "Held-out images above, reconstructions below"
        ),
        "Interpolation": markup.file(
            run / "interpolation.png", "From one held-out image to another, through latents"
        ),
        "Curves": "".join(map(markup.chart, charts(lines))),
        "Events": _events(lines),
        "Configuration": markup.preformatted(dump(config)),
        "Environment": markup.facts(markup.flatten(record.evaluation.get("environment") or {})),
    }
    return markup.document(
        title, _about(lines), [markup.section(*item) for item in sections.items()]
    )


def _samples(config: Config) -> str:
    """What ``samples.png`` shows."""
    if TASKS[config.data.task].from_sources:
        return "A row each: a held-out image's source, four images made of it, the image itself"
    return "New images from the model"


# -- curves ---------------------------------------------------------------------------------------


def charts(lines: Sequence[Mapping[str, Any]]) -> list[Curves]:
    """Charts of the quantities in ``metrics.jsonl``."""
    measured = series(lines)
    by_title: dict[str, Curves] = {}
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
        if title.startswith("Held-out"):  # of different scales: a chart each
            for name, points in curves.items():
                by_title[name] = Curves(
                    f"Held-out {name.upper()} (lower is better)", "", {name: points}
                )
        elif curves:
            by_title[title] = Curves(title, unit, curves, logarithmic=title.startswith("Gradient"))
    quiet = ("stage", "kid_error", "n_generated", "n_heldout", "seed")
    others = {name: points for name, points in measured.items() if name not in quiet}
    for name, points in others.items():
        by_title[name] = Curves(name, "", {name: points})
    return list(by_title.values())


# -- parts of the page ----------------------------------------------------------------------------


def _scores(evaluation: Mapping[str, Any]) -> str:
    if not evaluation.get("figures"):
        return ""
    titles = ("score", "value", "better", "real images", "reading", "compared", "how")
    table = markup.table(titles, map(astuple, scores.rows(evaluation)))
    about = scores.conditions(evaluation), *scores.missing(evaluation)
    return markup.alarms(*scores.alarms(evaluation)) + table + markup.sentences(*about)


def _priors(record: Record) -> str:
    """The priors that were fitted and judged, and samples of each."""
    lines = record.evaluation.get("priors") or []
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
    count = record.evaluation.get("heldout_images") or 0
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
    grid = markup.file(
        record.path / "priors.png", f"New images from the same seed, by row: {names}"
    )
    return markup.table(("prior", "KID", "time", ""), rows) + about + grid


def _previews(record: Record) -> str:
    paths, lines = sorted((record.path / "previews").glob("step-*.png")), record.lines
    paths = [path for path in paths if re.fullmatch("[0-9]{1,18}", path.stem[5:])]
    last = len(paths) - 1
    positions = (
        sorted({round(i * last / max(1, PREVIEWS - 1)) for i in range(PREVIEWS)}) if paths else []
    )
    seconds = {line["step"]: line["seconds"] for line in lines if "seconds" in line}
    pictures = []
    for position in positions:
        step = int(paths[position].stem.removeprefix("step-"))
        near = min(seconds, key=lambda s: abs(s - step), default=None)
        when = f", {duration(seconds[near])}" if near is not None else ""
        pictures.append(markup.file(paths[position], f"step {step:,}{when}"))
    return markup.sentences(_rows_of_previews(record.config) if pictures else "") + markup.strip(
        pictures
    )


def _rows_of_previews(config: Config) -> str:
    """What each row of a preview shows; see :func:`ganvae.training.previews.write`."""
    objective = objectives.get(config.objective)
    if TASKS[objective.task].from_sources:
        return (
            "Rows of each from above: held-out sources, their targets (of unpaired sets, some of "
            "the other set), then four different images made of each source."
        )
    again = " their reconstructions," if "encoder" in objective.networks else ""
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
