"""One run per directory: row T24 of the fault list."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from ganvae.errors import BusyError, CheckpointError, ConfigError
from ganvae.training.lock import RunLock, refuse_busy


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


def test_a_lock_is_not_opened_through_a_link(tmp_path):  # S2
    notes, run = tmp_path / "notes.txt", tmp_path / "run"
    notes.write_text("mine")
    run.mkdir()
    (run / ".lock").symlink_to(notes)
    with pytest.raises(CheckpointError, match="is a link"), RunLock(run):
        pass
    refuse_busy(run)
    assert notes.read_text() == "mine" and (run / ".lock").is_symlink()


@pytest.mark.parametrize("content", ["another tool's", '{"pid": 1}', "[1]", "7"])
def test_a_lock_that_is_not_ours_stays_as_it_is(tmp_path, content):
    (tmp_path / ".lock").write_text(content)
    with pytest.raises(ConfigError, match="left alone: move it"), RunLock(tmp_path):
        pass
    refuse_busy(tmp_path)
    assert (tmp_path / ".lock").read_text() == content


def test_a_fifo_of_that_name_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / ".lock")
    refuse_busy(tmp_path)
    with pytest.raises(ConfigError, match="no lock of ganvae"), RunLock(tmp_path):
        pass


def test_who_asks_whether_a_run_is_busy_writes_nothing(tmp_path):
    refuse_busy(tmp_path)
    assert not list(tmp_path.iterdir())
    first = hold(tmp_path)
    try:
        before = (tmp_path / ".lock").read_bytes()
        with pytest.raises(BusyError, match=f"process {first} on"):
            refuse_busy(tmp_path)
        assert (tmp_path / ".lock").read_bytes() == before
    finally:
        os.kill(first, signal.SIGKILL)
        os.waitpid(first, 0)
