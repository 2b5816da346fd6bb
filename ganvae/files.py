"""Writes files whole or not at all, never through a link, and never over files of others.

Only unfinished files with a name of :func:`scratch` are removed, and only in the folders that we
write into.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ganvae.errors import CheckpointError

_MARKED = re.compile(r"\.(ganvae|tmp)-[0-9a-f]{32}(\.\w+)?")  # tmp: of earlier versions
_FULL = (errno.ENOSPC, errno.EDQUOT)


def scratch(path: Path) -> Path:
    """A name beside ``path``, with its ending, for an unfinished file of ours."""
    return path.with_name(f".ganvae-{uuid.uuid4().hex}{path.suffix}")


def is_scratch(path: Path) -> bool:
    """Whether a name is one that :func:`scratch` gives."""
    return _MARKED.fullmatch(path.name) is not None


def write(path: Path, save: Callable[[Path], Any]) -> Path:
    """Writes a file by ``save`` under another name, then renames it to ``path``.

    save: called with the name to write to, which has the ending of ``path``; its folder is made

    Raises CheckpointError where the disk refuses, and where ``path`` is a link or a folder.
    """
    refuse_link(path)
    draft = scratch(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save(draft)
        os.replace(draft, path)
    except OSError as error:
        raise explain(error, path, beyond=_size(draft)) from error
    finally:
        draft.unlink(missing_ok=True)
    return path


def write_text(path: Path, text: str) -> Path:
    """Writes a text in UTF-8 whole or not at all. Raises CheckpointError."""
    content = text.encode("utf-8", "backslashreplace")  # a file name need not be UTF-8
    return write(path, lambda draft: draft.write_bytes(content))


def clean(*folders: Path) -> None:
    """Removes unfinished files of killed processes directly in these folders. Raises OSError."""
    for folder in folders:
        for path in folder.iterdir() if folder.is_dir() else ():
            if is_scratch(path):
                remove(path)


def remove(path: Path) -> None:
    """Removes a file, a link (not what it leads to) or a folder of ours."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def refuse_link(path: Path) -> None:
    """Raises CheckpointError where ``path``, which is to be written, is a link."""
    if path.is_symlink():
        raise CheckpointError(
            f"{path} is a link, and nothing is written through links: remove it, or name the "
            f"place itself"
        )


def sync(folder: Path) -> None:
    """Waits until the names in a folder are on the disk. Raises OSError."""
    if os.name == "nt":  # pragma: no cover - folders cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def free(path: Path) -> int:
    """Bytes that are free where ``path`` is, or will be."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def explain(
    error: OSError, path: Path, needed: int | None = None, *, beyond: int = 0
) -> CheckpointError:
    """The error for a file that could not be written, with the bytes it needs and those free.

    needed: bytes, where they are known
    beyond: bytes that were written before the disk was full, where they are not
    """
    size = f"more than {beyond:,} bytes" if needed is None else f"{needed:,} bytes"
    size = "more bytes" if needed is None and not beyond else size
    if error.errno in _FULL:
        return CheckpointError(
            f"{path} needs {size} and {free(path):,} are free ({error.strerror}): make room, "
            f"then do it again (a training goes on with --resume); what was saved before is "
            f"untouched"
        )
    if error.errno == errno.EFBIG:
        return CheckpointError(
            f"{path} needs {size}, more than one file may have here: raise the limit (ulimit -f), "
            f"or choose a file system with larger files; what was saved before is untouched"
        )
    return CheckpointError(
        f"{path} cannot be written ({error.strerror or error}): check that the place exists, is "
        f"not read-only and belongs to you"
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
