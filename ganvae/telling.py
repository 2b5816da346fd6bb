"""Words of others in our sentences: without what a terminal obeys, without secrets, short."""

from __future__ import annotations

import math
import re
import reprlib
import shlex
import sys
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import PurePath

MOST = 500
"""Characters that a message about something foreign has at most."""

_UNKNOWN = "\N{REPLACEMENT CHARACTER}"

# -- characters -----------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Text without control characters, which a file name may hold and a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _UNKNOWN for c in text)


def line(text: str) -> str:
    """:func:`plain` text on one line, whatever line breaks a name has."""
    return plain(text).replace("\n", _UNKNOWN)


def quoted(text: str) -> str:
    """A word for a shell that a terminal can show, and that is the very same word when pasted.

    What cannot be shown is written ``$'\\x1b'``, as bash, zsh and ksh read it.
    """
    if text.isprintable() and _can_be_written(text):
        return shlex.quote(text)
    return f"$'{''.join(map(_escaped, text))}'"


def _can_be_written(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _escaped(c: str) -> str:
    if c in "\\'":
        return f"\\{c}"
    if c.isascii() and c.isprintable():
        return c
    return "".join(f"\\x{byte:02x}" for byte in _bytes(c))


def _bytes(c: str) -> bytes:
    """The bytes of a character of a file name; bytes that are no UTF-8 are lone surrogates."""
    if "\udc80" <= c <= "\udcff":
        return bytes([ord(c) - 0xDC00])
    return c.encode("utf-8", "surrogatepass")


# -- length ---------------------------------------------------------------------------------------

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 70


def name_of(path: str) -> str:
    """The last part of a path or an address, fit to be shown."""
    return line(PurePath(redacted(path)).name or path)


def short(text: str, most: int = MOST) -> str:
    """One line of at most ``most`` characters, the middle left out where there are more."""
    joined = " ".join(text.split())
    if len(joined) <= most:
        return joined
    half = (most - 3) // 2
    return f"{joined[:half]} … {joined[len(joined) - half :]}"


def shown(value: object) -> str:
    """A value for a message: short, on one line, in ASCII."""
    try:
        text = _SHORT.repr(value)
    except Exception:  # an integer of thousands of digits; whatever a foreign object does
        text = f"a huge {type(value).__name__}"
    text = text.encode("ascii", "backslashreplace").decode()
    return text if len(text) <= 80 else text[:77] + "..."


def some(names: Sequence[str], most: int = 5) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


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


def clock(seconds: float) -> str:
    """``0:42``, ``12:05`` or ``1:02:03``."""
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


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


# -- secrets --------------------------------------------------------------------------------------

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]{0,30}://"
_IN_TEXT, _ALONE = (
    re.compile(f"({_SCHEME})((?:(?!::{_SCHEME}){c})*)") for c in (r"[^\s'\"<>]", r"[\s\S]")
)
"""Addresses, in a chain (``zip://a::https://b``) each of its own: the scheme, and the rest."""
_SECRET = re.compile(
    r"sig|token|key|secret|cred|pass|pwd|auth|session|ticket|jwt|hmac|policy|expires"
    r"|^x-?(amz|goog|ms|oss|cos|obs)-",
    re.IGNORECASE,
)
"""What names of a query's parameters have that give access and name no resource."""
_OF_SIGNATURE = {
    "sv", "ss", "srt", "sp", "se", "st", "spr", "sr", "sip", "si", "sdd", "skoid", "sktid", "skt",
    "ske", "sks", "skv",
}  # fmt: skip
"""Parameters that are part of Azure's signature, where ``sig`` is there, too."""
_HARMLESS = re.compile(
    r"\d{0,9}|[A-Za-z]{1,16}|[\w./-]{1,200}\.(tar|tgz|tar\.gz|parquet|npz|npy)", re.IGNORECASE
)
HIDDEN = "…"
"""Stands in an address for a value that may be a secret."""


def redacted(text: str) -> str:
    """A text whose addresses have neither ``user:password@`` nor a query, where keys stand."""

    def bare(found: re.Match[str]) -> str:
        _, place, _ = _parts(found[2])
        return found[1] + place

    return _IN_TEXT.sub(bare, text)


def _parts(rest: str) -> tuple[str, str, str]:
    """What stands before the ``@`` of an address without its scheme, its place, and its query."""
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    user, at, _ = authority.rpartition("@")
    if not at and re.match(r"[^@:]*:(?!\d*$)", authority):  # a / or ? in it was left unescaped
        user, at, _ = rest.rpartition("@")
    place, _, query = rest[len(user) + len(at) :].partition("?")
    return user, place, query


class Address(str):
    """Where data are, as it may be shown and kept; :attr:`whole` is what is opened.

    As text it has no ``user:password@`` and no parameter of a query that gives access. Other
    parameters stay, because they say which resource is meant, but where a value is no number,
    word or name of a file, ``…`` stands for it.
    """

    whole: str
    """As it was given, with its secrets."""

    def __new__(cls, given: str) -> Address:
        """The same one where it is an address already."""
        if isinstance(given, Address):
            return given
        made = super().__new__(cls, _kept(given, lambda value: HIDDEN))
        made.whole = given
        return made

    @property
    def identity(self) -> str:
        """Equal if and only if two addresses are of one place, however they are signed."""
        return _kept(
            self.whole, lambda value: blake2b(value.encode("utf-8", "replace")).hexdigest()[:16]
        )

    @property
    def lacks(self) -> bool:
        """Whether it was read from a file that hides a part, which is needed to open it."""
        return "://" in self.whole and HIDDEN in self.whole.partition("?")[2]


def whole(path: str) -> str:
    """An address with its secrets, to open it; any other text as it is."""
    return path.whole if isinstance(path, Address) else path


def _kept(given: str, hide: Callable[[str], str]) -> str:
    """An address without its secrets; ``hide`` is what becomes of values that may be one."""

    def clean(found: re.Match[str]) -> str:
        user, place, query = _parts(found[2])
        names = user and ":" not in user and not found[1].lower().startswith("http")
        kept = "&".join(filter(None, (_parameter(one, query, hide) for one in query.split("&"))))
        return f"{found[1]}{user + '@' if names else ''}{place}{'?' if kept else ''}{kept}"

    return _ALONE.sub(clean, given)


def _parameter(one: str, query: str, hide: Callable[[str], str]) -> str:
    name, equals, value = one.partition("=")
    signed = name in _OF_SIGNATURE and "sig=" in query
    if signed or _SECRET.search(name):
        return ""
    if not equals:
        return name if _HARMLESS.fullmatch(name) else hide(name)
    return f"{name}={value if _HARMLESS.fullmatch(value) else hide(value)}"
