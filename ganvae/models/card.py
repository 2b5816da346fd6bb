"""The model card: README.md with the Hub's front matter. Foreign text in it is made harmless."""

from __future__ import annotations

import html
import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from ganvae.models.info import ModelInfo
from ganvae.task import TASKS
from ganvae.telling import measured
from ganvae.version import VERSION

MAX_CLASSES, MAX_WORD = 100, 200

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~$:@-])")
_FORMATTING = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # control, bidirectional, surrogates, ...

HEAD = """\
---
library_name: ganvae
pipeline_tag: {pipeline}
tags:
- ganvae
- vae
- gan
- {tag}
# license: choose one (for example mit), and remove the hash
---

"""


LIMITATIONS = """\
* It knows the images it was trained on and nothing else: what is rare there is rare or missing in
  what it makes, and their biases are its own.
* It may reproduce training images closely. `ganvae evaluate` measures that (memorisation); look
  before you publish samples of private or protected images.
* Generated images are not evidence of anything that happened.
* Scores compare models only under the same judge, image size and sample counts.
"""


def text(
    info: ModelInfo,
    *,
    encodes: bool = True,
    parameters: int | None = None,
    scores: Mapping[str, Any] | None = None,
) -> str:
    """The card as Markdown.

    encodes: whether the model has an encoder
    parameters: number of weights
    scores: what :func:`ganvae.metrics.evaluate` found, a row a figure; of other mappings every
        number is listed
    """
    parts = [_what(info, encodes, parameters), _training(info), _scores(scores), _use(info)]
    tag = "image-to-image" if info.from_sources else "image-generation"
    head = HEAD.format(
        pipeline=tag if info.from_sources else "unconditional-image-generation", tag=tag
    )
    return head + "\n".join(parts) + f"\n## Limitations\n\n{LIMITATIONS}"


def _what(info: ModelInfo, encodes: bool, parameters: int | None) -> str:
    channels, height, width = info.shape.image
    colours = {1: "grey", 3: "RGB"}.get(channels, f"{channels}-channel")
    verbs = TASKS[info.task].does
    if encodes and not info.from_sources:
        verbs += ", encodes, reconstructs and interpolates them"
    weights = "" if parameters is None else f", {parameters:,} parameters"
    lines = [
        f"# {word(info.objective)}, {height}×{width} {colours}",
        "",
        f"An image model that {verbs}: {height}×{width} pixels, {colours}, {info.shape.latent} "
        f"latent dimensions{weights}. Trained by the objective {word(info.objective)} of ganvae, "
        f"which trains variational autoencoders, generative adversarial networks and hybrids.",
    ]
    if classes := info.learnt_classes:
        names = ", ".join(map(word, classes[:MAX_CLASSES]))
        more = len(classes) - MAX_CLASSES
        lines += ["", f"Classes: {names}" + (f" and {more:,} more." if more > 0 else ".")]
    return "\n".join(lines) + "\n"


def _training(info: ModelInfo) -> str:
    trained, net = info.trained, info.networks
    networks = f"{word(net.family)}, width {net.width}, depth {net.depth}, prior {word(net.prior)}"
    if info.custom:
        networks += f"; modules of the author's own: {', '.join(map(word, info.custom))}"
    rows: list[tuple[str, Any]] = [
        ("objective", info.objective),
        ("options", json.dumps(info.options, sort_keys=True) if info.options else "defaults"),
        ("training images", trained.train_images),
        ("held-out images", trained.test_images),
        ("images seen", trained.images),
        ("steps", trained.steps),
        ("batch", trained.batch),
        ("budget", trained.budget or None),
        ("training time", None if trained.seconds is None else f"{trained.seconds:,.0f} s"),
        ("seed", str(trained.seed)),
        ("other sizes were fitted by", f"{info.resize}, background {info.background}"),
        ("data fingerprint", trained.fingerprint or None),
        ("made with", f"ganvae {VERSION}"),
    ]
    table = [f"| {name} | {_cell(value)} |" for name, value in rows if value is not None]
    return "\n".join(
        ["## Training", "", "| | |", "|---|---|", f"| networks | {networks} |", *table, ""]
    )


def _scores(scores: Mapping[str, Any] | None) -> str:
    lines = ["## Scores", ""]
    figures = (scores or {}).get("figures")
    if scores and isinstance(figures, Mapping):
        return "\n".join([*lines, *_figures(scores, figures), ""])
    rows = list(_numbers(scores or {}))
    if not rows:
        return "\n".join([*lines, "Not evaluated yet: `ganvae evaluate` does it.", ""])
    lines += [
        "On held-out images, with the averaged weights.",
        "",
        "| score | value |",
        "|---|---|",
    ]
    return "\n".join([*lines, *(f"| {word(n)} | {_cell(v)} |" for n, v in rows), ""])


def _figures(scores: Mapping[str, Any], figures: Mapping[str, Any]) -> Iterator[str]:
    """An evaluation as a table, a row a figure, and a sentence on how it was measured."""
    yield "On held-out images, with the averaged weights."
    yield from ("", "| score | value | better | |", "|---|---|---|---|")
    for figure in figures.values():
        if figure["value"] is not None:
            words = (figure["name"], figure["better"], figure["note"])
            name, better, note = (word(str(text)) for text in words)
            value = measured(figure["value"], figure["error"])
            yield f"| {name} | {value} | {better} | {note} |"
    n, real = scores["n_generated"], scores["n_heldout"]
    yield ""
    yield (
        f"Features of {word(scores['judge'])}, {word(scores['resize'])}; {n:,} images against "
        f"{real:,} held-out ones; seed {scores['seed']}."
    )


def _numbers(scores: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in scores.items():
        path = f"{above} {name}".strip()
        if isinstance(value, Mapping):
            yield from _numbers(value, path)
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            yield path, value


def _use(info: ModelInfo) -> str:
    lines = ["## Use", "", "```python", "import ganvae", ""]
    if info.custom:
        modules = ", ".join(f'"{role}": ...' for role in info.custom)  # roles are plain names
        lines += [
            f"model = ganvae.load(path, networks={{{modules}}})  # modules built as in training"
        ]
    else:
        lines += ['model = ganvae.load("path/or/owner/name")']
    lines += [TASKS[info.task].example.format(source=info.shape.source), "```", ""]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else "not finite"
    return word(str(value))


def word(value: str) -> str:
    """Foreign text for one line of Markdown: no HTML, no markup, no control characters."""
    printable = "".join(" " if unicodedata.category(c) in _FORMATTING else c for c in value)
    printable = " ".join(printable.split())
    if len(printable) > MAX_WORD:
        printable = printable[: MAX_WORD - 1] + "…"
    return html.escape(_MARKDOWN.sub(r"\\\1", printable), quote=False)
