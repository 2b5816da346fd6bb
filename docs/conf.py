"""Sphinx: pages in Markdown, the API from docstrings, formulas as MathML; no network needed."""

from __future__ import annotations

import re
from html import escape
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from docutils.utils.math.latex2mathml import tex2mathml  # type: ignore[import-untyped]
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from ganvae import __version__, outline

project = "ganvae"
author = "the ganvae authors"
copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"ganvae {release}"
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
nitpicky = False

_ARGUMENT = re.compile(r"(\w+(?:, \w+)*): (\S.*)")


class Settings(SphinxDirective):
    """``{settings} objective gan_vae``: every field with its default, read from the source."""

    required_arguments = 1
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """A table of the fields."""
        section = self.arguments[0]
        if section == "objective":
            shown = outline.objective(self.arguments[1])
            self.env.note_dependency(f"../ganvae/objectives/{self.arguments[1]}.py")
        else:
            shown = outline.read("ganvae.config", section.capitalize())
        rows = [(f"{section}.{name}", field) for name, field in _flat(shown.fields)]
        body = [
            [nodes.literal(text=key), nodes.literal(text=field.default), *_words(field)]
            for key, field in rows
        ]
        return [_table(("field", "default", "meaning"), body)]


def _flat(fields: tuple[outline.Field, ...], prefix: str = "") -> list[tuple[str, outline.Field]]:
    found = []
    for field in fields:
        name = prefix + field.name
        found += _flat(field.fields, f"{name}.") if field.fields else [(name, field)]
    return found


def _words(field: outline.Field) -> list[nodes.Node]:
    choices = f" One of: {field.type}." if "|" in field.type and "none" not in field.type else ""
    return [nodes.inline(text=field.doc.replace("``", "") + choices)]


def _table(titles: tuple[str, ...], body: list[list[nodes.Node]]) -> nodes.table:
    group = nodes.tgroup(cols=len(titles))
    group += [nodes.colspec(colwidth=width) for width in (30, 15, 55)]
    head = [[nodes.inline(text=title)] for title in titles]
    group += nodes.thead("", nodes.row("", *(_cell(*cell) for cell in head)))
    group += nodes.tbody("", *(nodes.row("", *(_cell(part) for part in row)) for row in body))
    return nodes.table("", group)


def _cell(*content: nodes.Node) -> nodes.entry:
    return nodes.entry("", nodes.paragraph("", "", *content))


def arguments(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Docstrings here describe arguments as ``name: text``, Sphinx as ``:param name: text``."""
    made: list[str] = []
    inside = False
    for line in lines:
        line = re.sub(r"(?<=[ (])\*(?=\w)", r"\\*", line)
        match = _ARGUMENT.fullmatch(line)
        before = made[-1] if made else "x"
        if match and (not before or inside):
            made.append(f":param {match[1].replace(', ', ',')}: {match[2]}")
            inside = True
        else:
            if inside and line and not line.startswith(" "):
                made.append("")  # a paragraph right below the list
                inside = False
            made.append(line)
    lines[:] = made


def _math(self: Any, node: nodes.Element) -> None:
    block = isinstance(node, nodes.math_block)
    try:
        self.body.append(tex2mathml(node.astext(), as_block=block))
    except SyntaxError as error:
        raise ValueError(f"this formula cannot be shown: {escape(node.astext())}") from error
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Registers the directive, the docstring hook and the formulas."""
    app.add_directive("settings", Settings)
    app.connect("autodoc-process-docstring", arguments)
    app.add_html_math_renderer("mathml", (_math, None), (_math, None))
