"""A distrustful reader of the safetensors format: everything is checked before it is used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ganvae.errors import CheckpointError
from ganvae.foreign import read_json
from ganvae.telling import shown

MAX_HEADER = 2 * 2**20
"""Bytes of the longest header that is parsed: some 15,000 tensors."""
MAX_TENSORS, MAX_DIMENSIONS, MAX_SIDE = 10_000, 16, 2**40

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

DISGUISES = {b"PK": "a zip archive, as torch.save writes it", b"\x80": "a pickle"}


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies: bytes begin to end of the data that follow the header."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """The tensors of a file; its data start at byte ``start``."""

    entries: dict[str, Entry]
    start: int


def read_header(head: bytes, size: int, name: str) -> Header:
    """The header of a file of ``size`` bytes that starts with ``head``.

    head: the file's first 8 + MAX_HEADER bytes, or all of it
    name: the file, for messages
    Raises CheckpointError unless the header is whole, known and covers the file exactly.
    """
    for start, kind in DISGUISES.items():
        # a header of 128 bytes more than a multiple of 256 starts as a pickle does
        if head.startswith(start) and head[8:9] != b"{":
            raise CheckpointError(f"{name} is {kind}; ganvae never reads those, they can run code")
    length = int.from_bytes(head[:8], "little")
    if size < 10 or length > size - 8:
        raise CheckpointError(
            f"{name} is no whole safetensors file: it has {size:,} bytes, its header alone "
            f"claims {length:,}"
        )
    if length > MAX_HEADER:
        raise CheckpointError(f"the header of {name} has {length:,} bytes, at most {MAX_HEADER:,}")
    table = read_json(head[8 : 8 + length], f"the header of {name}", CheckpointError)
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise CheckpointError(f"the metadata of {name} are no mapping of text to text")
    if len(table) > MAX_TENSORS:
        raise CheckpointError(f"{name} has {len(table):,} tensors, at most {MAX_TENSORS:,}")
    entries = {key: _entry(value, f"{shown(key)} in {name}") for key, value in table.items()}
    _cover(entries, size - 8 - length, name)
    return Header(entries, 8 + length)


def _entry(value: Any, where: str) -> Entry:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"{where} must have dtype, shape and data_offsets and nothing else")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise CheckpointError(f"{where} has the unknown dtype {shown(dtype)}")
    if not _whole(shape, MAX_SIDE) or len(shape) > MAX_DIMENSIONS:
        raise CheckpointError(f"{where} has the impossible shape {shown(shape)}")
    if not _whole(offsets, 2**63) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise CheckpointError(f"{where} has the impossible offsets {shown(offsets)}")
    begin, end = offsets
    size = math.prod(shape) * DTYPES[dtype].itemsize
    if end - begin != size:
        raise CheckpointError(f"{where} has {end - begin:,} bytes, its shape needs {size:,}")
    return Entry(DTYPES[dtype], tuple(shape), begin, end)


def _whole(values: Any, limit: int) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v <= limit for v in values)


def _cover(entries: Mapping[str, Entry], size: int, name: str) -> None:
    """Raises CheckpointError unless the tensors fill ``size`` bytes without gap or overlap."""
    at = 0
    for key, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != at:
            fault = "overlaps another tensor" if entry.begin < at else "leaves a gap before it"
            raise CheckpointError(f"{shown(key)} in {name} {fault}")
        at = entry.end
    if at != size:
        fault = "was cut off" if at > size else "has bytes appended"
        raise CheckpointError(f"{name} {fault}: its tensors need {at:,} bytes, it has {size:,}")


def read_tensors(content: bytearray, header: Header, name: str) -> dict[str, Tensor]:
    """The tensors of a whole file. Raises CheckpointError where they hold NaN or infinity."""
    tensors = {}
    for key, entry in header.entries.items():
        count = entry.end - entry.begin
        raw = torch.empty(count, dtype=torch.uint8)
        if count:
            start = header.start + entry.begin
            raw.copy_(torch.frombuffer(content, dtype=torch.uint8, count=count, offset=start))
        if entry.dtype is torch.bool and count and int(raw.max()) > 1:
            raise CheckpointError(
                f"{shown(key)} in {name} holds values that are not true or false"
            )
        tensors[key] = raw.view(entry.dtype).reshape(entry.shape)
    bad = not_finite(tensors)
    if bad:
        raise CheckpointError(f"{name} holds NaN or infinity in {', '.join(map(shown, bad))}")
    return tensors


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of the tensors that hold NaN or infinity."""
    return [
        name
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
    ]
