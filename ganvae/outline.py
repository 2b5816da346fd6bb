"""Reads classes of settings from their source: names, types, defaults and docstrings.

They are not imported, so that ``--help`` shows an objective's fields without loading torch, and
every command's summary without importing the command.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).parent
_NOT_OBJECTIVES = {"__init__", "base", "registry", "codes"}
"""Files of that folder which hold no objective."""


@dataclass(frozen=True)
class Field:
    """One setting."""

    name: str
    type: str
    """As in the source; a choice as ``a | b | c``."""
    default: str
    """As in the source, strings without quotes; empty where the field is nested."""
    doc: str
    fields: tuple[Field, ...] = ()
    """The fields of a nested setting."""


@dataclass(frozen=True)
class Outline:
    """A settings class."""

    name: str
    doc: str
    fields: tuple[Field, ...]


def objectives() -> list[str]:
    """The names of all objectives, sorted: one a file."""
    names = (path.stem for path in (_ROOT / "objectives").glob("*.py"))
    return sorted(name for name in names if name not in _NOT_OBJECTIVES)


def objective(name: str) -> Outline:
    """The outline of ``ganvae/objectives/<name>.py``."""
    module = f"ganvae.objectives.{name}"
    tree = _parse(module)
    for node in tree.body:
        homes = [_home(tree, module, _text(base)) for base in getattr(node, "bases", ())]
        if any(home and home.startswith("ganvae.objectives.") for home in homes):
            assert isinstance(node, ast.ClassDef)
            return read(module, node.name)
    raise AssertionError(f"no Objective in the module {name}")


@cache
def read(module: str, name: str) -> Outline:
    """The outline of the dataclass ``name`` of ``module``, inherited fields first."""
    tree = _parse(module)
    node = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
    fields: dict[str, Field] = {}
    for base in node.bases:
        home = _home(tree, module, _text(base))
        if home is not None:
            fields.update({field.name: field for field in read(home, _text(base)).fields})
    for position, item in enumerate(node.body):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            if "ClassVar" not in _text(item.annotation) and item.value is not None:
                following = node.body[position + 1] if position + 1 < len(node.body) else None
                fields[item.target.id] = _field(tree, module, item, _docstring(following))
    return Outline(name, ast.get_docstring(node) or "", tuple(fields.values()))


def summary(module: str, name: str) -> str:
    """The first line of the docstring of the function ``name`` of ``module``."""
    functions = (node for node in _parse(module).body if isinstance(node, ast.FunctionDef))
    node = next(node for node in functions if node.name == name)
    return (ast.get_docstring(node) or "").partition("\n")[0]


def flat(prefix: str, fields: tuple[Field, ...]) -> list[tuple[str, Field]]:
    """Dotted names of settings, nested ones included."""
    lines = []
    for item in fields:
        if item.fields:
            lines += flat(f"{prefix}.{item.name}", item.fields)
        else:
            lines.append((f"{prefix}.{item.name}", item))
    return lines


def _field(tree: ast.Module, module: str, item: ast.AnnAssign, doc: str) -> Field:
    assert isinstance(item.target, ast.Name) and item.value is not None
    name, value = item.target.id, item.value
    if isinstance(value, ast.Call):
        home = _home(tree, module, _text(value.func))
        if home is not None:
            defaults = {k.arg: _value(k.value) for k in value.keywords if k.arg}
            inner = read(home, _text(value.func)).fields
            nested = tuple(replace(f, default=defaults.get(f.name, f.default)) for f in inner)
            return Field(name, _text(item.annotation), "", doc, nested)
    return Field(name, _type(_meaning(tree, module, item.annotation)), _value(value), doc)


def _meaning(tree: ast.Module, module: str, annotation: ast.expr) -> ast.expr:
    """The type that an annotation stands for, where it is the name of one."""
    name = _text(annotation)
    home = _home(tree, module, name) or module
    assignments = (node for node in _parse(home).body if isinstance(node, ast.Assign))
    return next((node.value for node in assignments if _text(node.targets[0]) == name), annotation)


def _home(tree: ast.Module, module: str, name: str) -> str | None:
    """The module of this package that defines the class ``name`` used in ``module``."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ganvae."):
            if any((alias.asname or alias.name) == name for alias in node.names):
                return node.module
    return None


@cache
def _parse(module: str) -> ast.Module:
    path = _ROOT.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def _docstring(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return " ".join(str(node.value.value).split())
    return ""


def _type(node: ast.expr) -> str:
    parts = node.left if isinstance(node, ast.BinOp) else node  # Literal[...] | None
    if isinstance(parts, ast.Subscript) and _text(parts.value) == "Literal":
        choices = parts.slice.elts if isinstance(parts.slice, ast.Tuple) else [parts.slice]
        words = [_value(choice) for choice in choices]
        return " | ".join(words + (["none"] if isinstance(node, ast.BinOp) else []))
    return _text(node).replace("None", "none")


def _value(node: ast.expr) -> str:
    if not isinstance(node, ast.Constant):
        return _text(node)
    if node.value is None or isinstance(node.value, bool):
        return str(node.value).lower()  # none, true, false: as a configuration has them
    return str(node.value)


def _text(node: ast.expr) -> str:
    return ast.unparse(node)
