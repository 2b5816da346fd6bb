"""SIGTERM and SIGINT only ask; a second SIGINT ends the process: row T5 of the fault list."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from ganvae.training.signals import Signals, Stopped

# the main thread is inside one long call that lets no Python handler run
PROGRAM = """
import hashlib, sys
from ganvae.training.signals import Signals
with Signals() as signals:
    print("ready", flush=True)
    while signals.stop is None or "busy" in sys.argv:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 20_000_000 if "busy" in sys.argv else 20_000)
print(signals.stop, flush=True)
"""


LATEST = """
import hashlib, signal, sys
from ganvae.training.signals import at_the_latest
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: None)
with at_the_latest(float(sys.argv[2])):
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 50_000_000)
"""


@pytest.fixture
def start():
    running = []

    def begin(*args: str, **env: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", LATEST if "latest" in args else PROGRAM, *args],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | env,
        )
        running.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield begin
    for process in running:
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_one_signal_sets_the_flag(start, name):
    process = start()
    process.send_signal(signal.Signals[name])
    assert process.stdout.readline() == f"{name}\n"
    assert process.wait(10) == 0


def test_a_second_sigint_ends_even_a_busy_process(start):
    process = start("busy")
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(2) == 130


def test_sigterm_may_come_as_often_as_it_likes(start):
    process = start("busy")
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
    assert process.poll() is None


def test_under_torchrun_one_ctrl_c_may_arrive_twice(start):
    process = start("busy", TORCHELASTIC_RUN_ID="x")
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    time.sleep(1.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(2) == 130


def test_the_handlers_before_come_back():
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    threads = threading.active_count()
    for _ in range(3):
        with Signals() as signals:
            assert signal.getsignal(signal.SIGINT) != before[0]
            signal.raise_signal(signal.SIGTERM)
            assert signals.stop == "SIGTERM"
            signal.raise_signal(signal.SIGINT)
            assert signals.stop == "SIGTERM"  # the first counts
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
    assert threading.active_count() == threads
    assert signal.set_wakeup_fd(-1) == -1


def test_outside_the_main_thread_nothing_changes():
    stops = []

    def run() -> None:
        with Signals() as signals:
            stops.append(signals.stop)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert stops == [None]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_ends_although_one_long_call_hears_nothing(start, number, code):
    process = start("latest", "0.5")
    process.send_signal(number)
    began = time.monotonic()
    assert process.wait(10) == code
    assert time.monotonic() - began < 5


def test_a_second_sigint_ends_a_command_at_once(start):
    process = start("latest", "60")
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == 130


def test_interruptible_work_is_left_at_once_and_only_there():
    with Signals() as signals:
        with signals.interruptible():
            pass
        with pytest.raises(Stopped, match="SIGTERM"), signals.interruptible():
            signal.raise_signal(signal.SIGTERM)
            pytest.fail("the signal was not heard")
        assert signals.stop == "SIGTERM"
        signal.raise_signal(signal.SIGTERM)  # only noted here
        with pytest.raises(Stopped), signals.interruptible():
            pytest.fail("begun although a stop was asked for")


def test_an_interruption_that_something_swallowed_is_raised_at_the_end():
    swallowed = contextlib.suppress(Stopped)  # as a callback from C does
    with Signals() as signals, pytest.raises(Stopped), signals.interruptible(), swallowed:
        signal.raise_signal(signal.SIGINT)
