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
"""Images read at most to find these, as a multiple of their number."""
AT_ONCE = 16
"""Shards that are read at once."""


class Sample(Source):
    """Images from many shards, some of them held out, which are packed in place of all."""

    kind = "sample"

    def __init__(self, shards: Shards, how: Preparation, share: float, workers: int | None):
        check_share(share)
        self.shards, self.path, self.identity = shards, shards.path, shards.identity
        self._how, self._share, self._workers = how, share, workers

    def index(self) -> Index:
        """The shards' index, with the sample's size in its digest."""
        index = self.shards.index()
        size = f"{SAMPLE}-{LOOKED_AT}-{limit(self._share):x}"
        return replace(index, digest=f"{index.digest}-{size}")

    def items(self, index: Index) -> Iterator[Item]:
        """Prepared images, until there are enough on both sides or no more."""
        counts, complete = {True: 0, False: 0}, False
        parts = [[s for s in self.shards.shards if s.split == kind] for kind in SPLITS]
        for part in filter(None, parts):
            sides = {True, False} if part[0].split is None else {part[0].split == "test"}
            candidates = islice(self._spread(part), SAMPLE * LOOKED_AT)
            for item, outcome in prepare_all(candidates, self._how, self._workers):
                if isinstance(outcome, Bad):
                    if not complete:  # later ones do not count, as later good images do not
                        yield replace(item, image=outcome)
                    continue
                held_out = item.split == "test"
                if item.split is None:
                    held_out = key_of(content_hash(outcome.pixels)) < limit(self._share)
                complete = complete or counts[held_out] == SAMPLE
                if counts[held_out] < SAMPLE:
                    counts[held_out] += 1
                    yield replace(item, image=outcome)
                if all(counts[side] == SAMPLE for side in sides):
                    break

    def _spread(self, shards: list[Shard]) -> Iterator[Item]:
        """Images from many shards, wherever in the set these are."""
        order = shuffled(len(shards), 0)
        return self.shards.read([shards[place] for place in order], AT_ONCE)

    def classes(self) -> list[str] | None:
        """Their names where Parquet files have them."""
        return self.shards.classes()

    def unused(self) -> dict[str, int]:
        """Files passed over in the shards, a count for each kind."""
        return self.shards.unused()
