"""SIGTERM and SIGINT ask the training to stop; a second SIGINT does not ask."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

_LAUNCHED = "TORCHELASTIC_RUN_ID"
_END = b"\0"  # no signal has this number


class Signals:
    """While the ``with`` block lasts, SIGTERM and SIGINT only set :attr:`stop`.

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

    def __enter__(self) -> Signals:
        if threading.current_thread() is not threading.main_thread():
            return self
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        self._thread = threading.Thread(target=self._watch, name="ganvae-signals", daemon=True)
        self._thread.start()
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
        signal.set_wakeup_fd(self._wakeup)
        os.write(self._write, _END)
        self._thread.join()
        os.close(self._write)
        os.close(self._read)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.stop = self.stop or signal.Signals(number).name

    def _watch(self) -> None:
        first: float | None = None
        while (received := os.read(self._read, 1)) != _END:
            if received[0] != signal.SIGINT:
                continue
            if first is not None and time.monotonic() - first >= self._grace:
                os._exit(130)
            first = time.monotonic() if first is None else first
