"""Words of others are fit to be shown: nothing a terminal obeys, no secret, no novel."""

import pytest

from ganvae import telling
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


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (162.3, 12.1, "162 ± 12"),
        (160.0, 3.4e2, "200 ± 300"),
        (-1623.4, 46.0, "-1,620 ± 50"),
        (5.03, 2.1, "5.0 ± 2.1"),
        (2.5, 0.04, "2.50 ± 0.04"),
        (0.00012345, 0.000045, "0.00012 ± 0.00005"),
        (0.9996, 0.0296, "1.00 ± 0.03"),
        (7.0, 0.95, "7.0 ± 0.9"),
        (1.0, 0.0, "1 ± 0"),
        (-0.004, 0.4, "0.0 ± 0.4"),
        (0.8234, None, "0.823"),
        (16234.5, None, "16,234"),
        (0.0, None, "0"),
        (3e-9, None, "3e-09"),
        (float("nan"), None, "nan"),
    ],
)
def test_a_value_has_the_digits_that_its_error_leaves(
    value: float, error: float | None, text: str
) -> None:
    assert telling.measured(value, error) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.043, "0.043 s"), (3.14, "3.1 s"), (42.4, "42 s"), (119, "119 s"), (150, "2.5 min"),
     (1234, "21 min"), (7199, "120 min"), (9000, "2.5 h"), (100_000, "28 h")],
)  # fmt: skip
def test_a_time_is_in_the_unit_that_suits_it(seconds: float, text: str) -> None:
    assert telling.duration(seconds) == text


def test_a_path_is_called_by_its_end() -> None:
    assert telling.name_of("/photos/cats/") == "cats"
    assert telling.name_of("s3://key:secret@bucket/set.tar?X-Signature=abc") == "set.tar"
    assert "\x1b" not in telling.name_of("a/\x1b[31mred")
