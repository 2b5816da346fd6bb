"""Makes the races' part of docs/results.md from the results as JSON, pictures included.

``python -m benchmarks page`` replaces what lies between two comments of the page, or adds it at
the end: all races' goals in a table, and the section of each that has one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from benchmarks import RESULTS, ROOT, command_line
from benchmarks.race import Race, Result, missed
from benchmarks.sections import Pictures, plain, shown, table

BEGIN = "<!-- races: made by `python -m benchmarks page`, not by hand -->"
END = "<!-- end of the races -->"
PAGE = ROOT / "docs" / "results.md"
FIRST = ("claim", "quality", "step", "stability", "limit", "use", "growth")
"""The order of the races; others follow."""


def race(name: str) -> Race:
    """The race of a result."""
    return import_module(f"benchmarks.{name}").RACE


def overview(results: Sequence[Result]) -> str:
    """All races with their goals, and whether they are met."""
    rows = []
    for result in results:
        for number, goal in enumerate(race(result["name"]).goals(result)):
            sign = "≥" if goal["better"] == "higher" else "≤"
            measured = "never" if goal["measured"] is None else shown(goal["measured"])
            verdict = "**missed**" if missed(goal) else "met"
            name = "" if number else f"`{result['name']}`"
            rows.append([name, goal["what"], f"{sign} {plain(goal['goal'])}", measured, verdict])
    return table(["race", "figure", "goal", "measured", ""], rows)


def machines(results: Sequence[Result]) -> str:
    """What the races ran on, in a sentence for each machine."""
    by_machine: dict[str, list[str]] = {}
    for result in results:
        text = "a machine that was not recorded"
        if machine := result.get("machine"):
            text = "{cpu}, {cores} cores, {system}, torch {torch}".format_map(machine)
        by_machine.setdefault(text, []).append(f"`{result['name']}`")
    return "".join(f"Measured on {m}: {', '.join(names)}.\n\n" for m, names in by_machine.items())


def generate(results: Sequence[Result], pictures: Pictures) -> str:
    """The races' part of the page, without the comments around it."""
    order = dict(zip(FIRST, range(len(FIRST))))
    results = sorted(results, key=lambda r: (order.get(r["name"], len(order)), r["name"]))
    parts = [f"## The races\n\n{machines(results)}{overview(results)}\n"]
    for result in results:
        one = race(result["name"])
        if one.section:
            title, body = one.title or one.name.capitalize(), one.section(result, pictures)
            parts.append(f"### {title}\n\n{body.rstrip()}\n\n")
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
    to = {"type": Path, "default": PAGE, "help": "pictures go into images/ beside it"}
    args = command_line(__doc__, {"--results": {"type": Path, "default": RESULTS}, "--to": to})
    results = [json.loads(path.read_text("utf-8")) for path in sorted(args.results.glob("*.json"))]
    images = args.to.parent / "images"
    images.mkdir(parents=True, exist_ok=True)
    part = generate(results, Pictures(args.results / "pictures", images))
    page = args.to.read_text(encoding="utf-8") if args.to.exists() else "# Results\n"
    args.to.write_text(placed(page, part), encoding="utf-8")
    print(args.to)
