"""The folder of a bulk task: parts, each written whole, and the manifest of the task.

Beside each part stands its digest, by which a damaged one is noticed and made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from ganvae import files
from ganvae.errors import CheckpointError, ConfigError
from ganvae.files import write
from ganvae.tasks.output import write_json
from ganvae.training import lock

MANIFEST, INDEX = "_manifest.json", "_index.json"
"""Readers of a folder of Parquet files skip names that begin with an underscore."""
FORMAT = 1
_NOTES = b"ganvae"
_CAUSES = {"verb": "for another task", "model": "with another model", "data": "with other images"}


@dataclass(frozen=True)
class Part:
    """A finished part.

    name: of its file, without the suffix
    rows: how many it has
    skipped: name and reason of the images that could not be read
    last: whether it is the last one of a stream
    """

    name: str
    rows: int
    skipped: list[tuple[str, str]] = field(default_factory=list)
    last: bool = False


@dataclass(frozen=True)
class Done:
    """A finished bulk task.

    parts: the Parquet files, in order
    images: rows in all of them
    skipped: name and reason of the images that could not be read
    made: how many of the parts were not there before
    """

    parts: list[Path]
    images: int
    skipped: list[tuple[str, str]]
    made: int


def need(module: str) -> Any:
    """A package of the extra ``ray``. Raises ConfigError where it is not installed."""
    try:
        return import_module(module)
    except ImportError:
        raise ConfigError(
            f"bulk tasks need the package {module.partition('.')[0]}, which is not installed; "
            f"install it with: pip install 'ganvae[ray]'"
        ) from None


def begin(out: Path, manifest: Mapping[str, Any]) -> dict[str, Part]:
    """Prepares the folder of a task; the parts that are finished already, by name.

    Raises ConfigError for a folder that was begun otherwise or holds something else,
    CheckpointError for a damaged one.
    """
    record = json.loads(json.dumps({"format": FORMAT, **manifest}))
    path = out / MANIFEST
    if path.exists():
        _compare(out, _read(path), record)
    else:
        refuse_foreign(out)
        write_json(path, record)
    files.clean(out)
    parts = (_read_part(path) for path in out.glob("part-*.parquet"))
    return {part.name: part for part in parts if part}


def refuse_foreign(out: Path) -> None:
    """Raises ConfigError where a folder holds something else than a bulk task; writes nothing."""
    if not out.is_dir() or (out / MANIFEST).exists():
        return
    foreign = [p.name for p in out.iterdir() if p.name != lock.NAME and not files.is_scratch(p)]
    if foreign:
        raise ConfigError(
            f"{out} holds something else ({min(foreign)}) and no bulk task; choose another folder"
        )


def save(out: Path, part: Part, table: Any) -> Part:
    """Write a part, whole or not at all. Raises CheckpointError where the disk refuses."""
    parquet = need("pyarrow.parquet")
    notes = json.dumps({"skipped": part.skipped, "last": part.last})
    annotated = table.replace_schema_metadata({_NOTES: notes.encode("ascii")})
    path = out / f"{part.name}.parquet"
    _digest_file(path).unlink(missing_ok=True)
    write(path, lambda scratch: parquet.write_table(annotated, scratch))
    files.write_text(_digest_file(path), _digest(path))
    return part


def _digest_file(path: Path) -> Path:
    return path.with_name(f"_{path.stem}.sha256")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def conclude(out: Path, manifest: Mapping[str, Any], parts: Mapping[str, Part], new: int) -> Done:
    """Writes what the finished folder holds to ``_index.json``.

    Raises ConfigError where parts went elsewhere.
    """
    ordered = [parts[name] for name in sorted(parts)]
    paths = [out / f"{part.name}.parquet" for part in ordered]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise ConfigError(
            f"{missing[0]} was written on another machine and is not in {out} here; choose a "
            f"folder that all machines share"
        )
    skipped = [tuple(entry) for part in ordered for entry in part.skipped]
    images = sum(part.rows for part in ordered)
    index = {
        **manifest,
        "images": images,
        "parts": [[part.name, part.rows] for part in ordered],
        "skipped": skipped,
    }
    write_json(out / INDEX, index)
    return Done(paths, images, [(name, why) for name, why in skipped], new)


def is_concluded(out: Path, parts: Mapping[str, Part]) -> bool:
    """Whether the folder is finished; where a part is gone its index goes, too."""
    path = out / INDEX
    if path.exists() and {name for name, _ in _read(path).get("parts", ())} == set(parts):
        return True
    path.unlink(missing_ok=True)
    return False


def _read_part(path: Path) -> Part | None:
    """The part in a file, by its footer; None for a file that is not as it was written."""
    parquet = need("pyarrow.parquet")
    with contextlib.suppress(Exception):  # whatever is wrong with it, it is made again
        if _digest_file(path).read_text("ascii") != _digest(path):
            return None
        metadata = parquet.read_metadata(path)
        notes = json.loads(metadata.metadata[_NOTES])
        skipped = [(str(name), str(why)) for name, why in notes["skipped"]]
        return Part(path.stem, metadata.num_rows, skipped, bool(notes["last"]))
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("ascii"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); choose another folder") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} describes no bulk task; choose another folder")
    return content


def _compare(out: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Raises ConfigError where a folder was begun with something else."""
    differences = [text for key, text in _CAUSES.items() if old.get(key) != new[key]]
    before, after = old.get("settings"), new["settings"]
    before = before if isinstance(before, dict) else {}
    differences += [
        f"with {key} {json.dumps(before.get(key))}, not {json.dumps(after.get(key))}"
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]
    if not differences and old.get("format") != new["format"]:
        differences = ["by another version of ganvae"]
    if differences:
        raise ConfigError(
            f"{out} was begun {differences[0]}; choose another folder, or go on as it was begun"
        )
