"""One run per directory: row T24 of the fault list."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from ganvae.errors import BusyError, CheckpointError
from ganvae.training.lock import RunLock


def hold(folder: Path) -> int:
    """A process of its own that holds the lock until it is killed."""
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with RunLock(folder):
                os.write(told, b"1")
                time.sleep(60)
        finally:
            os._exit(1)
    assert os.read(ready, 1) == b"1"
    os.close(ready)
    os.close(told)
    return child


def test_a_second_run_is_refused_and_a_kill_leaves_nothing_stale(tmp_path):
    first = hold(tmp_path)
    try:
        started = time.monotonic()
        with pytest.raises(BusyError) as caught, RunLock(tmp_path):
            pass
        assert time.monotonic() - started < 1
        assert f"process {first} on {socket.gethostname()}" in str(caught.value)
        assert str(tmp_path) in str(caught.value) and caught.value.exit_code == 75
    finally:
        os.kill(first, signal.SIGKILL)
        os.waitpid(first, 0)
    with RunLock(tmp_path):
        pass


def test_the_lock_ends_with_the_block(tmp_path):
    for _ in range(2):
        busy = pytest.raises(BusyError, match=f"process {os.getpid()} ")
        with RunLock(tmp_path / "new"), busy:
            RunLock(tmp_path / "new").__enter__()
    assert (tmp_path / "new" / ".lock").read_text() == ""


def test_the_lock_ends_with_an_error(tmp_path):
    with pytest.raises(KeyError), RunLock(tmp_path):
        raise KeyError
    with RunLock(tmp_path):
        pass


def test_other_directories_are_free(tmp_path):
    with RunLock(tmp_path / "a"), RunLock(tmp_path / "b"):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', "\x00\xff"])
def test_whatever_the_file_holds_the_refusal_is_a_sentence(tmp_path, text):
    with RunLock(tmp_path):
        (tmp_path / ".lock").write_text(text)
        with pytest.raises(BusyError, match="another process"):
            RunLock(tmp_path).__enter__()


def test_a_path_that_is_no_directory_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="file"):
        RunLock(tmp_path / "file").__enter__()
