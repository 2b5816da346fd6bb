"""Several runs on one page: scores, samples of the same seed, reconstructions, curves."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ganvae import files
from ganvae.config import as_dict, flatten
from ganvae.data import Data
from ganvae.errors import ConfigError
from ganvae.metrics import sampling
from ganvae.models import Model
from ganvae.models.images import enlarged, grid
from ganvae.pages import markup, scores
from ganvae.pages.markup import Cell, Curves, shown
from ganvae.pages.record import Side, open_images, open_runs, series, why_unopened
from ganvae.progress import Progress
from ganvae.telling import name_of, quoted
from ganvae.version import VERSION

SAMPLES, COLUMNS = 36, 6
HELD_OUT = 8
"""How many held-out images are shown with every run's reconstructions."""
_QUIET = ("stage", "kid", "mse", "kid_error", "n_generated", "n_heldout", "seed")


def write(
    runs: Sequence[str | Path],
    out: str | Path = "comparison.html",
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Path:
    """Writes one self-contained page about several runs and returns its path.

    seed: of the samples, the same for every run
    progress: called with what is done, how much of it, and of how much

    Raises ConfigError for fewer than two runs or one named twice, DataError for what is no run.
    """
    out = Path(out)
    if out.is_dir():
        raise ConfigError(f"{out} is a folder: name the page, for example {out / 'page.html'}")
    if out.suffix.lower() not in ("", ".html", ".htm"):
        raise ConfigError(f"{out} must end in .html: that is what the page is")
    sides = open_runs(runs, device)
    return files.write_text(out, html(sides, seed=seed, progress=progress))


def html(
    sides: Sequence[Side], *, seed: int = 0, progress: Progress | None = None, own: bool = False
) -> str:
    """The page.

    own: whether the runs were made by this process, so that all images they name may be opened
    """
    report = progress or (lambda what, done, total: None)
    opened = open_images(sides, own)
    sections = {
        "Runs": markup.sentences(*_cautions(sides, own)) + _runs(sides),
        "Held-out scores": markup.sentences(verdict(sides)) + _scores(sides),
        "Samples": _samples(sides, opened, seed, report),
        "Held-out images": _held_out(sides, opened, seed, report),
        "Curves": _curves(sides),
        "Differences between the configurations": _differences(sides),
    }
    report("compared", 1, 1)
    names = ", ".join(side.name for side in sides)
    body = [markup.section(*item) for item in sections.items()]
    return markup.document(f"{len(sides)} runs: {names}", f"ganvae {VERSION}", body)


# -- words ----------------------------------------------------------------------------------------


def ranked(sides: Sequence[Side]) -> list[Side]:
    """The best by held-out KID first; those without one last, in their order."""
    return sorted(sides, key=lambda side: _value(side.figures.get("kid"), math.inf))


def verdict(sides: Sequence[Side]) -> str:
    """Which is best by held-out KID, in a sentence; empty where they cannot be compared."""
    order = [side for side in ranked(sides) if _value(side.figures.get("kid")) is not None]
    figures = [side.figures["kid"] for side in order]
    if len(order) < 2 or not _comparable(sides) or len(set(map(_kind, figures))) > 1:
        return ""
    best = figures[0]
    ties = [
        side for side, other in zip(order, figures, strict=True) if not scores.apart(other, best)
    ]
    if len(ties) == 1:
        return (
            f"Best by {best['name']}: {order[0].name} with {scores.measured(best)}, then "
            f"{order[1].name} with {scores.measured(figures[1])}."
        )
    names = " and ".join(side.name for side in ties)
    return f"Best by {best['name']}: {names}, which their errors do not tell apart."


def _cautions(sides: Sequence[Side], own: bool) -> Iterator[str]:
    """Sentences about what makes the runs hard to compare."""
    for side in sides:
        if not own and (why := why_unopened(side)):
            yield f"{side.name} is shown without held-out images: {why}."
        if side.model is None:
            yield f"{side.name} has no samples here: {side.why}."
        if not side.figures:
            again = f"ganvae train --resume --out {quoted(str(side.record.path))}"
            yield f"{side.name} has no scores: it was not judged yet; `{again}` ends with them."
        yield from (f"{side.name}: {alarm}" for alarm in scores.alarms(side.record.evaluation))
    if not _comparable(sides):
        yield (
            "The runs saw different images (contents, size or split), so their scores, losses "
            "and held-out images cannot be compared with each other."
        )
    evaluations = {side.name: side.record.evaluation for side in sides if side.figures}
    judges = {name: evaluation.get("judge") for name, evaluation in evaluations.items()}
    if len(set(judges.values())) > 1:
        yield f"The judges differ: {_listed(judges)}. Scores of different judges are apart below."
    counts = {name: f"{evaluation.get('n_heldout'):,}" for name, evaluation in evaluations.items()}
    if len(set(counts.values())) > 1:
        yield (
            f"Different numbers of images were compared: {_listed(counts)}. Of the distances "
            f"only the KID does not depend on that."
        )


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _comparable(sides: Sequence[Side]) -> bool:
    return len({side.data for side in sides if side.data}) < 2


# -- tables ---------------------------------------------------------------------------------------


def _runs(sides: Sequence[Side]) -> str:
    """Each run's objective, data, budget and so on, a column a run."""
    columns = [_facts(side) for side in sides]
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [[name, *(shown(column.get(name)) for column in columns)] for name in names]
    return markup.table(["", *(side.name for side in sides)], rows, numbers=True)


def _facts(side: Side) -> dict[str, Any]:
    config, lines = side.record.config, side.record.lines
    end: dict[str, Any] = next((line for line in reversed(lines) if "images" in line), {})
    machine = side.record.evaluation.get("environment") or {}
    return {
        "objective": config.objective,
        "data": name_of(config.data.path),
        "budget": config.training.budget,
        "seconds": end.get("seconds"),
        "steps": end.get("step"),
        "images": end.get("images"),
        "parameters": side.model.parameters if side.model else None,
        "threads": machine.get("threads"),
    }


def _scores(sides: Sequence[Side]) -> str:
    """A row for every figure and judge, a column for every run; the best stand out."""
    kinds: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    for side in sides:
        kinds |= {_kind(figure): figure for figure in side.figures.values()}
    if not kinds:
        return ""
    rows, sets = [], _sets(sides)
    for kind, example in kinds.items():
        figures = [_of_kind(side.figures, kind) for side in sides]
        if any(_value(figure) is not None for figure in figures):
            real = [_real(sides, data, kind) for data in sets]
            rows.append(
                [example["name"], example["better"], *_cells(figures, len(sets) < 2), *real]
            )
    titles = ["score", "better", *(side.name for side in sides), *sets.values()]
    about = "Bold: the best, and what their errors do not tell from it." if len(sets) < 2 else ""
    return markup.table(titles, rows, numbers=True) + markup.sentences(about)


def _sets(sides: Sequence[Side]) -> dict[str, str]:
    """A column title for each data set's real images, by the set's fingerprint."""
    groups: dict[str, list[Side]] = {}
    for side in sides:
        if side.data:
            groups.setdefault(side.data, []).append(side)
    if len(groups) < 2:
        return dict.fromkeys(groups, "real images")
    names = [name_of(several[0].record.config.data.path) for several in groups.values()]
    if len(set(names)) < len(names):  # of the same name: told apart by their runs
        names = [" and ".join(side.name for side in several) for several in groups.values()]
    return {data: f"real images of {name}" for data, name in zip(groups, names, strict=True)}


def _real(sides: Sequence[Side], data: str, kind: tuple[str, str, str]) -> str:
    """The score of a data set's real images; empty where no run has it."""
    for side in sides:
        figure = _of_kind(side.record.evaluation.get("reference") or {}, kind)
        if side.data == data and figure is not None and figure["value"] is not None:
            return scores.measured(figure)
    return ""


def _kind(figure: Mapping[str, Any]) -> tuple[str, str, str]:
    """Name, judge and resizing: figures are compared only where these are the same."""
    return str(figure["name"]), str(figure.get("judge")), str(figure.get("resize"))


def _of_kind(
    figures: Mapping[str, Mapping[str, Any]], kind: tuple[str, str, str]
) -> Mapping[str, Any] | None:
    return next((figure for figure in figures.values() if _kind(figure) == kind), None)


def _cells(figures: Sequence[Mapping[str, Any] | None], comparable: bool) -> list[str | Cell]:
    measured = [figure for figure in figures if figure and figure["value"] is not None]
    texts = ["" if figure is None else scores.measured(figure) for figure in figures]
    if not comparable or len(measured) < 2:
        return list(texts)
    sign = 1 if measured[0]["better"] == "lower" else -1
    best = min(measured, key=lambda figure: sign * figure["value"])
    good = [figure for figure in measured if not scores.apart(figure, best)]
    return [
        Cell(text) if figure in good else text for text, figure in zip(texts, figures, strict=True)
    ]


def _value(figure: Mapping[str, Any] | None, missing: Any = None) -> Any:
    value = None if figure is None else figure.get("value")
    return missing if value is None else value


def _differences(sides: Sequence[Side]) -> str:
    """The settings that differ between runs; "-" where an objective has no such field."""
    settings = [dict(flatten(as_dict(side.record.config))) for side in sides]
    keys = dict.fromkeys(key for run in settings for key in run)
    values = {key: [str(run.get(key, "-")) for run in settings] for key in keys}
    rows = [[key, *each] for key, each in values.items() if len(set(each)) > 1]
    none = markup.sentences("There are none.") if not rows else ""
    return none + markup.table(["setting", *(side.name for side in sides)], rows)


# -- pictures -------------------------------------------------------------------------------------


def _samples(
    sides: Sequence[Side], opened: Mapping[str, Data], seed: int, report: Progress
) -> str:
    pictures = []
    for number, side in enumerate(sides):
        data = opened.get(side.data)
        if side.model is None or (side.model.info.from_sources and data is None):
            continue
        test = data.test if data is not None else None
        images = torch.cat(list(sampling.generated(side.model, SAMPLES, seed, test)))
        pictures.append(_picture(images, COLUMNS, side.model, _captioned(side)))
        report("samples", number, len(sides))
    about = f"Image for image from the same random numbers, seed {seed}."
    return markup.strip(pictures) + (markup.sentences(about) if pictures else "")


def _captioned(side: Side) -> str:
    kid = side.figures.get("kid")
    score = f", {kid['name']} {scores.measured(kid)}" if kid else ""
    return f"{side.name}: {side.record.config.objective}{score}"


def _held_out(
    sides: Sequence[Side], opened: Mapping[str, Data], seed: int, report: Progress
) -> str:
    """The same held-out images above each run's reconstructions of them."""
    parts = []
    for data in opened.values():
        if not len(data.test):
            continue
        numbers = sampling.rows(len(data.test), HELD_OUT, seed)
        rows = []
        for number, side in enumerate(sides):
            images = _remade(side, data, numbers, seed) if side.data == data.fingerprint else None
            if images is not None and side.model is not None:
                rows.append(_picture(images, HELD_OUT, side.model, side.name))
            report("reconstructions", number, len(sides))
        model = next(side.model for side in sides if side.model and side.data == data.fingerprint)
        if rows:
            x = torch.cat(list(sampling.read(data.test, numbers)))
            parts += [_picture(x, HELD_OUT, model, "held-out images"), *rows]
    return "".join(parts)


def _remade(side: Side, data: Data, numbers: Any, seed: int) -> Tensor | None:
    """A run's reconstructions, completions or translations of held-out images."""
    model = side.model
    if model is None:
        return None
    if model.info.from_sources:
        return torch.cat(
            [x[:, 0] for x in sampling.made_of_sources(model, data.test, numbers, seed)]
        )
    if "encoder" not in model.networks:
        return None
    parts = sampling.read_with_labels(data.test, numbers)
    has_classes = bool(model.info.classes)
    return torch.cat(
        [
            model.reconstruct(x.to(model.device), *(c if has_classes else ())).cpu()
            for x, *c in parts
        ]
    )


def _picture(images: Tensor, columns: int, model: Model, caption: str) -> str:
    file = io.BytesIO()
    picture: Image.Image = grid(images, columns, scale=enlarged(model.shape))
    picture.save(file, format="PNG")
    return markup.picture(file.getvalue(), caption)


# -- curves ---------------------------------------------------------------------------------------


def _curves(sides: Sequence[Side]) -> str:
    """Scores over time, all runs in one chart, and the other quantities that two runs logged."""
    logged = {side.name: series(side.record.lines) for side in sides}
    charts = [
        Curves(f"Held-out {key.upper()} (lower is better)", "", _course(sides, logged, key))
        for key in ("kid", "mse")
    ]
    keys = dict.fromkeys(key for curves in logged.values() for key in curves)
    for key in keys:
        lines = {name: curves[key] for name, curves in logged.items() if key in curves}
        if len(lines) > 1 and key not in _QUIET and not key.startswith("norm/"):
            title, unit = {"images_per_s": ("Speed", "images/s")}.get(key, (key, ""))
            charts.append(Curves(title, unit, lines, logarithmic=key.startswith("loss/")))
    shared = any(chart.title.startswith("loss/") for chart in charts)
    about = "Losses of two objectives need not be one quantity: compare their course."
    drawings = "".join(markup.chart(chart) for chart in charts if chart.lines)
    return drawings + markup.sentences(about if shared else "")


def _course(
    sides: Sequence[Side], logged: Mapping[str, Mapping[str, Any]], key: str
) -> dict[str, list[tuple[float, float]]]:
    """A quick score over the training, with the final one at its end."""
    courses: dict[str, list[tuple[float, float]]] = {}
    for side in sides:
        points = list(logged[side.name].get(key, ()))
        final = _value(side.figures.get(key))
        end = _facts(side)["seconds"]
        if final is not None and end is not None:
            points = [point for point in points if point[0] < end] + [(end, final)]
        if points:
            courses[side.name] = points
    return courses
