"""What others made is read up to a limit, and every failure is one of our sentences."""

import gzip
import io
import os
from pathlib import Path

import pytest

from ganvae.errors import ConfigError, DataError
from ganvae.foreign import Limited, gate, read


@pytest.mark.parametrize(
    "cause",
    [
        MemoryError(),
        RecursionError(),
        OSError(5, "Input/output error"),
        KeyError("x"),
        ValueError(),
    ],
)
def test_whatever_breaks_is_one_short_sentence(cause: Exception) -> None:
    with (
        pytest.raises(ConfigError) as caught,
        gate("a\x1b[2Jb?key=S", ConfigError, "write it again"),
    ):
        raise cause
    text = str(caught.value)
    assert text.startswith("cannot read a") and text.endswith("write it again")
    assert "\x1b" not in text and "\n" not in text


def test_our_own_errors_and_interrupts_pass() -> None:
    for ours in (DataError("mine"), KeyboardInterrupt()):
        with pytest.raises(type(ours)) as caught, gate("x"):
            raise ours
        assert caught.value is ours


def test_a_long_message_is_cut() -> None:
    with pytest.raises(DataError) as caught, gate("x" * 9000):
        raise ValueError("y" * 9000)
    assert len(str(caught.value)) <= 500


def test_a_compressed_stream_ends_where_its_budget_does() -> None:
    packed = gzip.compress(bytes(1 << 24))
    stream = Limited(gzip.GzipFile(fileobj=io.BytesIO(packed)), 1000, "s.gz")
    assert stream.read(600) == bytes(600) and stream.read(400) == bytes(400)
    with pytest.raises(DataError, match="more than the 1,000 bytes"):
        stream.read(1)
    with pytest.raises(DataError, match="more than the 1,000 bytes"):
        io.BufferedReader(Limited(gzip.GzipFile(fileobj=io.BytesIO(packed)), 1000, "s.gz")).read()
    exact = Limited(io.BytesIO(bytes(1000)), 1000, "s")
    assert exact.read() == bytes(1000) and exact.read() == b""


def test_only_regular_files_of_their_size_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="not a regular file"):
        read(tmp_path / "pipe", 10)
    with pytest.raises(DataError, match="No such file"):
        read(tmp_path / "none", 10)
    (tmp_path / "some").write_bytes(b"0123456789")
    assert read(tmp_path / "some", 10) == b"0123456789"
    with pytest.raises(DataError, match="more than the 9 bytes"):
        read(tmp_path / "some", 9)
