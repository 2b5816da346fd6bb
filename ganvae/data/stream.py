"""Shards read while training: for sets that are too large to be packed.

Each process reads shards of its own, in an order that follows from the seed and the epoch, some at
once, and shuffles what comes in blocks. Where a block begins is all there is to remember: from
there on everything is read again in the same order.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from typing import Any

import numpy as np
import torch

from ganvae.data.batches import Agree, Selection, mirror
from ganvae.data.decode import Bad, Preparation
from ganvae.data.origins import Origin
from ganvae.data.shard_files import Shard
from ganvae.data.shards import shuffled, together
from ganvae.data.split import key_of
from ganvae.data.store import content_hash
from ganvae.data.subset import to_float
from ganvae.data.workers import Item, cores, prepare_all
from ganvae.errors import ConfigError, DataError
from ganvae.foreign import from_environment
from ganvae.types import Batch, Noise

AT_ONCE = 4
"""Shards that a process reads at once."""
BLOCK, BLOCK_BYTES = 8192, 2**28
"""Images that are shuffled with each other, unless they take more than so many bytes."""
PATIENCE = 20
"""Epochs that one of several processes goes on for without an image among its shards."""
_ORDER, _FLIP, _SOURCE = 12, 13, 14

Mark = tuple[int, int, int]
"""A position in a process's stream: the epoch, the group of shards, the image within the group."""


@dataclass(frozen=True, kw_only=True)
class Streamed:
    """A set that is read while training.

    path: as the user gave it
    shards: those to train on
    how: what every image is made into, the channels known
    held_out: images with a smaller key of their contents are held out
    classes: names by number; empty where labels were not asked for
    origin: what sources are made of the images
    max_bad: share of unreadable images that is borne
    workers: decoding processes; 0 decodes beside the training, None shares the cores out
    """

    path: str
    shards: list[Shard]
    how: Preparation
    held_out: int
    classes: list[str] = field(default_factory=list)
    origin: Origin | None = None
    max_bad: float = 0.0
    workers: int | None = None

    def decoders(self) -> int:
        """Decoding processes of this process among those of its machine."""
        local = from_environment("LOCAL_WORLD_SIZE", 1)
        return max(1, min(16, cores() // local)) if self.workers is None else self.workers


class StreamBatches:
    """One process's parts of training batches: a :class:`ganvae.data.batches.Feed`.

    What a step sees follows from the seed, the step, the shards and the number of processes. Each
    process goes through its shards at its own pace: an epoch ends for each when it has read them.

    batch: images a step over all processes
    micros: micro-batches a step; sizes that cannot be shared raise ConfigError
    rank, world: which process of how many; fewer shards than processes raise ConfigError
    """

    def __init__(
        self,
        data: Streamed,
        *,
        batch: int,
        seed: int,
        flip: bool = False,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
        micros: int = 1,
    ):
        if batch % (world * micros):
            raise ConfigError(
                f"a batch of {batch} cannot be shared by {world} processes with {micros}"
                f" micro-batches each; choose training.batch as a multiple of {world * micros}"
            )
        if len(data.shards) < world:
            raise ConfigError(
                f"{len(data.shards)} shards cannot be shared by {world} processes: write the"
                f" images of {data.path} into more shards, or start fewer processes"
            )
        self.data, self.batch, self.seed, self.flip = data, batch, seed, flip
        self.device, self.rank, self.world = torch.device(device), rank, world
        self.notes: list[str] = []
        row = data.how.height * data.how.width * (data.how.channels or 1)
        self.local_batch = batch // world
        self.steps = max(1, min(BLOCK, BLOCK_BYTES // row) // self.local_batch)
        self._begin = 0
        self._marks: dict[int, list[Mark]] = {0: [(0, 0, 0)] * world}
        self._blocks: dict[int, _Block] = {}
        self._reader: _Ahead | None = None

    def at(
        self, step: int, *, rank: int = 0, world: int = 1, micro: int = 0, micros: int = 1
    ) -> Batch:
        """This process's part of a step's global batch, or one micro-batch of it.

        rank, world: say nothing; a process has no part but its own. Raises DataError.
        """
        block, offset = divmod(step - self._begin, self.steps)
        size = self.local_batch // micros
        first = offset * self.local_batch + micro * size
        images, places = self._block(block), slice(first, first + size)
        selection, rows = images.select(places), images.order[places]
        if self.flip:
            selection.mirrored[:] = selection.numbers(self.seed, _FLIP) >> np.uint64(63) == 1
        pixels = mirror(images.pixels[rows], selection)
        image = to_float(torch.from_numpy(pixels).to(self.device))
        part = self.rank * self.local_batch + micro * size
        noise = Noise(
            self.seed, step, total=self.batch, rows=slice(part, part + size), device=self.device
        )
        source = None
        if self.data.origin is not None:
            source = self.data.origin(image, selection.numbers(self.seed, _SOURCE))
            source = source.contiguous(memory_format=torch.channels_last)
        label = None
        if self.data.classes:
            label = torch.from_numpy(images.labels[rows]).to(self.device)
        return Batch(image=image, noise=noise, label=label, source=source)

    # -- where the processes are -----------------------------------------------------------------

    def meet(self, step: int, agree: Agree) -> None:
        """Lets every process know where the next block of each begins.

        All processes call this before each step; what is exchanged is in :meth:`state`.
        """
        block, offset = divmod(step - self._begin, self.steps)
        if offset or block + 1 in self._marks:
            return
        slots = np.zeros((self.world, 3))
        slots[self.rank] = self._block(block).after
        places = np.reshape(agree(*slots.ravel().tolist()), (self.world, 3)).astype(int).tolist()
        self._marks = {n: self._marks[n] for n in (block,) if n in self._marks}
        self._marks[block + 1] = [(e, g, i) for e, g, i in places]

    def state(self) -> dict[str, Any]:
        """The positions of all processes, JSON-able, for :meth:`restore`."""
        marks = {str(block): [list(mark) for mark in all_] for block, all_ in self._marks.items()}
        return self._identity() | {"begin": self._begin, "marks": marks}

    def _identity(self) -> dict[str, Any]:
        shards = blake2b("".join(shard.digest for shard in self.data.shards).encode())
        return {
            "world": self.world,
            "own": self.local_batch,
            "steps": self.steps,
            "seed": self.seed,
            "shards": shards.hexdigest()[:32],
        }

    def restore(self, state: Mapping[str, Any] | None, step: int, agree: Agree) -> bool:
        """Goes on where :meth:`state` was taken; begins anew at this step without one.

        Returns whether the order of the images goes on: on all processes, or on none. It does not
        where the number of processes, the batch or the shards are others.
        """
        goes_on = self._restore(state, step)
        if agree(float(not goes_on))[0] and goes_on:
            goes_on = self._restore(None, step)
        return goes_on

    def _restore(self, state: Mapping[str, Any] | None, step: int) -> bool:
        self.close()
        goes_on = state is not None and self._identity().items() <= dict(state).items()
        self._begin, self._marks = step, {0: [(0, 0, 0)] * self.world}
        if state is not None and goes_on:
            self._begin = state["begin"]
            self._marks = {
                int(block): [(e, g, i) for e, g, i in marks]
                for block, marks in state["marks"].items()
            }
        return goes_on

    def close(self) -> None:
        """Ends reading ahead."""
        if self._reader:
            self._reader.close()
        self._reader, self._blocks = None, {}

    # -- blocks ----------------------------------------------------------------------------------

    def _block(self, number: int) -> _Block:
        """A block, read from the nearest earlier block whose beginning is known."""
        if number in self._blocks:
            return self._blocks[number]
        if self._reader is None or self._reader.next > number:
            self.close()
            start = max(block for block in self._marks if block <= number)
            mark = self._marks[start][self.rank]
            self._reader = _Ahead(_Shuffled(self, self.steps * self.local_batch), mark, start)
        while self._reader.next <= number:
            self._blocks.clear()
            at = self._reader.next
            self._blocks[at] = self._reader.take()
        return self._blocks[number]


@dataclass(frozen=True)
class _Block:
    """Images that were shuffled with each other.

    pixels: uint8 (B, H, W, C) in the order they were read; ``order`` (B,) says the other one
    keys: which image of which shard; epochs, labels: int64 (B,) too
    after: where the next block begins
    """

    pixels: np.ndarray
    keys: np.ndarray
    epochs: np.ndarray
    labels: np.ndarray
    order: np.ndarray
    after: Mark

    def select(self, which: slice) -> Selection:
        """The images at some places of the shuffled order."""
        rows = self.order[which]
        return Selection(self.keys[rows], self.epochs[rows], np.zeros(len(rows), np.bool_))


@dataclass(frozen=True, kw_only=True)
class _Read(Item):
    """An image, where the one after it is, and which one of which shard it is."""

    after: Mark
    key: int


class _Shuffled:
    """The images of one process, shuffled in blocks."""

    def __init__(self, batches: StreamBatches, size: int):
        self._data, self._size = batches.data, size
        self._seed, self._rank, self._world = batches.seed, batches.rank, batches.world
        self._numbers = {name: number for number, name in enumerate(self._data.classes)}
        self._examples: deque[str] = deque(maxlen=5)
        self._good = self._bad = 0
        # epochs without an image before it gives up: a process may have few shards, all empty
        self._patience = 1 if self._world == 1 else PATIENCE
        self.stop = threading.Event()

    def blocks(self, mark: Mark) -> Generator[_Block, None, None]:
        """Blocks from a place on, without end unless they are stopped. Raises DataError."""
        how = self._data.how
        images = self._images(mark)
        while True:
            pixels = np.empty((self._size, how.height, how.width, how.channels or 1), np.uint8)
            keys, epochs, labels = (np.empty(self._size, np.int64) for _ in range(3))
            item = None
            for row, (item, image) in enumerate(islice(images, self._size)):
                pixels[row], labels[row] = image, self._label(item)
                keys[row], epochs[row] = item.key, item.after[0]
            if self.stop.is_set() or item is None:
                return
            yield _Block(pixels, keys, epochs, labels, self._order(keys, epochs), item.after)

    def _order(self, keys: np.ndarray, epochs: np.ndarray) -> np.ndarray:
        """Shuffled within each epoch, and one epoch after the other."""
        selection = Selection(keys, epochs, np.zeros(len(keys), np.bool_))
        return np.lexsort((selection.numbers(self._seed, _ORDER), epochs))

    def _label(self, item: _Read) -> int:
        if not self._numbers:
            return -1
        if item.label not in self._numbers:
            raise DataError(
                f"{item.name} in {self._data.path} is of class {item.label}, which no image that"
                " was looked at before has; spread the classes over the shards, or leave out"
                " data.stream"
            )
        return self._numbers[item.label]

    def _images(self, mark: Mark) -> Iterator[tuple[_Read, np.ndarray]]:
        """Prepared training images from a place on, in the order they are read."""
        epoch, channels = mark[0], self._data.how.channels
        for item, outcome in prepare_all(self._raw(mark), self._data.how, self._data.decoders()):
            assert isinstance(item, _Read)
            if item.after[0] > epoch + self._patience:
                raise DataError(f"no image of {self._data.path} can be trained on")
            if isinstance(outcome, Bad):
                self._refuse(item, outcome)
                continue
            self._good += 1
            if item.split is None and key_of(content_hash(outcome.pixels)) < self._data.held_out:
                continue
            epoch = item.after[0]
            grey = outcome.pixels.shape[2] < (channels or 1)
            yield item, np.repeat(outcome.pixels, 3, 2) if grey else outcome.pixels

    def _refuse(self, item: Item, why: Bad) -> None:
        """Counts an image that cannot be read. Raises DataError for too many of them."""
        self._examples.append(f"{item.name} ({why})")
        self._bad += 1
        bad, total = self._bad, self._bad + self._good
        if total >= 1000 and bad > self._data.max_bad * total:
            raise DataError(
                f"{bad:,} of the last {total:,} images in {self._data.path} cannot be read:"
                f" {'; '.join(self._examples)}; mend or remove them, or allow this share with"
                f" data.max_bad (now {self._data.max_bad:g})"
            )

    def _raw(self, mark: Mark) -> Iterator[_Read]:
        """Encoded images of this process's shards from a place on, epoch after epoch."""
        epoch, first, skip = mark
        empty = 0
        while True:
            any_image = bool(first or skip)
            places = self._own_shards(epoch)
            for group in range(first, -(-len(places) // AT_ONCE)):
                mine = places[group * AT_ONCE : (group + 1) * AT_ONCE]
                readers = together([self._data.shards[n] for n in mine], self.stop)
                for number, (place, index, item) in enumerate(readers):
                    any_image = True
                    if number >= skip:
                        yield _Read(
                            name=item.name, image=item.image, label=item.label, split=item.split,
                            after=(epoch, group, number + 1), key=mine[place] << 32 | index,
                        )  # fmt: skip
                if self.stop.is_set():
                    return
                skip = 0
            empty = 0 if any_image else empty + 1
            if empty == self._patience:
                raise DataError(f"the shards of {self._data.path} hold no images")
            epoch, first = epoch + 1, 0

    def _own_shards(self, epoch: int) -> list[int]:
        """Places of this process's shards in an epoch."""
        order = shuffled(len(self._data.shards), self._seed, epoch)
        return order[self._rank :: self._world]


class _Ahead:
    """Reads the next block in a thread while the last one is used.

    next: number of the block that :meth:`take` returns
    """

    def __init__(self, images: _Shuffled, mark: Mark, number: int):
        self.next, self._stop, self._blocks = number, images.stop, images.blocks(mark)
        self._thread = ThreadPoolExecutor(1)
        self._coming: Future[_Block] = self._thread.submit(next, self._blocks)

    def take(self) -> _Block:
        """The next block. Raises DataError."""
        block = self._coming.result()
        self._coming = self._thread.submit(next, self._blocks)
        self.next += 1
        return block

    def close(self) -> None:
        """Stops at the next image, and ends the decoding processes."""
        self._stop.set()
        self._thread.shutdown()
        self._blocks.close()
