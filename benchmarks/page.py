"""Makes the races' part of docs/results.md from the results as JSON, pictures included.

``python -m benchmarks page`` replaces what lies between two comments of the page, or adds it at
the end. A race's result becomes lines of a table from its ``goals`` (``what``, ``measured``,
``goal``, ``better``), or from :data:`FIGURES` where it has none. Some have sections of their own.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import RESULTS
from benchmarks.cells import ROOT, missed

BEGIN = "<!-- races: made by `python -m benchmarks page`, not by hand -->"
END = "<!-- end of the races -->"
PAGE = ROOT / "docs" / "results.md"
FIGURES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "attributes": (("ratio", "moved images that became the class meant", "higher"),),
    "auxiliary": (("ratio", "nats an image of aux_vae over vae's", "lower"),),
    "completion": (("ratio", "KID of completions over the better classical fill's", "lower"),),
    "data": (("ratio", "least of the figures over their goals", "higher"),),
    "first_stage": (("ratio", "perceptual distance over the VAE's", "lower"),),
    "floors": (("ratio", "KID over the floor, worst objective", "lower"),),
    "overhead": (("ratio", "share of a step that is not the objective's own work", "lower"),),
    "startup": (("ratio", "slowest command's `--help` over .3 s", "lower"),),
    "step": (
        ("ratio", "images/s of vae_gan's step over pythae's, 32 px", "higher"),
        ("ratio_64", "the same, 64 px", "higher"),
    ),
    "translation": (("ratio", "KID of bicycle over the same U-Net's by L1", "lower"),),
    "unpaired": (("ratio", "KID untranslated over translated", "higher"),),
}
"""Of results without ``goals``: key, what it is, and which is better."""
FIRST = ("claim", "quality", "step", "stability", "limit", "use", "growth")
"""The order of the races; others follow."""
SCORES = {
    "kid": "KID", "fid": "FID", "precision": "precision", "recall": "recall",
    "coverage": "coverage", "mse": "MSE", "perceptual": "perceptual", "steps": "steps",
}  # fmt: skip
NAMES = {
    "peer_own": "pythae VAEGAN, own networks",
    "peer_ours": "pythae VAEGAN, our networks",
    "short": "gan_vae, a twentieth of the time",
}
KINDS = {"mlp": "its MLPs", "conv": "its convolutions", "ours": "our networks"}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666")


def shown(value: float | None) -> str:
    """A number as the page has it: three digits, no zero before the point, "-" for none."""
    if value is None:
        return "-"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{round(value):,}"
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return _bare(f"{value:.{min(max(digits, 0), 5)}f}")


def plain(value: float) -> str:
    """A number that was chosen, not measured: only the digits it needs."""
    return _bare(f"{value:,g}")


def _bare(text: str) -> str:
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# -- pictures ---------------------------------------------------------------------------------


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
    """Where the page's pictures go.

    source: where races leave theirs
    folder: beside the page
    """

    source: Path
    folder: Path

    def chart(self, name: str, chart: Chart) -> str:
        """Draws a chart; the line that shows it."""
        if not chart.lines:
            return ""
        chart.save(self.folder / f"race-{name}.svg")
        return f"![{chart.title}]({self.folder.name}/race-{name}.svg)\n"

    def copy(self, name: str, caption: str) -> str:
        """A race's own picture, or the page's from before; nothing where there is neither."""
        path, kept = self.source / f"{name}.png", self.folder / f"race-{name}.png"
        if path.exists():
            shutil.copyfile(path, kept)
        elif not kept.exists():
            return ""
        return f"{caption}\n\n![{name}]({self.folder.name}/race-{name}.png)\n"


# -- all races --------------------------------------------------------------------------------


def goals(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a race measured beside what was to be reached."""
    if "goals" in result:
        return list(result["goals"])
    known = FIGURES.get(result["name"], ())
    return [
        {"what": what, "measured": result.get(key), "goal": result["goal"], "better": better}
        for key, what, better in known
        if key in result
    ]


def overview(results: Sequence[Mapping[str, Any]]) -> str:
    """All races with their goals, and whether they are met."""
    rows = []
    for result in results:
        for number, goal in enumerate(goals(result)):
            sign = "≥" if goal["better"] == "higher" else "≤"
            measured = "never" if goal["measured"] is None else shown(goal["measured"])
            verdict = "**missed**" if missed(goal) else "met"
            name = "" if number else f"`{result['name']}`"
            rows.append([name, goal["what"], f"{sign} {plain(goal['goal'])}", measured, verdict])
    return table(["race", "figure", "goal", "measured", ""], rows)


def machines(results: Sequence[Mapping[str, Any]]) -> str:
    """What the races ran on, in a sentence for each machine."""
    by_machine: dict[str, list[str]] = {}
    for result in results:
        known = result.get("machine")
        text = "a machine that was not recorded"
        if isinstance(known, Mapping):
            text = f"{known['cpu']}, {known['cores']} cores, {known['system']}"
            text += f", torch {known['torch']}"
        by_machine.setdefault(text, []).append(f"`{result['name']}`")
    return "".join(f"Measured on {m}: {', '.join(names)}.\n\n" for m, names in by_machine.items())


def threads(result: Mapping[str, Any]) -> str:
    """How many threads a race was run with, in words."""
    return "one thread" if result["threads"] == 1 else f"{result['threads']} threads"


def conditions(result: Mapping[str, Any]) -> str:
    """Budget, seeds and so on, in a sentence."""
    seeds, (low, high) = result["seeds"], result["load"]
    runs = "seed 0 alone" if seeds == 1 else f"medians over {seeds} seeds"
    return (
        f"{result['budget']} of training each, {runs}, {result['samples']:,} samples against as "
        f"many held-out images, {threads(result)}; the machine's load was between "
        f"{plain(low)} and {plain(high)}.\n\n"
    )


def scores(found: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]) -> str:
    """A table of scores, a contestant a line; KID with its range over seeds."""
    rows = []
    for name, one in found.items():
        cells = [shown(one.get(key)) for key in SCORES]
        kids = [kid for kid in one["kids"] if kid is not None]
        if len(kids) > 1:
            cells[0] += f" ({shown(min(kids))} to {shown(max(kids))})"
        rows.append([names.get(name, f"`{name}`"), *cells])
    return table(["", *SCORES.values()], rows)


def course(one: Mapping[str, Any], score: str) -> list[tuple[float, float]]:
    """A score against training time, as far as there is one."""
    points = [(point["seconds"], point.get(score)) for point in one["course"]]
    return [(x, y) for x, y in points if y is not None]


def curves(
    found: Mapping[str, Mapping[str, Any]], names: Mapping[str, str], score: str, title: str
) -> Chart:
    """A score of several contestants against training time."""
    lines = {names.get(name, name): course(one, score) for name, one in found.items()}
    kept = {name: points for name, points in lines.items() if points}
    positive = all(y > 0 for points in kept.values() for _, y in points)
    log = "y" if score == "kid" and positive else ""
    return Chart(title, "seconds of training", SCORES[score], kept, log)


# -- the claim and the quality ----------------------------------------------------------------


def claim(result: Mapping[str, Any], pictures: Pictures) -> str:
    """The section of the article's claim."""
    found = result["objectives"]
    text = "The same networks, data and time, Fashion-MNIST at 32 px. " + conditions(result)
    text += scores(found, {}) + "\n"
    rows = []
    for name, one in result["hybrids"].items():
        times = one["share_of_time_to_final"]
        shares = [
            "never" if times[key] is None else shown(times[key])
            for key in ("vae_kid", "vae_coverage", "gan_kid", "gan_coverage")
        ]
        figures = [shown(one["coverage_over_gan"]), shown(one["vae_kid_over_kid"])]
        rows.append([f"`{name}`", *figures, *shares])
    text += "The hybrids against the VAE and the GAN, and the share of the other's time in which "
    text += "they first were as good as it was in the end:\n\n"
    head = ["", "coverage over the GAN's", "the VAE's KID over its own", "VAE's final KID after",
            "VAE's coverage", "GAN's final KID", "GAN's coverage"]  # fmt: skip
    text += table(head, rows) + "\n"
    for score, what in (("kid", "KID (lower is better)"), ("coverage", "Coverage (higher)")):
        text += pictures.chart(f"claim-{score}", curves(found, {}, score, what)) + "\n"
    order = ", ".join(found)
    return text + pictures.copy("claim", f"Samples after the whole time, row by row: {order}.")


def quality(result: Mapping[str, Any], pictures: Pictures) -> str:
    """The section of the race against pythae."""
    text = ""
    for data, one in result["data"].items():
        found = one["contestants"]
        text += f"#### {data}\n\n" + conditions(one) + scores(found, NAMES) + "\n"
        text += peers(one, one["search_budget"]) + "\n"
        lines = {name: run for name, run in found.items() if name != "short"}
        chart = curves(lines, NAMES, "kid", f"KID on {data} (lower is better)")
        text += pictures.chart(f"quality-{data}", chart) + "\n"
        order = ", ".join(NAMES.get(name, name) for name in lines)
        text += pictures.copy(f"quality-{data}", f"Samples, row by row: {order}.") + "\n"
    return text


def peers(one: Mapping[str, Any], budget: str) -> str:
    """Which settings the peer got, and what its search tried."""
    text = ""
    for name, chosen in one["peer"].items():
        layer = f"layer {chosen['layer']}" if chosen["layer"] else "its default layer"
        text += (
            f"* {NAMES[name]}: best in its search, {KINDS[chosen['networks']]}, a learning rate "
            f"of {chosen['rate']:g}, an `adversarial_loss_scale` of {chosen['adversarial']:g}, "
            f"features of {layer} reconstructed.\n"
        )
    if one["failed"]:
        text += f"* {one['failed']} run(s) of the peer broke off with numbers not finite.\n"
    for networks in one.get("left_out", ()):
        text += f"* {KINDS[networks]} were left out: judging one takes too long here.\n"
    rows = [
        [KINDS[line["networks"]], f"{line['rate']:g}", f"{line['adversarial']:g}",
         str(line["layer"] or "default"), shown(line.get("kid")), line.get("sampler") or "-",
         shown(line.get("steps"))]
        for line in one["search"]
    ]  # fmt: skip
    head = ["networks", "learning rate", "loss scale", "layer", "KID", "better sampler", "steps"]
    return f"{text}\nThe search, {budget} each, seed 0:\n\n{table(head, rows)}"


# -- other races ------------------------------------------------------------------------------


def stability(result: Mapping[str, Any], pictures: Pictures) -> str:
    """The section of many seeds."""
    rows = []
    for data, found in result["data"].items():
        for name, one in found.items():
            if isinstance(one, Mapping):
                kid = one["kid"] or {}
                numbers = [f"{one['healthy']} of {one['runs']}", f"{one['divergences']}"]
                spread = [shown(kid.get(key)) for key in ("median", "least", "largest")]
                rows.append([data, name.replace(" x ", " × "), *numbers, *spread])
    budget = result["budget"].replace("steps", " steps")
    text = f"{budget} of training each, KID of {result['samples']:,} samples.\n\n"
    head = ["data", "", "healthy", "diverged", "median KID", "least", "largest"]
    return text + table(head, rows)


def limit(result: Mapping[str, Any], pictures: Pictures) -> str:
    """The section of the hardware's limit, a stage a line."""
    rows = [
        [f"{size} px", stage, *(shown(one[key]) for key in LIMIT)]
        for size, found in result["sizes"].items()
        for stage, one in found["stages"].items()
    ]
    return f"{threads(result).capitalize()}.\n\n" + table(["", "stage", *LIMIT.values()], rows)


LIMIT = {
    "mflop_per_image": "MFLOP an image", "step_ms": "ms a step", "gflop_per_s": "GFLOP/s",
    "kernels_gflop_per_s": "its kernels alone, GFLOP/s", "ratio": "ratio",
}  # fmt: skip


def growth(result: Mapping[str, Any], pictures: Pictures) -> str:
    """The section of growth: exponents of the power laws, their picture, many GPUs on paper."""
    rows = [
        [what, *(shown(found[key]["exponent"]) for key in ("step_s", "memory_mb"))]
        for what, found in result["step"].items()
    ]
    text = "Exponents of time and memory of a step:\n\n"
    text += table(["against", "time", "memory"], rows) + "\n"
    text += pictures.copy("growth", "The points and their power laws:") + "\n"
    paper = [
        [shown(1000 * line["step_s"]), str(line["gpus"]), shown(line["efficiency"])]
        for line in result["paper"]["table"]
    ]
    text += f"On paper, by the flat all-reduce's cost, {result['paper']['size']} px:\n\n"
    return text + table(["ms a step of one GPU", "GPUs", "efficiency"], paper)


def figures(result: Mapping[str, Any], pictures: Pictures) -> str:
    """A section of everything that a result holds: its conditions, then its figures."""
    flat = dict(leaves({key: value for key, value in result.items() if key not in KNOWN}))
    said = [f"{key} {value}" for key, value in flat.items() if key in CONDITIONS]
    said += [f"{key} {value}" for key, value in result.get("settings", {}).items()]
    rows = [
        [f"`{key}`", shown(value)]
        for key, value in flat.items()
        if key not in CONDITIONS and not isinstance(value, str)
    ]
    text = f"{', '.join(said).capitalize()}.\n\n" + table(["figure", ""], rows)
    caption = CAPTIONS.get(result["name"])
    return text + "\n" + pictures.copy(result["name"], caption) if caption else text


def leaves(value: Mapping[str, Any], home: str = "") -> Iterator[tuple[str, Any]]:
    """The numbers and words of a nested result by dotted name; of lists each by its place."""
    for key, part in value.items():
        part = {str(at): one for at, one in enumerate(part)} if isinstance(part, list) else part
        if isinstance(part, Mapping):
            yield from leaves(part, f"{home}{key}.")
        else:
            yield f"{home}{key}", part


CAPTIONS = {
    "attributes": "An image of each class, its reconstruction, and what it became by one and a "
    "half times the way to every class in turn.",
    "auxiliary": "Samples of vae, aux_vae, and vae of the literature's size.",
}
"""Of the pictures that may be shown: those of CIFAR-10 and of emoji stay where they were made."""
KNOWN = {"name", "machine", "ratio", "goal", "version", "torch", "load", "settings"}
CONDITIONS = {"budget", "size", "seed", "threads", "samples", "heldout", "images", "data",
              "importance"}  # fmt: skip
SECTIONS = {
    "claim": claim, "quality": quality, "stability": stability, "limit": limit, "growth": growth,
    "attributes": figures, "auxiliary": figures, "completion": figures, "first_stage": figures,
    "translation": figures, "unpaired": figures,
}  # fmt: skip
TITLES = {
    "claim": "The article's claim", "quality": "Against pythae at equal time",
    "stability": "Many seeds", "limit": "The hardware's limit",
    "first_stage": "First stages", "auxiliary": "Auxiliary variables",
}  # fmt: skip


def generate(results: Sequence[Mapping[str, Any]], pictures: Pictures) -> str:
    """The races' part of the page, without the comments around it."""
    order = {name: number for number, name in enumerate(FIRST)}
    results = sorted(results, key=lambda r: (order.get(r["name"], len(order)), r["name"]))
    parts = [f"## The races\n\n{machines(results)}{overview(results)}\n"]
    for result in results:
        name = result["name"]
        body = SECTIONS[name](result, pictures) if name in SECTIONS else ""
        if body:
            parts.append(f"### {TITLES.get(name, name.capitalize())}\n\n{body.rstrip()}\n\n")
    return "".join(parts)


def placed(page: str, part: str) -> str:
    """The page with its generated part replaced, or added at the end."""
    block = f"{BEGIN}\n\n{part.strip()}\n\n{END}\n"
    if BEGIN not in page:
        return f"{page.rstrip()}\n\n{block}"
    before, _, rest = page.partition(BEGIN)
    return before + block + rest.partition(f"{END}\n")[2]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--to", type=Path, default=PAGE, help="pictures go into images/ beside it")
    args = parser.parse_args()
    results = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(args.results.glob("*.json"))
    ]
    images = args.to.parent / "images"
    images.mkdir(parents=True, exist_ok=True)
    part = generate(results, Pictures(args.results / "pictures", images))
    page = args.to.read_text(encoding="utf-8") if args.to.exists() else "# Results\n"
    args.to.write_text(placed(page, part), encoding="utf-8")
    print(args.to)


if __name__ == "__main__":
    main()
