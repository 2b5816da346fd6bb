"""A sample of shards: what is packed of a set that is too large to be packed whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from ganvae.data.decode import Bad, Preparation
from ganvae.data.shard_files import Shard
from ganvae.data.shards import Shards, shuffled
from ganvae.data.sources import Index, Source
from ganvae.data.split import check_share, key_of, limit
from ganvae.data.store import SPLITS, content_hash
from ganvae.data.workers import Item, prepare_all

SAMPLE = 5_000
"""Held-out images, and training images, that are packed to judge by and to fit priors to."""
LOOKED_AT = 100
"""How many times as many images are looked at to find them."""
AT_ONCE = 16
"""Shards that are read at once."""


class Sample(Source):
    """The first images of shards, some of them held out and some not: what is packed of them."""

    kind = "sample"

    def __init__(self, shards: Shards, how: Preparation, share: float, workers: int | None):
        check_share(share)
        self.shards, self.path, self.identity = shards, shards.path, shards.identity
        self._how, self._share, self._workers = how, share, workers

    def index(self) -> Index:
        """That of the shards."""
        index = self.shards.index()
        size = f"{SAMPLE}-{LOOKED_AT}-{limit(self._share):x}"
        return replace(index, digest=f"{index.digest}-{size}")

    def items(self, index: Index) -> Iterator[Item]:
        """Prepared images, until there are enough on both sides or no more."""
        counts, dropped = {True: 0, False: 0}, False
        parts = [[s for s in self.shards.shards if s.split == kind] for kind in SPLITS]
        for part in filter(None, parts):
            sides = {True, False} if part[0].split is None else {part[0].split == "test"}
            some = islice(self._spread(part), SAMPLE * LOOKED_AT)
            for item, made in prepare_all(some, self._how, self._workers):
                if isinstance(made, Bad):
                    if not dropped:  # or their share would not be that of what is kept
                        yield replace(item, image=made)
                    continue
                held = item.split == "test"
                if item.split is None:
                    held = key_of(content_hash(made.pixels)) < limit(self._share)
                dropped = dropped or counts[held] == SAMPLE
                if counts[held] < SAMPLE:
                    counts[held] += 1
                    yield replace(item, image=made)
                if all(counts[side] == SAMPLE for side in sides):
                    break

    def _spread(self, some: list[Shard]) -> Iterator[Item]:
        """Images from many shards, wherever in the set these are."""
        order = shuffled(len(some), 0)
        return self.shards.read([some[place] for place in order], AT_ONCE)

    def classes(self) -> list[str] | None:
        """Their names where Parquet files have them."""
        return self.shards.classes()

    def unused(self) -> dict[str, int]:
        """What was passed over beside the images that were looked at."""
        return self.shards.unused()
