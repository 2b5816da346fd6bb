"""The parts of the page's sections: numbers, tables, charts and pictures."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganvae import files

if TYPE_CHECKING:
    from torch import Tensor

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666")
KNOWN = {"name", "machine", "ratio", "goal", "goals", "version", "torch", "load", "settings"}
CONDITIONS = {"budget", "size", "seed", "threads", "samples", "heldout", "images", "data",
              "importance"}  # fmt: skip
"""Keys that :func:`figures` leaves out, and those that it puts into its first sentence."""


def shown(value: float | None) -> str:
    """A number as the page has it: three digits, no zero before the point, "-" for none."""
    if value is None:
        return "-"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{round(value):,}"
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return _bare(f"{value:.{min(max(digits, 0), 5)}f}")


def plain(value: float) -> str:
    """A number that was set, not measured: all its digits."""
    return _bare(f"{value:,g}")


def _bare(text: str) -> str:
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def threads(result: Mapping[str, Any]) -> str:
    """How many threads a race was run with, in words."""
    return "one thread" if result["threads"] == 1 else f"{result['threads']} threads"


def figures(result: Mapping[str, Any], pictures: Pictures, caption: str = "") -> str:
    """A section of everything in a result: its conditions, then its figures.

    caption: of the race's picture, which is only shown with one
    """
    flat = dict(leaves({key: value for key, value in result.items() if key not in KNOWN}))
    conditions = [f"{key} {value}" for key, value in flat.items() if key in CONDITIONS]
    conditions += [f"{key} {value}" for key, value in result.get("settings", {}).items()]
    rows = [
        [f"`{key}`", shown(value)]
        for key, value in flat.items()
        if key not in CONDITIONS and not isinstance(value, str)
    ]
    text = f"{', '.join(conditions).capitalize()}.\n\n" + table(["figure", ""], rows)
    return text + "\n" + pictures.copy(result["name"], caption) if caption else text


def leaves(value: Mapping[str, Any], home: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a nested result by dotted name, those of lists by their index."""
    for key, part in value.items():
        part = {str(at): one for at, one in enumerate(part)} if isinstance(part, list) else part
        if isinstance(part, Mapping):
            yield from leaves(part, f"{home}{key}.")
        else:
            yield f"{home}{key}", part


def show(name: str, picture: Tensor | Path, folder: Path | None, columns: int = 1) -> None:
    """Writes the picture of a race.

    picture: a file, or images (B, C, H, W) in [-1, 1], of which ``columns`` stand in a row
    folder: of results; None: nothing is written
    """
    from ganvae.models.images import enlarged, grid, save_png

    if folder is None:
        return
    path = folder / "pictures" / f"{name}.png"
    if isinstance(picture, Path):
        files.write(path, partial(shutil.copyfile, picture))
    else:
        save_png(grid(picture, columns, scale=enlarged(picture.shape[1:])), path)


@dataclass(frozen=True)
class Chart:
    """Lines with points; a line of one point is drawn level across, as a mark to reach.

    log: which of the axes are logarithmic: "", "x", "y" or "xy"
    """

    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[Sequence[float]]]
    log: str = ""

    def save(self, path: Path) -> None:
        """Draws it as SVG: the same bytes for the same figures."""
        import matplotlib
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": self.title}):
            figure = Figure(figsize=(5.6, 3.4), layout="constrained")
            axes = figure.add_subplot()
            for number, (name, points) in enumerate(self.lines.items()):
                colour = COLOURS[number % len(COLOURS)]
                x, y = zip(*points)
                if len(points) == 1:
                    axes.axhline(y[0], color=colour, label=name, linewidth=1.2, linestyle="--")
                else:
                    axes.plot(x, y, color=colour, label=name, linewidth=1.4, marker="o", ms=3)
            axes.set_xscale("log" if "x" in self.log else "linear")
            axes.set_yscale("log" if "y" in self.log else "linear")
            for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
                if name in self.log:
                    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                    axis.set_minor_formatter(NullFormatter())
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            axes.set_title(self.title, fontsize=10)
            axes.set_xlabel(self.x, fontsize=9)
            axes.set_ylabel(self.y, fontsize=9)
            axes.tick_params(labelsize=8)
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
            figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


@dataclass(frozen=True)
class Pictures:
    """The pictures of the page.

    source: the folder where races write them
    folder: the one beside the page
    """

    source: Path
    folder: Path

    def chart(self, name: str, chart: Chart) -> str:
        """Draws a chart, and returns the Markdown that shows it."""
        if not chart.lines:
            return ""
        chart.save(self.folder / f"race-{name}.svg")
        return f"![{chart.title}]({self.folder.name}/race-{name}.svg)\n"

    def copy(self, name: str, caption: str) -> str:
        """Markdown for a race's picture, new or from before; empty where there is none."""
        path, old = self.source / f"{name}.png", self.folder / f"race-{name}.png"
        if path.exists():
            shutil.copyfile(path, old)
        elif not old.exists():
            return ""
        return f"{caption}\n\n![{name}]({self.folder.name}/race-{name}.png)\n"
