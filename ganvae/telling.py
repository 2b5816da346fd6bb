"""Makes text safe to show: without control characters, without secrets in addresses, short.

Also numbers and times as people read them.
"""

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
"""Most characters of a message about a file that others made."""

_UNKNOWN = "\N{REPLACEMENT CHARACTER}"

# -- characters -----------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Text without the control characters that a file name may hold."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _UNKNOWN for c in text)


def line(text: str) -> str:
    """:func:`plain` text without line breaks."""
    return plain(text).replace("\n", _UNKNOWN)


def quoted(text: str) -> str:
    """Text quoted for a shell, in printable characters.

    Others are written ``$'\\x1b'``, as bash, zsh and ksh read them.
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
    """The last part of a path or an address, safe to show."""
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
    """An exception's message, safe to show: plain, redacted, on one short line."""
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
    """A value rounded to its standard error, and the error.

    The error has two digits where the first of them is 1 or 2, else one: 5.0 ± 2.1, 162 ± 12.
    """
    if not error or not math.isfinite(error) or error < 1e-6:
        return number(value) + ("" if error is None else f" ± {number(error, 1)}")
    places = (1 if error < 2.95 * 10.0 ** _size(error) else 0) - _size(error)
    decimals = max(0, places)
    rounded = round(value, places) + 0.0  # no -0.0
    return f"{rounded:,.{decimals}f} ± {round(error, places):,.{decimals}f}"


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
"""Match an address within a text, or a whole one: its scheme, and the rest. Of a chain
(``zip://a::https://b``) each address matches on its own."""
_SECRET = re.compile(
    r"sig|token|key|secret|cred|pass|pwd|auth|session|ticket|jwt|hmac|policy|expires"
    r"|^x-?(amz|goog|ms|oss|cos|obs)-",
    re.IGNORECASE,
)
"""Matches names of query parameters that hold secrets."""
_OF_SIGNATURE = {
    "sv", "ss", "srt", "sp", "se", "st", "spr", "sr", "sip", "si", "sdd", "skoid", "sktid", "skt",
    "ske", "sks", "skv",
}  # fmt: skip
"""Parameters of Azure's signatures, which also have ``sig``."""
_HARMLESS = re.compile(
    r"\d{0,9}|[A-Za-z]{1,16}|[\w./-]{1,200}\.(tar|tgz|tar\.gz|parquet|npz|npy)", re.IGNORECASE
)
HIDDEN = "…"
"""Replaces a value in an address that may be a secret."""


def redacted(text: str) -> str:
    """A text without ``user:password@`` and without queries in its addresses."""

    def bare(match: re.Match[str]) -> str:
        _, place, _ = _parts(match[2])
        return match[1] + place

    return _IN_TEXT.sub(bare, text)


def _parts(rest: str) -> tuple[str, str, str]:
    """User, place and query of an address without its scheme."""
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    user, at, _ = authority.rpartition("@")
    if not at and re.match(r"[^@:]*:(?!\d*$)", authority):  # a / or ? in it was left unescaped
        user, at, _ = rest.rpartition("@")
    place, _, query = rest[len(user) + len(at) :].partition("?")
    return user, place, query


class Address(str):
    """An address of data that is safe to show and to save; :attr:`whole` is what is opened.

    As text it has no ``user:password@`` and no query parameters that hold secrets. Other
    parameters stay, because they say which resource is meant, but ``…`` replaces values that are
    no number, word or file name.
    """

    whole: str
    """The original text, with its secrets."""

    def __new__(cls, address: str) -> Address:
        """An Address stays as it is."""
        if isinstance(address, Address):
            return address
        instance = super().__new__(cls, _without_secrets(address, lambda value: HIDDEN))
        instance.whole = address
        return instance

    @property
    def identity(self) -> str:
        """Equal for two addresses of the same resource, whatever their secrets are."""
        return _without_secrets(
            self.whole, lambda value: blake2b(value.encode("utf-8", "replace")).hexdigest()[:16]
        )

    @property
    def lacks(self) -> bool:
        """Whether a part that is needed to open it was hidden when it was saved."""
        return "://" in self.whole and HIDDEN in self.whole.partition("?")[2]


def whole(path: str) -> str:
    """An address with its secrets, to open it; any other text as it is."""
    return path.whole if isinstance(path, Address) else path


def _without_secrets(address: str, hide: Callable[[str], str]) -> str:
    """An address without its secrets; hide: replaces values that may be secret."""

    def clean(match: re.Match[str]) -> str:
        user, place, query = _parts(match[2])
        names = user and ":" not in user and not match[1].lower().startswith("http")
        safe = "&".join(filter(None, (_parameter(one, query, hide) for one in query.split("&"))))
        return f"{match[1]}{user + '@' if names else ''}{place}{'?' if safe else ''}{safe}"

    return _ALONE.sub(clean, address)


def _parameter(one: str, query: str, hide: Callable[[str], str]) -> str:
    name, equals, value = one.partition("=")
    signed = name in _OF_SIGNATURE and "sig=" in query
    if signed or _SECRET.search(name):
        return ""
    if not equals:
        return name if _HARMLESS.fullmatch(name) else hide(name)
    return f"{name}={value if _HARMLESS.fullmatch(value) else hide(value)}"
