"""Words of others are fit to be shown: nothing a terminal obeys, no secret, no novel."""

import pytest

from ganvae.telling import plain, redacted, short, words


def test_control_characters_never_pass() -> None:
    hostile = "a\x1b]0;t\x07\u202eb\x9b1m\udce9\rc"
    shown = plain(hostile)
    assert all(c.isprintable() for c in shown) and [c for c in shown if c.isascii()] == list(
        "a]0;tb1mc"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://u:p@h.org/a/s.tar?X-Sig=S", "https://h.org/a/s.tar"),
        (
            "see s3://KEY:SECRET@b/x-{0..9}.tar, or 'http://h/?t=S'!",
            "see s3://b/x-{0..9}.tar, or 'http://h/'!",
        ),
        ("https://p%40ss:w@h:80/x", "https://h:80/x"),
        ("C:/x?y and a@b.c", "C:/x?y and a@b.c"),
    ],
)
def test_addresses_lose_their_secrets(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_long_texts_keep_both_ends_on_one_line() -> None:
    text = short("begin " + "x\n" * 900 + " end", 100)
    assert (
        len(text) <= 100 and text.startswith("begin") and text.endswith("end") and "\n" not in text
    )
    assert words(ValueError()) == "ValueError" and words(KeyError("x")) == "'x'"
