"""Checkpoints that are whole or absent: written beside their place, digested, renamed, read back.

Only folders with a manifest of ours are removed or replaced; what else lies there is left alone.

A checkpoint is a folder ``step-00001234`` holding one safetensors file for every group of tensors,
``meta.json``, and ``manifest.json`` with the size and the SHA-256 of each of them, the step, the
run and the digests of its configuration and data. There is no pointer to the newest one: readers
take the highest step that verifies.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ganvae import files
from ganvae.errors import CheckpointError, DivergedError
from ganvae.files import explain
from ganvae.telling import words

State = dict[str, dict[str, Tensor]]
"""Groups of tensors by file stem: ``"networks.encoder"``, ``"ema.encoder"``, ..."""

FORMAT = 1
MANIFEST = "manifest.json"
OLD = ".ganvae-old"
"""The suffix of a checkpoint's name while a new one of the same step replaces it."""
_NAME = re.compile(rf"step-(\d{{8,}})({re.escape(OLD)})?")
_STEM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_ENTRY = {"bytes": int, "sha256": str}


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint, in memory."""

    step: int
    path: Path
    state: State
    meta: dict[str, Any]


def save(
    folder: Path, step: int, state: State, meta: Mapping[str, Any], *, keep: int, best: int | None
) -> Path:
    """Writes the checkpoint of a step; older ones are removed only once it has been read back.

    folder: the run's ``checkpoints`` folder
    step: steps made so far; names the checkpoint
    state: all tensors, on any device
    meta: anything JSON can hold; a non-finite number is written as null. ``run``,
        ``configuration`` and ``data``, where present, are copied into the manifest
    keep: how many of the newest checkpoints stay, at least 1
    best: the step of one more that stays, or None

    Returns the checkpoint's folder. Checkpoints of later steps, which only a run that went back
    can have, are removed with the old ones.

    Raises :class:`DivergedError` where a tensor is not finite (nothing is written), and
    :class:`CheckpointError` where the disk is full or refuses; earlier checkpoints are then
    untouched.
    """
    if keep < 1:
        raise ValueError(f"keep must be at least 1, got {keep}")
    finite(state)
    final = folder / f"step-{step:08d}"
    contents = _encode(step, state, meta)
    scratch = files.scratch(final)
    files.refuse_link(folder)
    _refuse_foreign(final)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch.mkdir()
        for name, content in contents.items():
            _write(scratch / name, content)
        files.sync(scratch)
        _place(scratch, final)
        files.sync(folder)
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        raise explain(error, final, needed=sum(map(len, contents.values()))) from error
    _read_back(final)
    try:
        _prune(folder, step, keep=keep, best=best)
    except OSError as error:
        raise explain(error, folder) from error
    return final


def latest(folder: Path, on_skip: Callable[[str], None]) -> Checkpoint | None:
    """The checkpoint with the highest step that verifies, or None where there is none at all.

    on_skip: told the file and the reason for every checkpoint that does not verify

    Raises :class:`CheckpointError` where checkpoints exist and none can be used.
    """
    candidates = sorted(_candidates(folder), reverse=True)
    for *_, path in candidates:
        try:
            return load(path)
        except CheckpointError as error:
            on_skip(f"checkpoint {path.name} cannot be used: {error}")
    if candidates:
        raise CheckpointError(
            f"none of the {len(candidates)} checkpoints in {folder} can be used; put back a copy "
            f"of one, or start a new run in another directory (nothing was changed here)"
        )
    return None


def load(path: Path) -> Checkpoint:
    """Reads one checkpoint and verifies every byte of it; raises :class:`CheckpointError`."""
    manifest = _manifest(path)
    content = {name: _verified(path / name, entry) for name, entry in manifest["files"].items()}
    try:
        meta = json.loads(content.pop("meta.json"))
        state = {
            name.removesuffix(".safetensors"): safetensors.torch.load(data)
            for name, data in content.items()
        }
        if not isinstance(meta, dict):
            raise ValueError("meta.json holds no mapping")
    except (KeyError, ValueError, RecursionError, SafetensorError) as error:
        raise CheckpointError(f"cannot be decoded ({words(error)})") from error
    return Checkpoint(manifest["step"], path, state, meta)


def verify(path: Path) -> None:
    """Raises :class:`CheckpointError` naming the checkpoint's first file that is not whole."""
    for name, entry in _manifest(path)["files"].items():
        _verified(path / name, entry)


def clean(folder: Path) -> None:
    """Removes files of interrupted saves and removals; call it while holding the run's lock."""
    try:
        files.clean(folder)
        for step, current, path in _candidates(folder):
            if not current and is_ours(path):
                final = folder / f"step-{step:08d}"
                if not os.path.lexists(final):
                    path.rename(final)
                elif _whole(final):
                    shutil.rmtree(path)
    except OSError as error:
        raise explain(error, folder) from error


def is_ours(path: Path) -> bool:
    """Whether a folder is a checkpoint with our manifest, and so may be removed."""
    return (
        not path.is_symlink() and (path / MANIFEST).is_file() and bool(_NAME.fullmatch(path.name))
    )


def unknown(folder: Path) -> list[str]:
    """Names of files among the checkpoints that are not ours, and so are never touched."""
    entries = folder.iterdir() if folder.is_dir() else ()
    return sorted(path.name for path in entries if not is_ours(path))


def writable(folder: Path) -> None:
    """Raises :class:`CheckpointError` unless files can be made, synced and removed in ``folder``.

    The folder is created where it does not exist.
    """
    probe = files.scratch(folder / "probe")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            _write(probe, b"ganvae")
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise explain(error, folder, needed=6) from error


def digest(state: Mapping[str, Mapping[str, Tensor]]) -> str:
    """SHA-256 over the sorted (name, dtype, shape, bytes) of all tensors, in hexadecimal."""
    total = hashlib.sha256()
    for group in sorted(state):
        for name in sorted(state[group]):
            tensor = _plain(state[group][name])
            total.update(f"{group}/{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def finite(state: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Raises :class:`DivergedError` naming the tensors that hold NaN or infinity."""
    bad = [
        f"{group}/{name}"
        for group, tensors in state.items()
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
    ]
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise DivergedError(f"not saved: {', '.join(bad[:3])}{more} hold NaN or infinity")


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _encode(step: int, state: State, meta: Mapping[str, Any]) -> dict[str, bytes]:
    """File name -> content, the manifest last."""
    contents = {}
    for stem, tensors in state.items():
        if not _STEM.fullmatch(stem):
            raise ValueError(f"{stem!r} is not a file stem")
        plain = {name: _plain(tensor) for name, tensor in tensors.items()}
        contents[f"{stem}.safetensors"] = safetensors.torch.save(plain)
    contents["meta.json"] = _json(jsonable(dict(meta)))
    manifest = {
        "format": FORMAT,
        "step": step,
        "run": meta.get("run"),
        "configuration": meta.get("configuration"),
        "data": meta.get("data"),
        "versions": {
            "ganvae": _version("ganvae"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "files": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in contents.items()
        },
    }
    contents[MANIFEST] = _signed(jsonable(manifest))
    return contents


def _version(package: str) -> str:
    try:
        return version(package)
    except ModuleNotFoundError:  # run from a source tree that was not installed
        return "unknown"


def jsonable(value: Any) -> Any:
    """The same value with every non-finite number replaced by None, which JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"


def _signed(manifest: dict[str, Any]) -> bytes:
    """The manifest with its own digest, so that a flipped bit in it shows as well."""
    return _json(manifest | {"digest": hashlib.sha256(_json(manifest)).hexdigest()})


def _write(path: Path, content: bytes) -> None:
    handle = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o644
    )
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _place(scratch: Path, final: Path) -> None:
    """Renames into place; a checkpoint of the same step stays findable until then."""
    old = final.with_name(final.name + OLD)
    if final.exists():
        if old.exists():
            _remove(old if _whole(final) else final)
        if final.exists():
            final.rename(old)
    scratch.rename(final)


def _refuse_foreign(final: Path) -> None:
    if os.path.lexists(final) and not is_ours(final):
        raise CheckpointError(
            f"{final} is no checkpoint of this run and is left alone: move it elsewhere, then "
            f"continue with --resume"
        )


def _read_back(path: Path) -> None:
    try:
        verify(path)
    except CheckpointError as error:
        _remove(path)
        raise CheckpointError(
            f"{path} was written but reads back differently ({error}): the disk may be failing; "
            f"earlier checkpoints are untouched"
        ) from error


def _candidates(folder: Path) -> list[tuple[int, bool, Path]]:
    """(step, is not a leftover, path) of every folder that is named like a checkpoint."""
    if not folder.is_dir():
        return []
    matches = [(_NAME.fullmatch(path.name), path) for path in folder.iterdir() if path.is_dir()]
    return [(int(m[1]), m[2] is None, path) for m, path in matches if m is not None]


def _whole(path: Path) -> bool:
    try:
        verify(path)
    except CheckpointError:
        return False
    return True


def _complete(path: Path) -> bool:
    """Whether every file has its size, which is quicker to know than that it is whole."""
    try:
        entries = _manifest(path)["files"]
        return all((path / name).stat().st_size == file["bytes"] for name, file in entries.items())
    except (CheckpointError, OSError):
        return False


def _prune(folder: Path, step: int, *, keep: int, best: int | None) -> None:
    candidates = _candidates(folder)
    usable = sorted(
        (s for s, current, path in candidates if current and s <= step and _complete(path)),
        reverse=True,
    )
    remaining = {step, *usable[:keep], *([best] if best in usable else [])}
    for number, current, path in candidates:
        if (not current or number not in remaining) and is_ours(path):
            _remove(path)


def _remove(path: Path) -> None:
    """Removes a checkpoint: renamed first, so that no half of it looks like a whole one."""
    scratch = files.scratch(path)
    path.rename(scratch)
    shutil.rmtree(scratch)


def _manifest(path: Path) -> dict[str, Any]:
    raw = _read(path / MANIFEST)
    try:
        manifest = json.loads(raw)
        digest = manifest.pop("digest")
        if digest != hashlib.sha256(_json(manifest)).hexdigest() or raw != _signed(manifest):
            raise ValueError("its digest does not match")
        if manifest["format"] != FORMAT:
            raise ValueError(f"its format is {manifest['format']}, this version reads {FORMAT}")
        if any(Path(name).name != name for name in manifest["files"]):
            raise ValueError("it names files elsewhere")
        for entry in (manifest, *manifest["files"].values()):
            kinds = {"step": int, "run": str | None} if entry is manifest else _ENTRY
            if not all(isinstance(entry[key], kind) for key, kind in kinds.items()):
                raise ValueError("its entries are of other types")
        name = _NAME.fullmatch(path.name)
        if name is not None and int(name[1]) != manifest["step"]:
            raise ValueError(f"it is the manifest of step {manifest['step']}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{MANIFEST} is damaged ({words(error)})") from error
    return dict(manifest)


def _verified(path: Path, entry: Mapping[str, Any]) -> bytes:
    content = _read(path)
    if len(content) != entry["bytes"]:
        raise CheckpointError(
            f"{path.name} has {len(content):,} bytes instead of {entry['bytes']:,}"
        )
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise CheckpointError(f"{path.name} does not match its digest")
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.name} is missing") from error
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read ({error.strerror})") from error
