"""Help in plain text.

Not by ``cyclopts``, whose tables of ``rich`` take longer to import than everything else.
"""

from __future__ import annotations

import inspect
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from ganvae import outline
from ganvae.cli.overrides import OF_COMMANDS, fields_of, objective_named
from ganvae.cli.printing import tell
from ganvae.errors import ConfigError
from ganvae.outline import Field, flat

if TYPE_CHECKING:
    from cyclopts import App, Argument

HOME = "ganvae.cli.commands"
"""The command NAME is the function NAME of the module NAME in here."""
Lines = Sequence[tuple[str, str]]


def wants_help(tokens: list[str]) -> bool:
    """Whether there is --help or -h before a "--"."""
    before = tokens[: tokens.index("--")] if "--" in tokens else tokens
    return "--help" in before or "-h" in before


def print_help(app: App, tokens: list[str]) -> None:
    """The help of the command that ``tokens`` name, or of all."""
    commands = [name for name in app if not name.startswith("-")]
    command = next((token for token in tokens if not token.startswith("-")), None)
    if command is None:
        return _print_overview(app, commands)
    if command not in commands:
        from ganvae.config import suggest

        raise ConfigError(f"there is no command {command!r}{suggest(command, commands)}")
    arguments, options = _parameters(app[command])
    usage = " ".join([app.name[0], command, *(_placed(*line) for line in arguments)])
    about = inspect.getdoc(app[command].default_command) or ""
    tell(f"Usage: {usage} [OPTIONS]", "", *about.split("\n"), "")
    print_lines("arguments", arguments)
    print_lines("options", options)
    for section in OF_COMMANDS.get(command, ()):
        title = section
        if section == "objective":
            title = f"objective {objective_named(tokens)} (--objective NAME --help for others)"
        print_fields(title, flat(section, fields_of(section, tokens)))
    tell(*_wrapped(str(app.help_epilogue)))


def _placed(name: str, text: str) -> str:
    return name if "[required]" in text else f"[{name}]"


def _print_overview(app: App, commands: Iterable[str]) -> None:
    tell(f"Usage: {app.name[0]} COMMAND [OPTIONS]", "", str(app.help), "")
    print_lines("commands", [(name, outline.summary(f"{HOME}.{name}", name)) for name in commands])
    flags = [("--help, -h", "Of a command: all its options."), ("--version", "Print the version.")]
    print_lines("options", flags)
    tell(*_wrapped(str(app.help_epilogue)))


def _parameters(command: App) -> tuple[Lines, Lines]:
    """Arguments and options with what they mean."""
    arguments, options = [], []
    collection = command.assemble_argument_collection()
    described = dict(_described(collection))
    for argument in collection:
        if not argument.show or not argument.parse:
            continue
        text = _meaning(argument, described)
        kind = argument.field_info.kind
        if kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL):
            several = " ..." if kind is inspect.Parameter.VAR_POSITIONAL else ""
            arguments.append((argument.names[0] + several, text))
        else:
            options.append((f"{argument.names[0]} {_kind(argument.hint)}".rstrip(), text))
    return arguments, options


def _described(collection: Iterable[Argument]) -> Iterator[tuple[str, str]]:
    """The docstring of each option, by name, from the groups among the arguments."""
    groups = (argument.hint for argument in collection if is_dataclass(argument.hint))
    for group in groups:
        assert isinstance(group, type)
        for field in outline.read(group.__module__, group.__name__).fields:
            yield field.name, field.doc


def _meaning(argument: Argument, described: Mapping[str, str]) -> str:
    """An argument's help, environment variable and default."""
    text = [argument.parameter.help or described.get(argument.field_info.name, "")]
    if argument.parameter.env_var:
        text.append(f"[environment: {', '.join(argument.parameter.env_var)}]")
    default = argument.field_info.default
    if argument.required:
        text.append("[required]")
    elif default is not None and default is not False and default is not inspect.Parameter.empty:
        text.append(f"[default: {default}]")
    return " ".join(text)


def _kind(hint: Any) -> str:
    """The type of an option's value in a word; empty for a switch."""
    inner = [part for part in get_args(hint) if part is not type(None)]
    if get_origin(hint) in (list, tuple):
        return f"{_kind(inner[0])} ..."
    if len(inner) == 1 and get_origin(hint) is not Literal:
        return _kind(inner[0])
    if bool in inner:  # a switch that also takes a value
        return f"[{_kind(inner[0])}]"
    if inner:
        return "|".join(str(getattr(part, "__name__", part)) for part in inner)
    return "" if hint is bool else str(getattr(hint, "__name__", hint)).upper()


def print_fields(title: str, fields: Sequence[tuple[str, Field]]) -> None:
    """Prints settings with their help, choices and defaults."""
    lines = []
    for key, item in fields:
        kind = f"{item.type}; " if "|" in item.type else ""
        text = f"{item.doc} [{kind}default: {item.default}]"
        lines.append((f"--{key.replace('_', '-')}", text))
    print_lines(title, lines)


def print_lines(title: str, lines: Lines) -> None:
    """Prints names beside their help, wrapped to the terminal's width."""
    if not lines:
        return
    tell(f"{title}:")
    indent = " " * (max(len(name) for name, _ in lines) + 4)
    for name, text in lines:
        tell(*_wrapped(text, f"  {name}".ljust(len(indent)), indent))
    tell("")


def _wrapped(text: str, begin: str = "", indent: str = "") -> list[str]:
    width = max(len(indent) + 30, min(shutil.get_terminal_size().columns, 110))
    return textwrap.wrap(text, width, initial_indent=begin, subsequent_indent=indent)
