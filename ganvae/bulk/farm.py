"""Workers: units of work to finished parts, by actors of Ray Data or in this process."""

from __future__ import annotations

import json
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from ganvae import errors
from ganvae.bulk.parts import Done, Part, begin, conclude, is_concluded, need, refuse_foreign, save
from ganvae.bulk.units import Piece
from ganvae.errors import ConfigError, DataError, GanvaeError
from ganvae.models import Model, load
from ganvae.models.directory import CONFIG
from ganvae.models.hub import locate
from ganvae.progress import Progress
from ganvae.training.lock import RunLock

BLOCKS = 4096
"""Units of work are handed to the actors in at most so many lots."""
Work = Callable[[Piece], tuple[Any, list[tuple[str, str]]]]
"""A piece to the table of its part, and what was skipped."""


@dataclass(frozen=True, kw_only=True)
class Job(ABC):
    """The work of a bulk task. It is sent to the workers, so it names the model's place, and
    does not hold the model.

    model: its directory, a run's, or a Hub id
    digest: of the model, see :func:`digest_of`
    device: where a worker's model goes
    """

    model: str
    digest: str
    device: str = "cpu"

    @abstractmethod
    def read(self, unit: bytes) -> Iterator[Piece]:
        """The pieces of a unit; needs no model."""

    @abstractmethod
    def begin(self) -> Work:
        """Loads the model; what is returned is called for every piece."""

    def loaded(self) -> Model:
        """The model. Raises ConfigError where it is not the one that the task began with."""
        if digest_of(self.model) != self.digest:
            raise ConfigError(f"the model {self.model} is not the same on all machines")
        return load(self.model, device=self.device)


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Who does the work.

    actors: workers, each with a model of its own and one thread; unset: one for each GPU that the
        cluster has, else for each CPU. 0: this process alone, without Ray
    gpus: of an actor; unset: 1 where the cluster has some
    """

    actors: int | None = None
    gpus: float | None = None


def place_of(model: str | Path) -> str:
    """Where workers find a model: an absolute path, or a Hub id."""
    local = Path(model).expanduser()
    return str(local.resolve()) if local.exists() else str(model)


def digest_of(model: str) -> str:
    """Digest of a model's description, which holds that of its weights."""
    return sha256((locate(model) / CONFIG).read_bytes()).hexdigest()


def carry_out(
    job: Job,
    out: Path,
    manifest: Mapping[str, Any],
    units: Callable[[Mapping[str, Part]], Sequence[bytes]],
    crew: Crew,
    tell: Callable[[int], None],
) -> Done:
    """Makes the parts of a task that are missing.

    units: a function of the finished parts: the units still to be done
    tell: called with the images so far
    Raises BusyError where another process works in the folder, DataError for no images at all,
    and whatever goes wrong in a worker; finished parts stay.
    """
    out = out.expanduser().resolve()
    refuse_foreign(out)
    with RunLock(out):
        parts = begin(out, manifest)
        old = len(parts)
        if not is_concluded(out, parts):
            todo = units(parts)
            images = sum(part.rows for part in parts.values())
            with closing(_parts(job, todo, out, crew)) as finished:
                for part in finished:
                    images += part.rows
                    parts[part.name] = part
                    tell(images)
        if not any(part.rows for part in parts.values()):
            why = [f"; the first one, {n}, is {w}" for p in parts.values() for n, w in p.skipped]
            raise DataError(f"there are no images that can be read{''.join(why[:1])}")
        return conclude(out, manifest, parts, len(parts) - old)


def cut(n: int, part: int) -> Iterator[tuple[str, int]]:
    """The parts of n images: name, and number of the first image."""
    return ((f"part-{i:06d}", at) for i, at in enumerate(range(0, n, part)))


def unfinished(spans: Sequence[Mapping[str, Any]]) -> Callable[[Mapping[str, Part]], list[bytes]]:
    """A function of the finished parts: the spans of the other parts, as units."""
    return lambda parts: [json.dumps(s).encode() for s in spans if s["part"] not in parts]


def ticker(progress: Progress | None, what: str, total: int | None) -> Callable[[int], None]:
    """``progress`` as a function of the images done alone."""
    return lambda done: progress(what, done, total) if progress else None


def _parts(job: Job, units: Sequence[bytes], out: Path, crew: Crew) -> Generator[Part, None, None]:
    if units:
        yield from (_in_process if crew.actors == 0 else _by_actors)(job, units, out, crew)


def _in_process(job: Job, units: Sequence[bytes], out: Path, crew: Crew) -> Iterator[Part]:
    work = replace(job, device="cuda" if crew.gpus else job.device).begin()
    for unit in units:
        for piece in job.read(unit):
            yield _finish(piece, work, out)


def _finish(piece: Piece, work: Work, out: Path) -> Part:
    table, skipped = work(piece)
    return save(out, Part(piece.part, table.num_rows, skipped, piece.last), table)


# -- Ray ---------------------------------------------------------------------------------------


class Actor:
    """A worker that Ray Data starts once and gives one piece after the other."""

    def __init__(self, job: Job, out: str):
        self.job, self.out = job, Path(out)
        self._work: Work | None = None

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, list[bytes]]]:
        """Finishes the pieces of a batch and reports their parts, or what went wrong."""
        try:
            for message in batch["told"]:
                if "error" in json.loads(message):
                    yield {"report": [message]}
                    return
            if self._work is None:
                torch.set_num_threads(1)
                self._work = self.job.begin()
            for piece in Piece.unpack(batch):
                part = asdict(_finish(piece, self._work, self.out))
                yield {"report": [json.dumps(part).encode("ascii")]}
        except GanvaeError as error:
            yield {"report": [_wrong(error)]}


def _pieces(batch: Mapping[str, Any], job: Job) -> Iterator[dict[str, list[bytes]]]:
    """Reads units into pieces for the actors; Ray Data runs it on CPUs."""
    torch.set_num_threads(1)
    try:
        for unit in batch["unit"]:
            for piece in job.read(unit):
                yield piece.pack()
    except GanvaeError as error:
        yield {"told": [_wrong(error)], "pixels": [b""]}


def _wrong(error: GanvaeError) -> bytes:
    """An error as a report: Ray would extend the text of one that an actor raises, and go on."""
    return json.dumps({"error": [type(error).__name__, str(error)]}).encode("ascii")


def _by_actors(job: Job, units: Sequence[bytes], out: Path, crew: Crew) -> Iterator[Part]:
    ray, data = need("ray"), need("ray.data")
    with _connected(ray), _quiet(data):
        pool, options, device = _pool(ray, data, crew)
        job = replace(job, device=device)
        rows = [{"unit": unit} for unit in units]
        plan = (
            data.from_items(rows, override_num_blocks=min(len(rows), BLOCKS))
            .map_batches(_pieces, fn_args=(job,), batch_size=1)
            .map_batches(
                Actor, fn_constructor_args=(job, str(out)), batch_size=1, compute=pool, **options
            )
        )
        report: dict[str, Any] = {}
        with closing(iter(plan.iter_batches(batch_size=1, prefetch_batches=0))) as reports:
            for batch in reports:
                report = json.loads(batch["report"][0])
                if "error" in report:
                    break
                yield Part(**report | {"skipped": [(n, w) for n, w in report["skipped"]]})
        if "error" in report:
            kind, words = report["error"]
            raise getattr(errors, kind)(words)


def _pool(ray: Any, data: Any, crew: Crew) -> tuple[Any, dict[str, float], str]:
    """Ray's actor pool, what each actor takes up, and the device of its model."""
    have = ray.cluster_resources()
    gpus = crew.gpus if crew.gpus is not None else float(have.get("GPU", 0) >= 1)
    if gpus > have.get("GPU", 0):
        raise ConfigError(
            f"actors of {gpus:g} GPUs were asked for, Ray has {have.get('GPU', 0):g}"
        )
    room = int(have["GPU"] / gpus if gpus else have.get("CPU", 1))
    actors = crew.actors if crew.actors is not None else max(1, room)
    if actors < 1:
        raise ConfigError(f"the number of actors must be 0 or more, got {actors}")
    # at the start as many as there is room for; the rest when the cluster grows
    first = max(1, min(actors, room))
    pool = data.ActorPoolStrategy(
        min_size=1, initial_size=first, max_size=actors, max_tasks_in_flight_per_actor=2
    )
    return pool, {"num_gpus": gpus} if gpus else {}, "cuda" if gpus else "cpu"


@contextmanager
def _connected(ray: Any) -> Iterator[None]:
    """The cluster in use, or that of RAY_ADDRESS, or this machine for as long as it is needed."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage reports
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _quiet(data: Any) -> Iterator[None]:
    """Without Ray Data's own reports: ours are shown, and errors come as exceptions."""
    context, logger = data.DataContext.get_current(), logging.getLogger("ray.data")
    bars, level = context.enable_progress_bars, logger.level
    context.enable_progress_bars = False
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        context.enable_progress_bars = bars
        logger.setLevel(level)
