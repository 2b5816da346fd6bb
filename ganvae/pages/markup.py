"""The HTML parts of a self-contained page: sections, tables, pictures and charts."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganvae import foreign
from ganvae.telling import number, plain

MOST = 2**28
"""Bytes that a picture's file may have."""
POINTS = 400
"""Most points of a drawn curve; longer ones are averaged down to as many."""


@dataclass(frozen=True)
class Curves:
    """One chart: named lines over the training's time."""

    title: str
    unit: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    """Points (seconds, value)."""
    logarithmic: bool = False


@dataclass(frozen=True)
class Cell:
    """A table's cell, in bold where it is the best."""

    text: str
    best: bool = True


def escape(text: str) -> str:
    """Text for a page, without markup or control characters."""
    return html.escape(plain(text))


def document(title: str, about: str, body: Iterable[str]) -> str:
    """The HTML of a page."""
    return _PAGE.format(title=escape(title), about=escape(about), body="".join(body), style=_STYLE)


def section(title: str, content: str) -> str:
    """A part of the page with its title; nothing where there is no content."""
    return f"<section><h2>{escape(title)}</h2>{content}</section>" if content else ""


def sentences(*texts: str) -> str:
    """Paragraphs in small print."""
    return "".join(f'<p class="about">{escape(text)}</p>' for text in texts if text)


def alarms(*texts: str) -> str:
    """Paragraphs that stand out as warnings."""
    return "".join(f'<p class="alarm">{escape(text)}</p>' for text in texts)


def facts(rows: Iterable[tuple[str, Any]]) -> str:
    """A table of names and values."""
    body = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(shown(value))}</td></tr>" for name, value in rows
    )
    return f'<table class="facts">{body}</table>' if body else ""


def table(
    titles: Sequence[str], rows: Iterable[Sequence[str | Cell]], *, numbers: bool = False
) -> str:
    """A table with a title over every column, which scrolls where the screen is too narrow.

    numbers: whether no cell may be broken into lines, beside the first two columns'
    """
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    if not body:
        return ""
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    kind = "wide numbers" if numbers else "wide"
    return f'<div class="{kind}"><table><tr>{head}</tr>{body}</table></div>'


def _cell(value: str | Cell) -> str:
    text, best = (value.text, value.best) if isinstance(value, Cell) else (value, False)
    return f"<td><strong>{escape(text)}</strong></td>" if best else f"<td>{escape(text)}</td>"


def preformatted(text: str) -> str:
    """Text as it is, line by line."""
    return f"<pre>{escape(text)}</pre>" if text else ""


def picture(png: bytes, caption: str) -> str:
    """A picture within the page, and what it shows."""
    image = _embedded(png, "image/png", caption, "pixels")
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def file(path: Path, caption: str) -> str:
    """A file's picture; empty where there is no file."""
    return picture(foreign.read(path, MOST), caption) if path.exists() else ""


def strip(pictures: Sequence[str]) -> str:
    """Pictures side by side, as many in a row as there is room for."""
    return f'<div class="strip">{"".join(pictures)}</div>' if pictures else ""


def _embedded(content: bytes, kind: str, alt: str, name: str) -> str:
    data = base64.b64encode(content).decode()
    return f'<img class="{name}" alt="{escape(alt)}" src="data:{kind};base64,{data}">'


# -- values ---------------------------------------------------------------------------------------


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
        return number(value, 4)
    if isinstance(value, (list, tuple)):
        return ", ".join(shown(item) for item in value)
    return str(value)


# -- curves ---------------------------------------------------------------------------------------


def thin(points: Sequence[tuple[float, float]], most: int = POINTS) -> list[tuple[float, float]]:
    """At most ``most`` points, each the mean of its neighbours."""
    size = -(-len(points) // most) or 1
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return [
        (sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part))
        for part in parts
    ]


def chart(curves: Curves) -> str:
    """The curves, drawn to SVG."""
    import matplotlib
    from matplotlib.figure import Figure

    word, seconds = _scale(curves)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": curves.title}):
        figure = Figure(figsize=(5.6, 3.0))
        axes = figure.add_axes((0.13, 0.17, 0.84, 0.72))
        for name, points in curves.lines.items():
            at, y = zip(*thin(points), strict=True)
            mark = "o" if len(points) < 12 else None
            x = [value / seconds for value in at]
            axes.plot(x, y, label=_untex(name), linewidth=1.4, marker=mark, markersize=3)
        positive = all(y > 0 for points in curves.lines.values() for _, y in points)
        axes.set_yscale("log" if curves.logarithmic and positive else "linear")
        axes.set_title(_untex(curves.title), fontsize=10)
        axes.set_xlabel(word, fontsize=9)
        axes.set_ylabel(curves.unit, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if len(curves.lines) > 1:
            axes.legend(fontsize=8, frameon=False)
        svg = io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return _embedded(svg.getvalue(), "image/svg+xml", curves.title, "chart")


def _scale(curves: Curves) -> tuple[str, float]:
    """The unit of the time axis, and how many seconds it has."""
    end = max((points[-1][0] for points in curves.lines.values()), default=0.0)
    if end < 120:
        return "seconds", 1.0
    return ("minutes", 60.0) if end < 7200 else ("hours", 3600.0)


def _untex(text: str) -> str:
    return plain(text).replace("$", "\\$")


_STYLE = """
:root { color-scheme: light dark; --text: #1c2128; --quiet: #57606a; --line: #d5dae1;
        --ground: #fff; --block: #f6f8fa; }
@media (prefers-color-scheme: dark) {
  :root { --text: #d8dee6; --quiet: #9aa4b0; --line: #3b424c; --ground: #14181d;
          --block: #1d232a; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--ground);
       max-width: 76rem; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem;
     margin-top: 2rem; }
p.about, figcaption { color: var(--quiet); font-size: .85rem; margin: .2rem 0;
                      overflow-wrap: anywhere; }
p.alarm { border-left: 4px solid #d1242f; background: var(--block); padding: .4rem .8rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .15rem 1.2rem .15rem 0; vertical-align: top;
         font-variant-numeric: tabular-nums; max-width: 24rem; overflow-wrap: break-word; }
.wide th, .numbers td, .wide td:nth-child(-n+2) { white-space: nowrap; }
.wide td { min-width: 4rem; }
.facts td { overflow-wrap: anywhere; }
th { font-weight: 500; color: var(--quiet); }
pre { background: var(--block); padding: .8rem; overflow-x: auto; font-size: .8rem; }
figure { margin: 0 0 .6rem; }
img { max-width: 100%; }
img.pixels { image-rendering: pixelated; border: 1px solid var(--line); }
img.chart { width: min(34rem, 100%); background: #fff; }
.strip { display: grid; gap: 1rem;
         grid-template-columns: repeat(auto-fill, minmax(min(17rem, 100%), 1fr)); }
.strip img { width: 100%; box-sizing: border-box; }
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
