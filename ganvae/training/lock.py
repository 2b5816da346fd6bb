"""One run per directory, by a lock of the operating system, which ends with its process.

The file is never opened through a link, and is only written where it is empty or ours.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import sys
from pathlib import Path

from ganvae import files
from ganvae.errors import BusyError, ConfigError
from ganvae.files import explain

NAME = ".lock"
_CAREFUL = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_BUSY = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)

if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    _BEYOND = 1 << 30  # past the text, so that others can still read whose lock it is

    def _acquire(handle: int) -> None:
        os.lseek(handle, _BEYOND, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _acquire(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


class RunLock:
    """Holds the lock of a run directory while the ``with`` block lasts.

    The directory is created where it does not exist. The file ``.lock`` stays behind, empty: only
    the operating system's lock on it counts, so nothing is stale after a kill.

    Raises :class:`BusyError` naming process and host where another run holds it.
    """

    def __init__(self, folder: Path):
        self.path = folder / NAME
        self._handle: int | None = None

    def __enter__(self) -> RunLock:
        assert self._handle is None
        files.refuse_link(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | _CAREFUL, 0o644)
        except OSError as error:
            raise explain(error, self.path) from error
        try:
            _acquire(handle)
            if not _is_ours(handle):
                os.close(handle)
                raise ConfigError(
                    f"{self.path} is no lock of ganvae and is left alone: move it elsewhere, or "
                    f"choose another run directory"
                )
            os.ftruncate(handle, 0)
            os.lseek(handle, 0, os.SEEK_SET)
            os.write(handle, json.dumps({"pid": os.getpid(), "host": _host()}).encode())
        except OSError as error:
            os.close(handle)
            raise self._refusal(error) from error
        self._handle = handle
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None

    def _refusal(self, error: OSError) -> Exception:
        if error.errno in _BUSY:
            return BusyError(
                f"{self.path.parent} is in use by {self._holder()}: wait until it ends, or choose "
                f"another run directory"
            )
        if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            return ConfigError(
                f"{self.path.parent} is on a file system without locks ({error.strerror}): choose "
                f"a run directory on another one"
            )
        return explain(error, self.path)

    def _holder(self) -> str:
        try:
            holder = json.loads(self.path.read_text())
            return f"process {int(holder['pid'])} on {holder['host']}"
        except (OSError, ValueError, KeyError, TypeError):  # taken this very moment
            return "another process"


def refuse_busy(folder: Path) -> None:
    """Raises BusyError where another process holds the lock of a directory; writes nothing."""
    lock = RunLock(folder)
    try:
        handle = os.open(lock.path, os.O_RDONLY | _CAREFUL)
    except OSError:  # none, or nothing that locks
        return
    try:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            _acquire(handle)
    except OSError as error:
        if error.errno in _BUSY:
            raise lock._refusal(error) from None
    finally:
        os.close(handle)


def _is_ours(handle: int) -> bool:
    """Whether a lock file is empty, or names the process that once held it."""
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        return False
    text = os.read(handle, 4096)
    try:
        return not text or set(json.loads(text)) == {"pid", "host"}
    except (ValueError, TypeError, RecursionError):
        return False


def _host() -> str:
    return socket.gethostname()
