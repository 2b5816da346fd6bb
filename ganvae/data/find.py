"""The door to the sources: which one a path or a name stands for."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ganvae.data import arrays
from ganvae.data.folder import Folder
from ganvae.data.formats import EXTENSIONS
from ganvae.data.hub_dataset import Dataset
from ganvae.data.shards import Shards
from ganvae.data.sources import DIGITS, SHARD, Source
from ganvae.errors import DataError
from ganvae.foreign import gate
from ganvae.telling import HIDDEN, Address, whole

_FILES = "an .npz, .npy, idx, .parquet or .tar file"
_MEND = "give a folder of images"
_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?(:[\w.-]+)?")


def find(path: str) -> Source:
    """The source that a path or name stands for. Raises DataError where there is none."""
    path = Address(path)
    if path == DIGITS:
        return arrays.digits()
    if "\0" in path or not path:
        raise DataError(f"the data path is empty or has a null character; {_MEND}")
    with gate(path, mend=_MEND):
        local = Path(os.path.expanduser(whole(path)))
        if os.path.isdir(local):  # Path.is_dir raises for a name that is too long
            return _folder(path, local)
        if os.path.exists(local):
            return _file(path, local)
    if path.lacks:
        raise DataError(
            f"{path} is kept without what may be a secret in it, and {HIDDEN} stands there: give"
            " the whole address again"
        )
    if "://" in path or path.startswith("pipe:") or SHARD.search(path):
        return Shards(path)
    if _is_hub_name(path):
        return Dataset(path)
    raise DataError(
        f'{path} does not exist; {_MEND}, {_FILES}, a Hub name (owner/name) or "{DIGITS}"'
    )


def is_remote(path: str) -> bool:
    """Whether a path or name is on the network: an address, or a data set of the Hub."""
    if path == DIGITS or os.path.exists(os.path.expanduser(whole(path))):
        return False
    return "://" in path or _is_hub_name(path)


def _is_hub_name(path: str) -> bool:
    name = path.lower()
    return bool(_HUB.fullmatch(path) and not SHARD.search(name) and not name.endswith(EXTENSIONS))


def _folder(path: str, local: Path) -> Source:
    if idx := arrays.idx_folder(path, local):
        return idx
    try:
        entries = sorted(e for e in local.iterdir() if not e.name.startswith("."))
    except OSError as error:
        raise DataError(f"cannot list {path}: {error.strerror}; check its permissions") from None
    plain = not any(e.suffix.lower() in EXTENSIONS or e.is_dir() for e in entries)
    for kind in (r"\.parquet$", SHARD.pattern):
        shards = [entry for entry in entries if re.search(kind, entry.name, re.IGNORECASE)]
        if plain and shards:
            return Shards(path, shards)
    return Folder(path, local)


def _file(path: str, local: Path) -> Source:
    name = local.name.lower()
    if name.endswith(EXTENSIONS):
        raise DataError(f"{path} is a single file; give the folder of images it is in")
    if SHARD.search(name):
        return Shards(path, [local])
    if source := arrays.file(path, local):
        return source
    raise DataError(
        f"{path} is of no kind that can be read; {_MEND}, or {_FILES} (unpack archives first)"
    )
