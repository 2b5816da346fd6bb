"""Finds settings among the options: --training.batch 32."""

from __future__ import annotations

from ganvae import outline
from ganvae.outline import Field, flat

SECTIONS = ("objective", "data", "networks", "training", "evaluation")
OF_COMMANDS = {
    "train": SECTIONS,
    "evaluate": ("data", "evaluation"),
    "check": ("data",),
}
"""Which commands take which settings."""


def split(tokens: list[str]) -> tuple[list[str], dict[str, str]]:
    """The other tokens, and the dotted settings by name.

    ``--training.batch 32`` and ``--training.batch=32``; a switch also as ``--data.flip`` and
    ``--data.no-flip``.
    """
    if not any(token.startswith("--") and "." in token for token in tokens):
        return tokens, {}
    rest: list[str] = []
    overrides: dict[str, str] = {}
    switches = _switches(tokens)
    queue = list(tokens)
    while queue:
        token = queue.pop(0)
        if token == "--":
            return [*rest, token, *queue], overrides
        key, equals, value = token.removeprefix("--").partition("=")
        section, _, field = key.partition(".")
        if not token.startswith("--") or section not in SECTIONS or not field:
            rest.append(token)
            continue
        name = key.replace("-", "_")
        negative = name.replace(".no_", ".")
        if equals:
            overrides[name] = value
        elif name in switches:
            worded = bool(queue) and queue[0].lower() in ("true", "false", "yes", "no")
            overrides[name] = queue.pop(0) if worded else "true"
        elif negative != name and negative in switches:
            overrides[negative] = "false"
        elif queue and not queue[0].startswith("--"):
            overrides[name] = queue.pop(0)
        else:
            overrides[name] = ""  # refused later, with the type that it should have
    return rest, overrides


def _switches(tokens: list[str]) -> set[str]:
    """The names of all settings that are true or false."""
    groups = {name: fields_of(name, tokens) for name in SECTIONS}
    return {
        key for name, fields in groups.items() for key, f in flat(name, fields) if "bool" in f.type
    }


def fields_of(section: str, tokens: list[str]) -> tuple[Field, ...]:
    """The settings of a section, or of the objective that ``tokens`` name."""
    if section == "objective":
        return outline.objective(objective_named(tokens)).fields
    return outline.read("ganvae.config", section.capitalize()).fields


def objective_named(tokens: list[str]) -> str:
    """The first objective of the option --objective, else the default."""
    default = next(f.default for f in outline.read("ganvae.config", "Config").fields)
    name = default
    for token, following in zip(tokens, [*tokens[1:], ""], strict=True):
        if token.startswith("--objective=") or token == "--objective":
            names = token.partition("=")[2] or following
            name = names.split(",")[0].replace("-", "_")
    return name if name in outline.objectives() else default
