"""A run's ``report.html``: one file with everything in it, made from what the run left."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from ganvae import config, files, objectives
from ganvae.config import Config
from ganvae.errors import DataError
from ganvae.pages import markup, scores
from ganvae.pages.markup import Curves
from ganvae.telling import duration, name_of
from ganvae.training import log
from ganvae.version import VERSION

PREVIEWS = 12
"""Samples over time that are shown, spread evenly."""
EVENTS = 200
CURVES, LARGE = 200, 1e300
"""How many quantities are drawn, and from which size on a number is left out."""
FEW = 1000
"""Held-out images below which choosing a prior by them flatters it enough to be said."""


@dataclass(frozen=True)
class Left:
    """What a run left of words and numbers."""

    path: Path
    config: Config
    lines: list[dict[str, Any]]
    """Of ``metrics.jsonl``."""
    evaluation: dict[str, Any]
    """Empty where the run was not judged yet."""


def read(run: Path | str) -> Left:
    """What is there to report on. Raises DataError where the directory holds no run."""
    run = Path(run)
    if not (run / "config.yaml").exists():
        inside = sorted(path.parent.name for path in run.glob("*/config.yaml"))
        more = f", but its folders do: {', '.join(inside)}" if inside else ""
        raise DataError(f"{run} holds no run to report on (there is no config.yaml){more}")
    lines = list(log.read(run / "metrics.jsonl"))
    return Left(run, config.load(run / "config.yaml"), lines, scores.read(run / "evaluation.json"))


def write(run: Path | str) -> Path:
    """Writes ``report.html`` into a run's directory and returns its path.

    It shows what is there: ``config.yaml``, ``metrics.jsonl``, ``evaluation.json``, ``previews/``
    and the grids beside it. The page holds its pictures and asks no network for anything.

    Raises DataError where the directory holds no run.
    """
    left = read(run)
    return files.write_text(left.path / "report.html", html(left))


SAMPLES = dict.fromkeys(
    ("complete", "translate"),
    "A row each: a held-out image's source, four images made of it, the image itself",
) | {"generate": "New images from the model"}
"""What ``samples.png`` shows, by task."""


def html(left: Left) -> str:
    """The report of a run."""
    run, lines, chosen = left.path, left.lines, left.config
    title = f"{run.resolve().name}: {chosen.objective} on {name_of(chosen.data.path)}"
    sections = {
        "Held-out scores": _scores(left.evaluation),
        "Samples": markup.file(run / "samples.png", SAMPLES[chosen.data.task]),
        "Priors": _priors(left),
        "Samples over time": _previews(left),
        "Reconstructions": markup.file(
            run / "reconstructions.png", "Held-out images above, reconstructions below"
        ),
        "Interpolation": markup.file(
            run / "interpolation.png", "From one held-out image to another, through latents"
        ),
        "Curves": "".join(map(markup.chart, charts(lines))),
        "Events": _events(lines),
        "Configuration": markup.preformatted(config.dump(chosen)),
        "Environment": markup.facts(markup.flatten(left.evaluation.get("environment") or {})),
    }
    return markup.document(
        title, _about(lines), [markup.section(*item) for item in sections.items()]
    )


# -- curves ---------------------------------------------------------------------------------------


def series(lines: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """What was measured again and again: by name, points (seconds, value)."""
    found: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        for name, value in line.items():
            number = type(value) in (int, float) and abs(value) < LARGE
            room = name in found or len(found) < CURVES
            if number and room and "seconds" in line and name not in ("step", "images", "seconds"):
                found.setdefault(name, []).append((line["seconds"], float(value)))
    return found


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
        found = {name.rpartition("/")[2]: measured.pop(name) for name in names if name in measured}
        if title.startswith("Held-out"):  # figures of different sizes: a chart each
            for name, points in found.items():
                known[name] = Curves(
                    f"Held-out {name.upper()} (lower is better)", "", {name: points}
                )
        elif found:
            known[title] = Curves(title, unit, found, logarithmic=title.startswith("Gradient"))
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


def _priors(left: Left) -> str:
    """The priors that were fitted and judged, and samples of each."""
    lines = left.evaluation.get("priors") or []
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
    count = left.evaluation.get("heldout_images") or 0
    told = markup.sentences(
        "Fitted to the encoder's z of training images. The least KID against held-out images "
        "decides what is sampled; where the prior trained with is within its standard error of "
        "that, it stays. The likelihood bounds above are of the prior sampled.",
        f"The same {count:,} held-out images chose the prior and judge its samples, so that with "
        "so few the KID of the one chosen is a little too good."
        if 0 < count < FEW
        else "",
    )
    names = ", ".join(str(line["name"]) for line in lines)
    grid = markup.file(left.path / "priors.png", f"New images from the same seed, by row: {names}")
    return markup.table(("prior", "KID", "time", ""), rows) + told + grid


def _previews(left: Left) -> str:
    paths, lines = sorted((left.path / "previews").glob("step-*.png")), left.lines
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
    return markup.sentences(_rows_of_previews(left.config) if pictures else "") + markup.strip(
        pictures
    )


def _rows_of_previews(chosen: Config) -> str:
    """Which row of a preview is what, in words; see :func:`ganvae.training.previews.write`."""
    wanted = objectives.get(chosen.objective)
    if wanted.task != "generate":
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
