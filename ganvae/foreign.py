"""Reads files that others made: with a limit of bytes, and with one sentence for what is broken.

Archives, arrays, YAML and JSON from outside may claim any size and break any parser. Their readers
use a file that ends at its limit, and a context that turns every exception into one of our errors.
"""

from __future__ import annotations

import io
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ganvae.errors import ConfigError, DataError, GanvaeError
from ganvae.telling import plain, redacted, short, shown, some, words


@contextmanager
def gate(what: str, error: type[GanvaeError] = DataError, mend: str = "") -> Iterator[None]:
    """Turns every exception while reading ``what`` into ``error`` with one sentence.

    Errors of ours and interrupts pass unchanged.
    """
    try:
        yield
    except GanvaeError:
        raise
    except MemoryError:
        raise error(_said(what, "there is not enough memory for it", mend)) from None
    except RecursionError:
        raise error(_said(what, "it is nested too deeply", mend)) from None
    except OSError as cause:
        raise error(_said(what, cause.strerror or words(cause), mend)) from None
    except Exception as cause:
        raise error(_said(what, words(cause), mend)) from None


def _said(what: str, why: str, mend: str) -> str:
    return short(f"cannot read {plain(redacted(what))}: {why}{'; ' if mend else ''}{mend}")


class Limited(io.RawIOBase):
    """A stream that raises an error once more than ``limit`` bytes were read from it.

    file: anything with ``read``, for example a compressed file of unknown contents
    what: named in the sentence
    """

    def __init__(
        self, file: IO[bytes] | Any, limit: int, what: str, error: type[GanvaeError] = DataError
    ):
        self._file, self._remaining, self._limit = file, limit, limit
        self._what, self._error = what, error

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """Up to ``size`` bytes, or all. Raises ``error`` past the limit."""
        room = self._remaining + 1  # one byte more shows that the limit is exceeded
        data: bytes = self._file.read(room if size is None or size < 0 else min(size, room))
        self._remaining -= len(data)
        if self._remaining < 0:
            raise self._error(too_large(self._what, self._limit))
        return data

    def readinto(self, buffer: Any) -> int:
        """For buffered readers."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def renew(self, limit: int) -> None:
        """Begins to count anew, with another limit."""
        self._remaining = self._limit = limit

    def seekable(self) -> bool:
        """Whether the file is."""
        return bool(self._file.seekable())

    def tell(self) -> int:
        """Where the file is."""
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = 0) -> int:
        """Moves to another place, which does not count as reading."""
        return int(self._file.seek(offset, whence))


def too_large(what: str, limit: int) -> str:
    """The sentence for a file that exceeds its limit."""
    return f"{short(plain(redacted(what)), 300)} has more than the {limit:,} bytes it may have"


def regular(path: Path, what: str, error: type[GanvaeError] = DataError) -> IO[bytes]:
    """Opens a regular file for reading; refuses pipes and devices without waiting for them."""
    with gate(what, error):
        handle = os.open(
            path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        )
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise error(f"{plain(what)} is not a regular file")
    return os.fdopen(handle, "rb")


def read(path: Path, limit: int, what: str = "", error: type[GanvaeError] = DataError) -> bytes:
    """The contents of a regular file of at most ``limit`` bytes. Raises ``error``."""
    what = what or str(path)
    with regular(path, what, error) as file, gate(what, error):
        return Limited(file, limit, what, error).read()


def read_json(content: bytes, where: str, error: type[GanvaeError] = DataError) -> dict[str, Any]:
    """A JSON object without duplicate keys, NaN or infinity; ``error`` is raised otherwise.

    where: what it is, named in the sentence
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) != len(pairs):
            counts = Counter(key for key, _ in pairs)
            twice = [shown(key) for key, count in counts.items() if count > 1]
            raise ValueError(f"duplicate keys {some(twice)}")
        return mapping

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a number in JSON")

    try:
        document = json.loads(content.decode(), object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as cause:
        nested = isinstance(cause, RecursionError)
        reason = "it is nested too deeply" if nested else words(cause)
        raise error(short(f"{plain(where)} is not valid JSON: {reason}")) from None
    if not isinstance(document, dict):
        raise error(f"{plain(where)} must be a JSON object, got {shown(document)}")
    return document


def from_environment(variable: str, otherwise: int) -> int:
    """A whole number from an environment variable; unset: ``otherwise``, which is the least, too.

    Raises ConfigError for anything else.
    """
    text = os.environ.get(variable) or str(otherwise)
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < otherwise:
        raise ConfigError(
            f"{variable} in the environment must be a whole number from {otherwise}, got "
            f"{shown(text)}"
        )
    return int(text)
