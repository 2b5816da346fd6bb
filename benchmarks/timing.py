"""The clock of all races, calls that take turns, and memory."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Watch:
    """Seconds of wall time, and of processor time with that of ended child processes."""

    wall: float = 0.0
    cpu: float = 0.0

    @staticmethod
    def now() -> Watch:
        """The clocks' present values."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = time.process_time() + ended.ru_utime + ended.ru_stime
        return Watch(time.perf_counter(), cpu)

    @staticmethod
    def of(call: Callable[[], object]) -> Watch:
        """The time of a call."""
        start = Watch.now()
        call()
        return Watch.now() - start

    def __sub__(self, other: Watch) -> Watch:
        return Watch(self.wall - other.wall, self.cpu - other.cpu)

    def __add__(self, other: Watch) -> Watch:
        return Watch(self.wall + other.wall, self.cpu + other.cpu)


def turns(
    calls: Mapping[str, Callable[[], object]], rounds: int, warm: int = 1
) -> dict[str, list[Watch]]:
    """The times of each call in each round, A B A B; ``warm`` rounds before do not count."""
    times: dict[str, list[Watch]] = {name: [] for name in calls}
    for _ in range(warm + rounds):
        for name, call in calls.items():
            times[name].append(Watch.of(call))
    return {name: watches[warm:] for name, watches in times.items()}


def median(times: Iterable[Watch], clock: str = "wall") -> float:
    """The median time by a clock, "wall" or "cpu"."""
    return statistics.median(getattr(watch, clock) for watch in times)


def share(a: Sequence[Watch], b: Sequence[Watch], clock: str = "wall") -> float:
    """The time of ``a`` over that of ``b``: the median over rounds."""
    pairs = zip(a, b, strict=True)
    return statistics.median(getattr(x, clock) / max(getattr(y, clock), 1e-9) for x, y in pairs)


def both(name: str, a: Sequence[Watch], b: Sequence[Watch], digits: int = 4) -> dict[str, float]:
    """The time of ``a`` over that of ``b`` by both clocks: ``NAME`` and ``NAME_cpu``."""
    return {name: round(share(a, b), digits), f"{name}_cpu": round(share(a, b, "cpu"), digits)}


def memory() -> dict[str, float]:
    """Present and peak memory of this process in MB."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    status = dict(line.split(":", 1) for line in text.splitlines())
    current, most = (int(status[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))
    return {"resident_mb": current, "peak_mb": most}
