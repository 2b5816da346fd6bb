"""Many images to prepared pixels: in this process, or by a pool of decoding processes.

The pool is a handful of plain child processes that read requests from their standard input and
answer on their standard output, so a user's script needs no ``if __name__ == "__main__"`` and a
file that crashes a decoder takes one child with it, not the run.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, repeat
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

import numpy as np

from ganvae.data.decode import Bad, Policy, Preparation, Prepared, prepare, prepare_array

FEW, FEW_BYTES = 512, 2**24
"""Up to so many images are decoded in this process; starting others would take longer."""
CHUNK, CHUNK_BYTES = 32, 2**22
IMAGE_BYTES = 24 * 2**20
"""Bytes at most of one image as it is stored in an archive or an array."""
LABEL_BYTES = 2**10
"""Bytes at most of the name of its class."""
KINDS = 30
"""Kinds of unused files of a source that are counted apart."""
Image = str | bytes | np.ndarray | Prepared | Bad
"""A path, the bytes of a file, uint8 or uint16 pixels, or something that is finished already."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image of a source.

    name: where in the source it is; any text
    label: its class, where the source has classes
    split: "train" or "test" where the source says so itself
    stat: size, mtime and ctime of its file in bytes and nanoseconds
    """

    name: str
    image: Image
    label: str | None = None
    split: str | None = None
    stat: tuple[int, int, int] = (0, 0, 0)


Outcome = tuple[Item, Prepared | Bad]
"""An item without its image, and its prepared pixels or the error."""


def cores() -> int:
    """CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def prepare_all(
    items: Iterable[Item], how: Preparation, workers: int | None = None
) -> Iterator[Outcome]:
    """Prepares every item, in order; a bad image comes back as its :class:`Bad`.

    workers: decoding processes; 0 decodes here, None takes one a core where there are many images
    """
    items = iter(items)
    count = min(cores(), 16) if workers is None else workers
    first, more = _first(items, FEW if workers is None else 1)
    few = workers is None and not more
    alone = count < (2 if workers is None else 1) or few or _is_array(first)
    items = chain(_drain(first), items)
    # map, because a loop's variable would keep an image while the next one is read
    yield from (map(_prepare_here, items, repeat(how)) if alone else _in_pool(items, how, count))


def _first(items: Iterator[Item], limit: int) -> tuple[deque[Item], bool]:
    """Up to ``limit`` items, fewer where these are large, and whether there may be more."""
    first, size = deque[Item](), 0
    for item in items:
        first.append(item)
        size += _bytes(item)
        if len(first) >= limit or size > FEW_BYTES:
            return first, True
    return first, False


def _drain(items: deque[Item]) -> Iterator[Item]:
    while items:
        yield items.popleft()


def _bytes(item: Item) -> int:
    return len(item.image) if isinstance(item.image, bytes) else 0


def _is_array(items: deque[Item]) -> bool:
    return bool(items) and isinstance(items[0].image, np.ndarray)


def _prepare_here(item: Item, how: Preparation) -> Outcome:
    image = item.image
    if isinstance(image, (Prepared, Bad)):
        return _outcome(item, image)
    try:
        if isinstance(image, np.ndarray):
            return _outcome(item, prepare_array(image, how))
        return _outcome(item, prepare(image, how))
    except Bad as bad:
        return _outcome(item, Bad(str(bad)))  # the one that was raised keeps the whole image


def _outcome(item: Item, result: Prepared | Bad) -> Outcome:
    """The outcome, with an item that no longer holds its image, which may be large."""
    return replace(item, image=b""), result


def _in_pool(items: Iterator[Item], how: Preparation, count: int) -> Iterator[Outcome]:
    free: SimpleQueue[_Worker] = SimpleQueue()
    workers = [_Worker(how) for _ in range(count)]
    for worker in workers:
        free.put(worker)

    def run(chunk: list[Item]) -> list[Outcome]:
        worker = free.get()
        try:
            return worker.run(chunk)
        finally:
            free.put(worker)

    threads, limit = ThreadPoolExecutor(count), 2 * count
    waiting: deque[tuple[int, Future[list[Outcome]]]] = deque()
    try:
        for chunk in _chunks(items, max(1, min(CHUNK, CHUNK_BYTES // (how.height * how.width)))):
            waiting.append((sum(map(_bytes, chunk)), threads.submit(run, chunk)))
            del chunk  # or its images would stay while the next ones are read
            while len(waiting) > limit or sum(size for size, _ in waiting) > limit * CHUNK_BYTES:
                yield from waiting.popleft()[1].result()
        while waiting:
            yield from waiting.popleft()[1].result()
    finally:
        for worker in workers:
            worker.stop()
        threads.shutdown(cancel_futures=True)
        for worker in workers:
            worker.end()


def _chunks(items: Iterator[Item], limit: int) -> Iterator[list[Item]]:
    """Lists of at most ``limit`` items, and of at most one item beyond CHUNK_BYTES."""
    chunk: list[Item] = []
    size = 0
    for item in items:
        chunk.append(item)
        size += _bytes(item)
        if len(chunk) >= limit or size > CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


class _Died(Exception):
    """The decoding process is gone."""


class _Worker:
    """One decoding process; started at its first use and again after it died."""

    def __init__(self, how: Preparation):
        self._how, self._stopped = how, False
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, chunk: list[Item]) -> list[Outcome]:
        """Outcomes of the items. An item that kills the process is told from its neighbours."""
        encoded = [item for item in chunk if not isinstance(item.image, (Prepared, Bad))]
        try:
            answers = iter(self._ask(encoded))
        except _Died:
            if self._stopped:
                raise
            answers = iter([self._ask_one(item) for item in encoded])
        return [
            _outcome(
                item, item.image if isinstance(item.image, (Prepared, Bad)) else next(answers)
            )
            for item in chunk
        ]

    def _ask_one(self, item: Item) -> Prepared | Bad:
        try:
            return self._ask([item])[0]
        except _Died:
            return Bad("crashed the decoder")

    def _ask(self, items: list[Item]) -> list[Prepared | Bad]:
        if not items:
            return []
        process = self._process = self._process or self._start()
        assert process.stdin and process.stdout
        data = [item.image if isinstance(item.image, bytes) else b"" for item in items]
        heads = [
            len(item.image) if isinstance(item.image, bytes) else item.image for item in items
        ]
        try:
            _send(process.stdin, heads, *data)
            answers = _receive(process.stdout)
            return [self._answer(process.stdout, answer) for answer in answers]
        except (OSError, EOFError, ValueError):
            self.end()
            raise _Died from None

    def _answer(self, pipe: IO[bytes], answer: Any) -> Prepared | Bad:
        if isinstance(answer, str):
            return Bad(answer)
        policies, channels, peak = answer
        shape = self._how.height, self._how.width, channels
        pixels = np.frombuffer(_exactly(pipe, shape[0] * shape[1] * shape[2]), np.uint8)
        return Prepared(pixels.reshape(shape), Policy(policies), peak)

    def _start(self) -> subprocess.Popen[bytes]:
        if self._stopped:
            raise _Died
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(p or str(Path.cwd()) for p in sys.path)
        }
        with tempfile.TemporaryFile() as complaints:
            process = subprocess.Popen(
                [sys.executable, "-c", "from ganvae.data.workers import serve; serve()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env=environment,
            )
            assert process.stdin and process.stdout
            try:
                _send(process.stdin, self._how.to_dict())
                _receive(process.stdout)
            except (OSError, EOFError):
                process.kill()
                process.wait()
                if self._stopped:
                    raise _Died from None
                complaints.seek(0)
                message = complaints.read().decode(errors="replace").strip()
                raise RuntimeError(f"a decoding process did not start: {message[-500:]}") from None
        return process

    def end(self) -> None:
        """Kills the process, if there is one, and waits until it is gone."""
        process, self._process = self._process, None
        if process:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    with suppress(OSError):  # what was left in its buffer has no reader
                        pipe.close()

    def stop(self) -> None:
        """Ends the process; a request under way raises in its own thread."""
        self._stopped = True
        if self._process:
            self._process.kill()


def serve() -> None:
    """The main loop of a decoding process, until its standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    options = _receive(source)
    how = Preparation(**options | {"background": tuple(options["background"])})
    _send(sink, "ready")
    while True:
        try:
            heads = _receive(source)
        except EOFError:
            return
        files = [_exactly(source, head) if isinstance(head, int) else head for head in heads]
        answers: list[Any] = []
        pixels: list[bytes] = []
        for file in files:
            try:
                prepared = prepare(file, how)
            except Bad as bad:
                answers.append(str(bad))
            else:
                answers.append([int(prepared.policies), prepared.pixels.shape[2], prepared.peak])
                pixels.append(prepared.pixels.tobytes())
        _send(sink, answers, *pixels)


def _send(pipe: IO[bytes], head: Any, *data: bytes) -> None:
    pipe.write(json.dumps(head).encode() + b"\n")
    for part in data:
        pipe.write(part)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    line = pipe.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    return json.loads(line)


def _exactly(pipe: IO[bytes], size: int) -> bytes:
    data = pipe.read(size)
    if len(data) != size:
        raise EOFError
    return data
