"""A run's ``report.html``: one file with everything in it, made from what the run left."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from html import escape
from pathlib import Path
from typing import Any

from ganvae import __version__, config
from ganvae.errors import DataError
from ganvae.training import log

POINTS = 400
"""Points a curve is drawn with; longer ones are averaged down to as many."""
PREVIEWS = 12
"""Samples over time that are shown, spread evenly."""
EVENTS = 200


@dataclass(frozen=True)
class Curves:
    """One chart: named lines over the training's minutes."""

    title: str
    unit: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    logarithmic: bool = False


def write(run: Path | str) -> Path:
    """Writes ``report.html`` into a run's directory and returns its path.

    It shows what is there: ``config.yaml``, ``metrics.jsonl``, ``evaluation.json``, ``previews/``
    and the grids beside it. The page holds its pictures and asks no network for anything.

    Raises DataError where the directory holds no run.
    """
    run = Path(run)
    if not (run / "config.yaml").exists():
        raise DataError(f"{run} holds no run to report on (there is no config.yaml)")
    path = run / "report.html"
    scratch = path.with_name(".tmp-report.html")
    scratch.write_text(page(run), encoding="utf-8")
    os.replace(scratch, path)
    return path


def page(run: Path) -> str:
    """The HTML of a run's report."""
    lines = list(log.read(run / "metrics.jsonl"))
    evaluation = _json(run / "evaluation.json")
    chosen = config.load(run / "config.yaml")
    title = f"{run.resolve().name}: {chosen.objective} on {Path(chosen.data.path).name}"
    environment = evaluation.pop("environment", {})
    sections = [
        _section("Held-out scores", _scores(evaluation)),
        _section("Samples", _picture(run / "samples.png", "New images from the model")),
        _section("Samples over time", _previews(run / "previews", lines)),
        _section(
            "Reconstructions",
            _picture(run / "reconstructions.png", "Held-out images above, reconstructions below"),
        ),
        _section(
            "Interpolation",
            _picture(
                run / "interpolation.png", "From one held-out image to another, through latents"
            ),
        ),
        _section("Curves", "".join(_chart(chart) for chart in charts(lines))),
        _section("Events", _events(lines)),
        _section("Configuration", f"<pre>{escape(config.dump(chosen))}</pre>"),
        _section("Environment", _table(flatten(environment))),
    ]
    return _PAGE.format(
        title=escape(title), body="".join(sections), about=escape(_about(lines)), style=_STYLE
    )


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
                _measured(figure),
                str(figure["better"]),
                "" if real is None else shown(real),
                " / ".join(sizes),
                how,
            )
        )
    return rows


def conditions(evaluation: Mapping[str, Any]) -> str:
    """What holds for all figures, in a sentence."""
    leaked = evaluation.get("leaked")
    parts = [
        f"On {evaluation.get('split', 'held-out')} images with the averaged (EMA) weights",
        f"features of {evaluation.get('judge')}, {evaluation.get('resize')}",
        f"samples {evaluation.get('samples')}, seed {evaluation.get('seed')}",
        f"{leaked:,} held-out images are also training images" if leaked else "",
    ]
    return "; ".join(part for part in parts if part) + "."


def _measured(figure: Mapping[str, Any]) -> str:
    if figure.get("value") is None:
        return "-"
    error = figure.get("error")
    return shown(figure["value"]) + ("" if error is None else f" ± {error:.2g}")


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Names (nested ones with a space between) and plain values."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", value


def shown(value: Any) -> str:
    """A value as people read it: four digits, thousands apart."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(shown(item) for item in value)
    return str(value)


# -- curves ---------------------------------------------------------------------------------------


def charts(lines: Sequence[Mapping[str, Any]]) -> list[Curves]:
    """What is worth a chart among the lines of ``metrics.jsonl``."""
    series: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        for name, value in line.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if number and "seconds" in line and name not in ("step", "images", "seconds"):
                series.setdefault(name, []).append((line["seconds"] / 60, float(value)))
    known: dict[str, Curves] = {}
    groups = {
        "Held-out score (lower is better)": ("", ["kid", "mse"]),
        "Loss by network": ("loss", [n for n in series if n.startswith("loss/")]),
        "Gradient norm by network": ("norm", [n for n in series if n.startswith("norm/")]),
        "Speed": ("images/s", ["images_per_s"]),
    }
    for title, (unit, names) in groups.items():
        found = {name.rpartition("/")[2]: series.pop(name) for name in names if name in series}
        if title.startswith("Held-out"):  # figures of different sizes: a chart each
            for name, points in found.items():
                known[name] = Curves(
                    f"Held-out {name.upper()} (lower is better)", "", {name: points}
                )
        elif found:
            known[title] = Curves(title, unit, found, logarithmic=title.startswith("Gradient"))
    quiet = ("stage", "kid_error", "n_generated", "n_heldout", "seed")
    others = {name: points for name, points in series.items() if name not in quiet}
    for name, points in others.items():
        known[name] = Curves(name, "", {name: points})
    return list(known.values())


def thin(points: Sequence[tuple[float, float]], most: int = POINTS) -> list[tuple[float, float]]:
    """At most ``most`` points, each the mean of its neighbours."""
    size = -(-len(points) // most) or 1
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return [
        (sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part))
        for part in parts
    ]


def _chart(chart: Curves) -> str:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": chart.title}):
        figure = Figure(figsize=(5.6, 3.0))
        axes = figure.add_axes((0.13, 0.17, 0.84, 0.72))
        for name, points in chart.lines.items():
            x, y = zip(*thin(points), strict=True)
            mark = "o" if len(points) < 12 else None
            axes.plot(x, y, label=_untex(name), linewidth=1.4, marker=mark, markersize=3)
        positive = all(y > 0 for points in chart.lines.values() for _, y in points)
        axes.set_yscale("log" if chart.logarithmic and positive else "linear")
        axes.set_title(_untex(chart.title), fontsize=10)
        axes.set_xlabel("minutes", fontsize=9)
        axes.set_ylabel(chart.unit, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if len(chart.lines) > 1:
            axes.legend(fontsize=8, frameon=False)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return _embedded(file.getvalue(), "image/svg+xml", chart.title, "chart")


def _untex(text: str) -> str:
    return text.replace("$", "\\$")


# -- parts of the page ----------------------------------------------------------------------------


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>" if content else ""


def _scores(evaluation: Mapping[str, Any]) -> str:
    rows = figures(evaluation)
    if not rows:
        return ""
    titles = ("score", "value", "better", "real images", "compared", "how")
    head = "".join(f"<th>{title}</th>" for title in titles)
    cells = ("".join(f"<td>{escape(text)}</td>" for text in astuple(row)) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in cells)
    about = f'<p class="about">{escape(conditions(evaluation))}</p>'
    return f"<table><tr>{head}</tr>{body}</table>{about}"


def _table(rows: Iterable[tuple[str, Any]]) -> str:
    body = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(shown(value))}</td></tr>" for name, value in rows
    )
    return f"<table>{body}</table>" if body else ""


def _picture(path: Path, caption: str) -> str:
    if not path.exists():
        return ""
    return _figure(path, caption)


def _previews(folder: Path, lines: Sequence[Mapping[str, Any]]) -> str:
    paths = sorted(folder.glob("step-*.png"))
    last = len(paths) - 1
    chosen = (
        sorted({round(i * last / max(1, PREVIEWS - 1)) for i in range(PREVIEWS)}) if paths else []
    )
    seconds = {line["step"]: line["seconds"] for line in lines if "seconds" in line}
    figures = []
    for position in chosen:
        step = int(paths[position].stem.removeprefix("step-"))
        near = min(seconds, key=lambda s: abs(s - step), default=None)
        when = f", {seconds[near] / 60:.1f} min" if near is not None else ""
        figures.append(_figure(paths[position], f"step {step:,}{when}"))
    return f'<div class="strip">{"".join(figures)}</div>' if figures else ""


def _figure(path: Path, caption: str) -> str:
    picture = _embedded(path.read_bytes(), "image/png", caption, "pixels")
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"


def _embedded(content: bytes, kind: str, alt: str, name: str) -> str:
    data = base64.b64encode(content).decode()
    return f'<img class="{name}" alt="{escape(alt)}" src="data:{kind};base64,{data}">'


def _events(lines: Sequence[Mapping[str, Any]]) -> str:
    events = [(f"step {line['step']:,}", line["event"]) for line in lines if "event" in line]
    return _table(events[-EVENTS:])


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


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2128; background: #fff;
       max-width: 76rem; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; border-bottom: 1px solid #d5dae1; padding-bottom: .2rem;
     margin-top: 2rem; }
p.about, figcaption { color: #57606a; font-size: .85rem; margin: .2rem 0; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .15rem 1.2rem .15rem 0; vertical-align: top;
         font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
th { font-weight: 500; color: #57606a; }
pre { background: #f6f8fa; padding: .8rem; overflow-x: auto; font-size: .8rem; }
figure { margin: 0; }
img { max-width: 100%; }
img.pixels { image-rendering: pixelated; border: 1px solid #d5dae1; }
img.chart { width: min(34rem, 100%); }
.strip { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem; }
.strip img { width: 100%; }
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
      content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<p class="about">{about}</p>
{body}
</body>
</html>
"""
