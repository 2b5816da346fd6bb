"""A run's ``report.html``: one file with everything in it, made from what the run left."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from ganvae import __version__, config, files, page
from ganvae.config import Config
from ganvae.errors import DataError
from ganvae.page import Curves, shown
from ganvae.training import log

PREVIEWS = 12
"""Samples over time that are shown, spread evenly."""
EVENTS = 200


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
    return Left(run, config.load(run / "config.yaml"), lines, _json(run / "evaluation.json"))


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
    title = f"{run.resolve().name}: {chosen.objective} on {Path(chosen.data.path).name}"
    sections = {
        "Held-out scores": _scores(left.evaluation),
        "Samples": page.file(run / "samples.png", SAMPLES[chosen.data.task]),
        "Priors": _priors(left),
        "Samples over time": _previews(run / "previews", lines),
        "Reconstructions": page.file(
            run / "reconstructions.png", "Held-out images above, reconstructions below"
        ),
        "Interpolation": page.file(
            run / "interpolation.png", "From one held-out image to another, through latents"
        ),
        "Curves": "".join(map(page.chart, charts(lines))),
        "Events": _events(lines),
        "Configuration": page.preformatted(config.dump(chosen)),
        "Environment": page.facts(page.flatten(left.evaluation.get("environment") or {})),
    }
    return page.document(title, _about(lines), [page.section(*item) for item in sections.items()])


@dataclass(frozen=True)
class Row:
    """A figure as a line of the table of scores, all of it text."""

    name: str
    value: str
    better: str
    """Which direction is: "lower" or "higher"."""
    real: str
    """The same figure of real training images, a floor; empty where there is none."""
    counts: str
    """How many images were compared."""
    how: str
    """Judge and note."""


def figures(evaluation: Mapping[str, Any]) -> list[Row]:
    """The table of an evaluation's scores."""
    reference = evaluation.get("reference") or {}
    counts = {"n_generated": "generated", "n_heldout": "held-out", "n_train": "training"}
    rows = []
    for key, figure in (evaluation.get("figures") or {}).items():
        real = reference.get(key, {}).get("value")
        sizes = [f"{figure[n]:,} {what}" for n, what in counts.items() if figure.get(n)]
        how = "; ".join(str(part) for part in (figure.get("judge"), figure.get("note")) if part)
        rows.append(
            Row(
                str(figure["name"]),
                measured(figure),
                str(figure["better"]),
                "" if real is None else shown(real),
                " / ".join(sizes),
                how,
            )
        )
    return rows


def conditions(evaluation: Mapping[str, Any]) -> str:
    """What holds for all figures, in a sentence."""
    leaked, known = evaluation.get("leaked"), evaluation.get("known")
    judged = evaluation.get("judged") or f"{evaluation.get('split', 'held-out')} images"
    parts = [
        f"On {judged}, with the averaged (EMA) weights",
        f"features of {evaluation.get('judge')}, {evaluation.get('resize')}",
        f"samples {evaluation.get('samples')}, seed {evaluation.get('seed')}",
        f"{leaked:,} held-out images are also training images" if leaked else "",
        f"{known:,} of them are also among the run's own images, held out or trained on: scores on"
        " these flatter"
        if known
        else "",
    ]
    return "; ".join(part for part in parts if part) + "."


def measured(figure: Mapping[str, Any]) -> str:
    """The value of a figure with its error, "-" where it has none."""
    if figure.get("value") is None:
        return "-"
    error = figure.get("error")
    return shown(figure["value"]) + ("" if error is None else f" ± {error:.2g}")


# -- curves ---------------------------------------------------------------------------------------


def series(lines: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """What was measured again and again: by name, points (seconds, value)."""
    found: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        for name, value in line.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if number and "seconds" in line and name not in ("step", "images", "seconds"):
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
    rows = figures(evaluation)
    if not rows:
        return ""
    titles = ("score", "value", "better", "real images", "compared", "how")
    return page.table(titles, map(astuple, rows)) + page.sentences(conditions(evaluation))


def _priors(left: Left) -> str:
    """The priors that were fitted and judged, and samples of each."""
    lines = left.evaluation.get("priors") or []
    rows = [
        (
            page.Cell(name, best=line["chosen"]),
            measured({"value": line["kid"], "error": line["kid_error"]}),
            shown(line["seconds"]),
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
    told = page.sentences(
        "Fitted to the encoder's z of training images. The least KID against held-out images "
        "decides what is sampled; where the prior trained with is within its standard error of "
        "that, it stays. The likelihood bounds above are of the prior sampled."
    )
    names = ", ".join(str(line["name"]) for line in lines)
    grid = page.file(left.path / "priors.png", f"New images from the same seed, by row: {names}")
    return page.table(("prior", "KID", "seconds", ""), rows) + told + grid


def _previews(folder: Path, lines: Sequence[Mapping[str, Any]]) -> str:
    paths = sorted(folder.glob("step-*.png"))
    last = len(paths) - 1
    chosen = (
        sorted({round(i * last / max(1, PREVIEWS - 1)) for i in range(PREVIEWS)}) if paths else []
    )
    seconds = {line["step"]: line["seconds"] for line in lines if "seconds" in line}
    pictures = []
    for position in chosen:
        step = int(paths[position].stem.removeprefix("step-"))
        near = min(seconds, key=lambda s: abs(s - step), default=None)
        when = f", {seconds[near] / 60:.1f} min" if near is not None else ""
        pictures.append(page.file(paths[position], f"step {step:,}{when}"))
    return page.strip(pictures)


def _events(lines: Sequence[Mapping[str, Any]]) -> str:
    events = [(f"step {line['step']:,}", line["event"]) for line in lines if "event" in line]
    return page.facts(events[-EVENTS:])


def _about(lines: Sequence[Mapping[str, Any]]) -> str:
    timed = [line for line in lines if "seconds" in line and "images" in line]
    if not timed:
        return f"ganvae {__version__}"
    end = timed[-1]
    return (
        f"{end['step']:,} steps, {end['images']:,} images, {end['seconds'] / 60:.1f} minutes of "
        f"training · ganvae {__version__}"
    )


def _json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}
