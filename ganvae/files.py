"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write(path: Path, save: Callable[[Path], Any]) -> Path:
    """A file takes the place of ``path`` once ``save`` has written it. Raises OSError.

    save: gets the name to write to, with the ending of ``path``; its folder is made
    """
    scratch = path.with_name(f".tmp-{uuid.uuid4().hex}{path.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        save(scratch)
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
    return path


def write_text(path: Path, text: str) -> Path:
    """Writes a text in UTF-8 whole or not at all. Raises OSError."""
    content = text.encode("utf-8", "backslashreplace")  # a name need not be any text
    return write(path, lambda scratch: scratch.write_bytes(content))


def clean(folder: Path) -> None:
    """Removes what processes that died have left in a folder and in those below it."""
    for path in list(folder.rglob(".tmp-*")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
