"""What stands on the command line: settings among the options, and help in plain text.

Help is written here, not by ``cyclopts``: its tables of ``rich`` take longer than all the rest.
"""

from __future__ import annotations

import inspect
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from ganvae import outline
from ganvae.errors import ConfigError
from ganvae.outline import Field

if TYPE_CHECKING:
    from cyclopts import App

SECTIONS = ("objective", "data", "networks", "training", "evaluation")
_SETTINGS = {
    "train": SECTIONS,
    "evaluate": ("data", "evaluation"),
    "check": ("data",),
}
"""Which commands take which settings."""

Lines = Sequence[tuple[str, str]]


def split(tokens: list[str]) -> tuple[list[str], dict[str, str]]:
    """The dotted settings among ``tokens``, and the rest.

    ``--training.batch 32`` and ``--training.batch=32``; a switch also as ``--data.flip`` and
    ``--data.no-flip``.
    """
    if not any(token.startswith("--") and "." in token for token in tokens):
        return tokens, {}
    rest: list[str] = []
    found: dict[str, str] = {}
    switches = _switches(tokens)
    queue = list(tokens)
    while queue:
        token = queue.pop(0)
        if token == "--":
            return [*rest, token, *queue], found
        key, equals, value = token.removeprefix("--").partition("=")
        section, _, field = key.partition(".")
        if not token.startswith("--") or section not in SECTIONS or not field:
            rest.append(token)
            continue
        name = key.replace("-", "_")
        negative = name.replace(".no_", ".")
        if equals:
            found[name] = value
        elif name in switches:
            worded = bool(queue) and queue[0].lower() in ("true", "false", "yes", "no")
            found[name] = queue.pop(0) if worded else "true"
        elif negative != name and negative in switches:
            found[negative] = "false"
        elif queue and not queue[0].startswith("--"):
            found[name] = queue.pop(0)
        else:
            found[name] = ""  # refused below, where what it should have been is known
    return rest, found


def _switches(tokens: list[str]) -> set[str]:
    """The names of all settings that are true or false."""
    groups = {name: fields_of(name, tokens) for name in SECTIONS}
    return {
        key for name, known in groups.items() for key, f in flat(name, known) if "bool" in f.type
    }


def fields_of(section: str, tokens: list[str]) -> tuple[Field, ...]:
    """The settings of a section, or of the objective that ``tokens`` name."""
    if section == "objective":
        return outline.objective(objective_named(tokens)).fields
    return outline.read("ganvae.config", section.capitalize()).fields


def objective_named(tokens: list[str]) -> str:
    """The objective among the options, of several the first; else the default."""
    default = next(f.default for f in outline.read("ganvae.config", "Config").fields)
    named = default
    for token, following in zip(tokens, [*tokens[1:], ""], strict=True):
        if token.startswith("--objective=") or token == "--objective":
            listed = token.partition("=")[2] or following
            named = listed.split(",")[0].replace("-", "_")
    return named if named in outline.objectives() else default


def flat(prefix: str, fields: tuple[Field, ...]) -> list[tuple[str, Field]]:
    """Dotted names of settings, nested ones included."""
    found = []
    for item in fields:
        if item.fields:
            found += flat(f"{prefix}.{item.name}", item.fields)
        else:
            found.append((f"{prefix}.{item.name}", item))
    return found


# -- help -----------------------------------------------------------------------------------------


def wants_help(tokens: list[str]) -> bool:
    """Whether help is asked for, before a "--"."""
    before = tokens[: tokens.index("--")] if "--" in tokens else tokens
    return "--help" in before or "-h" in before


def print_help(app: App, tokens: list[str]) -> None:
    """The help of the command that ``tokens`` name, or of all."""
    known = [name for name in app if not name.startswith("-")]
    named = next((token for token in tokens if not token.startswith("-")), None)
    if named is None:
        return _print_overview(app, known)
    if named not in known:
        from ganvae.config import suggest

        raise ConfigError(f"there is no command {named!r}{suggest(named, known)}")
    words, described = _described(app[named].default_command)
    arguments, options = _parameters(app[named], described)
    usage = " ".join([app.name[0], named, *(_placed(*line) for line in arguments)])
    print(f"Usage: {usage} [OPTIONS]\n\n{words}\n")
    print_lines("arguments", arguments)
    print_lines("options", options)
    for section in _SETTINGS.get(named, ()):
        title = section
        if section == "objective":
            title = f"objective {objective_named(tokens)} (--objective NAME --help for others)"
        print_fields(title, flat(section, fields_of(section, tokens)))
    print(_wrapped(str(app.help_epilogue)))


def _placed(name: str, text: str) -> str:
    return name if "[required]" in text else f"[{name}]"


def _print_overview(app: App, known: Iterable[str]) -> None:
    print(f"Usage: {app.name[0]} COMMAND [OPTIONS]\n\n{app.help}\n")
    print_lines("commands", [(name, _summary(app[name].default_command)) for name in known])
    flags = [("--help, -h", "Of a command: all its options."), ("--version", "Print the version.")]
    print_lines("options", flags)
    print(_wrapped(str(app.help_epilogue)))


def _summary(command: Any) -> str:
    return (inspect.getdoc(command) or "").partition("\n")[0]


def _described(command: Any) -> tuple[str, dict[str, str]]:
    """What a command's docstring says of it, and of each of its parameters."""
    words, _, rest = (inspect.getdoc(command) or "").partition("\nParameters\n----------\n")
    described: dict[str, str] = {}
    name = ""
    for line in rest.splitlines():
        if line.startswith(" "):
            described[name] = f"{described[name]} {line.strip()}".strip()
        elif line:
            name = line
            described[name] = ""
    return words.strip(), described


def _parameters(command: App, described: dict[str, str]) -> tuple[Lines, Lines]:
    """Arguments and options with what they mean."""
    arguments, options = [], []
    for argument in command.assemble_argument_collection():
        if not argument.show or not argument.parse:
            continue
        text = [described.get(argument.field_info.name, "")]
        variables = argument.parameter.env_var
        if variables:
            text.append(f"[environment: {', '.join(variables)}]")
        default = argument.field_info.default
        if argument.required:
            text.append("[required]")
        elif (
            default is not None and default is not False and default is not inspect.Parameter.empty
        ):
            text.append(f"[default: {default}]")
        kind = argument.field_info.kind
        if kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL):
            several = " ..." if kind is inspect.Parameter.VAR_POSITIONAL else ""
            arguments.append((argument.names[0] + several, " ".join(text)))
        else:
            options.append(
                (f"{argument.names[0]} {_kind(argument.hint)}".rstrip(), " ".join(text))
            )
    return arguments, options


def _kind(hint: Any) -> str:
    """What an option takes, in a word; nothing for a switch."""
    inner = [part for part in get_args(hint) if part is not type(None)]
    if get_origin(hint) in (list, tuple):
        return f"{_kind(inner[0])} ..."
    if len(inner) == 1 and get_origin(hint) is not Literal:
        return _kind(inner[0])
    if inner:
        return "|".join(str(getattr(part, "__name__", part)) for part in inner)
    return "" if hint is bool else str(getattr(hint, "__name__", hint)).upper()


def print_fields(title: str, fields: Sequence[tuple[str, Field]]) -> None:
    """Settings with what they mean, what they may be, and their defaults."""
    lines = []
    for key, item in fields:
        kind = f"{item.type}; " if "|" in item.type else ""
        text = f"{item.doc} [{kind}default: {item.default}]"
        lines.append((f"--{key.replace('_', '-')}", text))
    print_lines(title, lines)


def print_lines(title: str, lines: Lines) -> None:
    """Names beside what they mean, wrapped to the terminal."""
    if not lines:
        return
    print(f"{title}:")
    indent = " " * (max(len(name) for name, _ in lines) + 4)
    for name, text in lines:
        print(_wrapped(text, f"  {name}".ljust(len(indent)), indent))
    print()


def _wrapped(text: str, begin: str = "", indent: str = "") -> str:
    width = max(len(indent) + 30, min(shutil.get_terminal_size().columns, 110))
    return textwrap.fill(text, width, initial_indent=begin, subsequent_indent=indent)
