"""A figure with everything it was measured by, and the record of an evaluation's figures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from ganvae import config
from ganvae.metrics import cache
from ganvae.metrics.allowance import Allowance
from ganvae.metrics.judge import Judge
from ganvae.metrics.protocols import Data, Images, Model
from ganvae.progress import Progress

Better = Literal["lower", "higher"]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number and what it means. ``value`` is None where ``note`` says why it has none.

    error: its standard error, or the spread that ``note`` names
    judge, resize: of the features it was measured in; None for pixels and likelihoods
    """

    name: str
    value: float | None
    better: Better
    split: str
    note: str = ""
    error: float | None = None
    judge: str | None = None
    resize: str | None = None
    n_generated: int | None = None
    n_heldout: int | None = None
    n_train: int | None = None
    seed: int = 0
    seconds: float = 0.0


def finite(value: float | None) -> float | None:
    """The value, or None for none, NaN and infinities, which JSON does not have."""
    return None if value is None or not math.isfinite(value) else float(value)


@dataclass
class Record:
    """An evaluation under way: what its parts share, and the figures they leave.

    flip: whether the training mirrored its images
    """

    model: Model
    data: Data
    judge: Judge
    settings: config.Evaluation
    seed: int
    progress: Progress
    cache: Path | None
    flip: bool = False
    allowance: Allowance = field(default_factory=Allowance)
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    reference: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def n(self) -> int:
        """Images on each side of a comparison."""
        return min(self.settings.samples, len(self.data.test))

    @property
    def split(self) -> str:
        """Which images are judged by: "held-out" ones, or "all" where none is trained on."""
        return "held-out" if len(self.data.train) else "all"

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Figures added inside carry the seconds it took."""
        start = time.perf_counter()
        before = {id(part): set(part) for part in (self.figures, self.reference)}
        yield
        for part in (self.figures, self.reference):
            for key in set(part) - before[id(part)]:
                part[key]["seconds"] = round(time.perf_counter() - start, 3)

    def add(self, key: str, *, reference: bool = False, **fields: Any) -> None:
        """Record a figure; what is not a finite number becomes None."""
        fields["value"], fields["error"] = finite(fields["value"]), finite(fields.get("error"))
        figure = Figure(split=self.split, seed=self.seed, **fields)
        (self.reference if reference else self.figures)[key] = asdict(figure)

    def add_mean(self, key: str, values: Tensor, **fields: Any) -> None:
        """Record the mean over images (N,), with its standard error; no value where N = 0."""
        n = len(values)
        error = float(values.std() / n**0.5) if n > 1 else None
        self.add(key, value=float(values.mean()), error=error, n_heldout=n or None, **fields)

    def labels(self) -> dict[str, str]:
        """Judge and resize, for a figure."""
        return {"judge": self.judge.name, "resize": self.judge.resize}

    def ticker(self, name: str, total: int) -> Callable[[int], None]:
        """A progress function of one count."""
        return lambda done: self.progress(name, done, total)

    def real(self, images: Images, numbers: np.ndarray, name: str) -> Tensor:
        """Features of real images, from the cache if it has them."""
        tick = self.ticker(name, len(numbers))
        return cache.features(images, self.judge, numbers, cache=self.cache, progress=tick)

    def derived(
        self,
        name: str,
        of: Sequence[tuple[Images, np.ndarray]],
        compute: Callable[[], dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        """A result computed from features of real images alone, see :func:`cache.derived`."""
        return cache.derived(name, of, self.judge, compute, cache=self.cache)
