"""The command line; torch is imported only when a command needs it, so that help is quick.

``ganvae NAME`` is the function NAME of ``commands/NAME.py``. Here is what all commands share: the
entry point, and the exit codes for errors, signals and closed pipes.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, TextIO

from cyclopts import App, CycloptsError, MissingArgumentError, UnusedCliTokensError

from ganvae.cli.help import HOME, print_help, wants_help
from ganvae.cli.overrides import split
from ganvae.cli.printing import adapt, tell
from ganvae.errors import ConfigError, GanvaeError
from ganvae.telling import redacted, short
from ganvae.training.signals import at_the_latest
from ganvae.version import VERSION

_ORDER = (
    "train", "evaluate", "compare", "generate", "reconstruct", "interpolate", "encode",
    "direction", "edit", "complete", "translate", "export", "bulk", "check", "objectives",
)  # fmt: skip
_FILES = {path.stem for path in Path(__file__).parent.glob("commands/[!_]*.py")}
COMMANDS = (*(name for name in _ORDER if name in _FILES), *sorted(_FILES.difference(_ORDER)))
"""The files of ``commands/`` as help lists them; each is imported when it is asked for."""
MOST = 2_000
"""Most characters of an error, which may list the settings that differ."""
USAGE = 78
INTERRUPTED, TERMINATED = 130, 143

app = App(
    name="ganvae",
    version=VERSION,
    help="Train, judge and use hybrids of a VAE and a GAN on your own images.",
    help_format="plaintext",
    help_epilogue=(
        "Exit codes: 0 done, 1 failed, 65 data, 75 busy (try later), 78 configuration, "
        "130 interrupted, 143 terminated. --debug shows the trace of an error."
    ),
)
for _name in COMMANDS:
    app.command(f"{HOME}.{_name}:{_name}", name=_name)


class Terminated(BaseException):
    """Raised by SIGTERM where no training handles it."""


def main() -> NoReturn:
    """The entry point."""
    # read when torch is loaded: on a busy machine, threads that spin while they wait keep cores
    # from the threads that they wait for, and a step takes twenty times as long
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    code = run(sys.argv[1:])
    if code in (INTERRUPTED, TERMINATED):  # some libraries make Python end with another code
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(code)
    # everything is written: a signal during Python's shutdown must not change the exit code
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(code))
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Runs a command line and returns its exit code; prints errors as one sentence."""
    debug = "--debug" in arguments
    for stream in (sys.stdout, sys.stderr):
        adapt(stream)
    if not debug:
        warnings.showwarning = _note
    signal.signal(signal.SIGTERM, _terminate)
    try:
        with at_the_latest():
            return _dispatch([token for token in arguments if token != "--debug"])
    except KeyboardInterrupt as error:
        return _fail(str(error) or "interrupted", INTERRUPTED, debug)
    except Terminated as error:
        return _fail(str(error) or "terminated", TERMINATED, debug)
    except BrokenPipeError:  # `ganvae objectives | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except GanvaeError as error:
        return _fail(str(error), error.exit_code, debug)
    except UnusedCliTokensError as error:
        many = " ".join(error.unused_tokens or ())
        hint = "--help lists what it takes"
        if many.lower() in ("true", "false", "yes", "no", "on", "off", "0", "1"):
            hint = "a switch takes no value: --training.bf16 is on and --training.no-bf16 off"
        return _fail(f"{many!r} is more than this command takes ({hint})", USAGE, debug)
    except MissingArgumentError as error:
        hint = "--help lists what there is; an option of several values takes all that follow it"
        return _fail(f"{str(error).strip()} ({hint})", USAGE, debug)
    except CycloptsError as error:
        return _fail(f"{str(error).strip()} (--help lists what there is)", USAGE, debug)
    except OSError as error:
        about = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return _fail(about, 1, debug)
    except ValueError as error:
        return _fail(str(error), 1, debug)
    except Exception as error:
        text = f"{type(error).__name__}: {error} (this is a fault of ganvae; --debug shows more)"
        return _fail(text, 1, debug)


def _dispatch(tokens: list[str]) -> int:
    if "" in tokens or any(token.endswith("=") for token in tokens if token.startswith("--")):
        raise ConfigError("an argument is empty: a variable that is not set, perhaps?")
    rest, overrides = split(tokens)
    if wants_help(rest) or not rest:
        print_help(app, rest)
        return 0
    command, bound, ignored = app.parse_args(rest, print_error=False, exit_on_error=False)
    if overrides and "overrides" not in ignored:
        name = next(iter(overrides))
        raise ConfigError(f"--{name} is no option of this command (--help lists what there is)")
    if "overrides" in ignored:
        bound.arguments["overrides"] = overrides
    result = command(*bound.args, **bound.kwargs)
    return result if isinstance(result, int) else 0


def _fail(text: str, code: int, debug: bool) -> int:
    rank = os.environ.get("RANK", "0")
    name = "ganvae" if rank == "0" else f"ganvae (process {rank})"
    trace = traceback.format_exc() if debug else ""
    with suppress(OSError, ValueError):  # where nobody listens
        tell(
            *redacted(trace).splitlines(), f"{name}: {short(redacted(text), MOST)}", to=sys.stderr
        )
    return code


def _note(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Prints this package's warnings; those of other packages need --debug."""
    if Path(filename).is_relative_to(Path(__file__).parents[1]):
        tell(f"ganvae: note: {short(redacted(str(message)), MOST)}", to=sys.stderr)


def _terminate(number: int, frame: object) -> NoReturn:
    raise Terminated
