"""Words of others in our sentences: without what a terminal obeys, without secrets, short."""

from __future__ import annotations

import math
import re
from pathlib import PurePath

MOST = 500
"""Characters that a message about something foreign has at most."""

_ADDRESS = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*://)([^\s/?#'\"<>]*@)?([^\s?#'\"<>]*)(\?[^\s'\"<>]*)?"
)


def plain(text: str) -> str:
    """Text without control characters, which a file name may hold and a terminal would obey."""
    return "".join(
        c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def redacted(text: str) -> str:
    """A text whose addresses have neither ``user:password@`` nor a query, where keys stand."""
    return _ADDRESS.sub(r"\1\3", text)


def name_of(path: str) -> str:
    """The last part of a path or an address, fit to be shown."""
    return plain(PurePath(redacted(path)).name or path)


def short(text: str, most: int = MOST) -> str:
    """One line of at most ``most`` characters, the middle left out where there are more."""
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    half = (most - 3) // 2
    return f"{line[:half]} … {line[len(line) - half :]}"


def words(error: BaseException, most: int = 160) -> str:
    """What an exception says, fit to be shown: plain, redacted, on one short line."""
    text = f"{error}" or type(error).__name__
    return short(plain(redacted(text)), most)


def number(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, thousands apart, and without an exponent.

    Digits before the point are all given; numbers below a millionth keep their exponent.
    """
    if not math.isfinite(value) or 0 < abs(value) < 1e-6:
        return f"{value:.{digits}g}"
    places = digits - 1 - _size(value) if value else 0
    text = f"{value:,.{max(0, places)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def measured(value: float, error: float | None = None) -> str:
    """A value with as many digits as its standard error leaves it, and the error.

    The error has two digits where the first of them is 1 or 2, else one: 5.0 ± 2.1, 162 ± 12.
    """
    if not error or not math.isfinite(error) or error < 1e-6:
        return number(value) + ("" if error is None else f" ± {number(error, 1)}")
    places = (1 if error < 2.95 * 10.0 ** _size(error) else 0) - _size(error)
    shown = max(0, places)
    rounded = round(value, places) + 0.0  # no -0.0
    return f"{rounded:,.{shown}f} ± {round(error, places):,.{shown}f}"


def duration(seconds: float) -> str:
    """A time in the unit that suits it: "0.4 s", "42 s", "2.5 min", "30 h"."""
    value, unit = seconds, "s"
    if seconds >= 120:
        value, unit = (seconds / 60, "min") if seconds < 7200 else (seconds / 3600, "h")
    if value < 1:
        return f"{number(value, 2)} {unit}"
    return f"{value:,.{1 if value < 10 else 0}f} {unit}"


def _size(value: float) -> int:
    """The power of ten of the first digit."""
    return math.floor(math.log10(abs(value)))
