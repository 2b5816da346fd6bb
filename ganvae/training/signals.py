"""SIGTERM and SIGINT let the training save and stop; a second SIGINT ends it at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

_LAUNCHED = "TORCHELASTIC_RUN_ID"
_END = b"\0"  # no signal has this number
PATIENCE = 2.0
"""Seconds after a signal at which a command ends, whatever it is doing."""


class Stopped(BaseException):
    """Raised by a signal during work that may be interrupted anywhere.

    name: ``"SIGINT"`` or ``"SIGTERM"``
    """

    def __init__(self, name: str):
        super().__init__(name)
        self.name = name


class Signals:
    """While the ``with`` block lasts, SIGTERM and SIGINT only set :attr:`stop`.

    Within :meth:`interruptible` they also raise, so that long work between two steps is cut short.

    A second SIGINT ends the process at once with code 130, even in the middle of a long tensor
    operation: a thread of its own reads the signals as the operating system delivers them. Under
    torchrun one Ctrl-C reaches a process twice, from the terminal and from the launcher, so there
    a second SIGINT counts only after ``grace`` seconds.

    Outside the main thread, where Python allows no handlers, nothing is changed.

    grace: seconds; unset: 1 under torchrun, else 0
    """

    def __init__(self, grace: float | None = None):
        self.stop: str | None = None
        """``"SIGINT"`` or ``"SIGTERM"`` once one has come (the first that came)."""
        self._grace = grace if grace is not None else float(_LAUNCHED in os.environ)
        self._before: dict[signal.Signals, Any] = {}
        self._raises = False
        self._first: float | None = None

    def __enter__(self) -> Signals:
        if threading.current_thread() is not threading.main_thread():
            return self
        self._listener = Listener(self._hear)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._before:
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
        self._listener.close()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Work that may be left anywhere: here a signal raises :class:`Stopped` at once.

        So does one that has come before.
        """
        try:
            self._raises = True
            if self.stop is None:
                yield
        finally:
            self._raises = False
        if self.stop is not None:  # also where a callback of some library has swallowed it
            raise Stopped(self.stop)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.stop = self.stop or signal.Signals(number).name
        if self._raises:
            self._raises = False
            raise Stopped(self.stop)

    def _hear(self, number: int) -> None:
        if number != signal.SIGINT:
            return
        if self._first is not None and time.monotonic() - self._first >= self._grace:
            os._exit(130)
        self._first = time.monotonic() if self._first is None else self._first


class Listener:
    """Calls ``hear`` with each signal as the system delivers it, on a thread of its own.

    Python's handlers wait for the main thread to be between two of its instructions, which one
    long tensor operation is not.
    """

    def __init__(self, hear: Callable[[int], None]):
        self._hear = hear
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, name="ganvae-signals", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; a listener from before gets the signals again."""
        signal.set_wakeup_fd(self._before)
        os.write(self._write, _END)
        self._thread.join()
        os.close(self._write)
        os.close(self._read)

    def _listen(self) -> None:
        while (received := os.read(self._read, 1)) != _END:
            self._hear(received[0])


@contextmanager
def at_the_latest(seconds: float = PATIENCE) -> Iterator[None]:
    """Ends the process soon after a signal, whatever it does; its files are whole or absent.

    The handlers do as before. If the process is still there ``seconds`` after a SIGINT or a
    SIGTERM, or at a second SIGINT, it ends at once with 130 or 143.
    """
    timers: list[threading.Timer] = []

    def hear(number: int) -> None:
        if number not in (signal.SIGINT, signal.SIGTERM):
            return
        if timers and number == signal.SIGINT:
            os._exit(128 + number)
        timers.append(threading.Timer(seconds, os._exit, (128 + number,)))
        timers[-1].daemon = True
        timers[-1].start()

    listener = Listener(hear)
    try:
        yield
    finally:
        listener.close()
        for timer in timers:
            timer.cancel()
