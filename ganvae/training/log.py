"""A run's log: ``metrics.jsonl``, always valid, and TensorBoard beside it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from ganvae import files, foreign
from ganvae.errors import ConfigError
from ganvae.files import explain
from ganvae.telling import plain, redacted
from ganvae.training.checkpoint import jsonable

MAX_LINE = 2**20
"""Bytes of a line that is read."""

NO_TENSORBOARD = (
    "TensorBoard is not installed: install the package tensorboard, or set "
    "training.tensorboard to false"
)


class RunLog:
    """Appends to ``metrics.jsonl`` and, on request, to ``tensorboard/``.

    Every line is one JSON object with a ``step``: scalars, or an ``event`` in words. A line is
    written at once, so a killed run loses at most a part of its last one.

    run_dir: the run's directory, created where it does not exist
    tensorboard: also write TensorBoard logs
    resume: the step that the run continues from; lines of later steps and a half-written last
        line are dropped. None begins a new log

    Raises :class:`CheckpointError` where a line cannot be written.
    """

    def __init__(self, run_dir: Path, tensorboard: bool = True, *, resume: int | None = None):
        self.path = run_dir / "metrics.jsonl"
        self._folder = run_dir / "tensorboard"
        self._step = resume or 0
        self._board: Any = None
        for path in (self.path, self._folder):
            files.refuse_link(path)
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            if resume is None:
                self.path.write_bytes(b"")
        except OSError as error:
            raise explain(error, self.path) from error
        self._tensorboard = tensorboard
        self._begin(resume)

    def scalars(
        self, step: int, values: Mapping[str, Any], *, images: int, seconds: float
    ) -> None:
        """Logs numbers of a step; those that are not finite are written as null."""
        line = {"step": step, "images": images, "seconds": round(seconds, 3)}
        self._write(step, line | {name: _number(value) for name, value in values.items()})
        if self._board is not None:
            for name, value in _flat(values):
                self._on_board(lambda n=name, v=value: self._board.add_scalar(n, v, step))

    def event(self, text: str, step: int | None = None) -> None:
        """Logs a sentence; step: unset: the last logged one."""
        text = plain(redacted(text))
        step = self._step if step is None else step
        self._write(step, {"step": step, "event": text})
        if self._board is not None:
            self._on_board(lambda: self._board.add_text("events", text, step))

    def rewind(self, step: int) -> None:
        """Drops what was logged after a step, for a run that goes back to it."""
        self.close()
        self._begin(step)

    def close(self) -> None:
        """Closes the files; nothing can be logged afterwards."""
        try:
            self._file.close()
        except OSError as error:  # closing writes what a full disk had refused
            raise explain(error, self.path) from error
        if self._board is not None:
            self._on_board(self._board.close)
            self._board = None

    def _begin(self, resume: int | None) -> None:
        try:
            if resume is not None:
                _truncate(self.path, resume)
            self._file: TextIO = self.path.open("a", buffering=1, encoding="utf-8")
        except OSError as error:
            raise explain(error, self.path) from error
        self._step = resume or 0
        if self._tensorboard:
            self._board = _writer(self._folder, resume)

    def _write(self, step: int, line: dict[str, Any]) -> None:
        self._step = max(step, self._step)
        try:
            self._file.write(json.dumps(jsonable(line), allow_nan=False) + "\n")
        except OSError as error:
            raise explain(error, self.path) from error

    def _on_board(self, call: Any) -> None:
        try:
            call()
        except OSError as error:
            raise explain(error, self._folder) from error


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a ``metrics.jsonl``; half-written ones, and ones not of ours, are left out."""
    if not path.exists():
        return
    with foreign.regular(path, str(path)) as file:
        while text := file.readline(MAX_LINE):
            try:
                line = json.loads(text.decode("utf-8", "replace"))
            except (ValueError, RecursionError):
                continue
            if isinstance(line, dict) and "step" in line and _is_ours(line):
                yield line


def _is_ours(line: dict[str, Any]) -> bool:
    """Whether a line's common fields have the types and ranges that :class:`RunLog` writes."""
    kinds = {"step": (int,), "images": (int,), "seconds": (int, float), "event": (str,)}
    return all(
        type(line[name]) in allowed and (name == "event" or 0 <= line[name] < 2**63)
        for name, allowed in kinds.items()
        if name in line
    )


def _truncate(path: Path, step: int) -> None:
    lines = [json.dumps(line) + "\n" for line in read(path) if line["step"] <= step]
    files.write_text(path, "".join(lines))


def _writer(folder: Path, resume: int | None) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(NO_TENSORBOARD) from error
    try:
        return SummaryWriter(str(folder), purge_step=None if resume is None else resume + 1)
    except UnicodeEncodeError:
        warnings.warn(
            "TensorBoard takes no folder whose name is not in UTF-8: it gets nothing of this run",
            stacklevel=2,
        )
        return None
    except OSError as error:
        raise explain(error, folder) from error


def _number(value: Any) -> Any:
    """A tensor of one element as a float, anything else as it is."""
    return value.item() if hasattr(value, "item") else value


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        value = _number(value)
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", float(value)
