"""Words of others in our sentences: without what a terminal obeys, without secrets, short."""

from __future__ import annotations

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
