"""``ganvae train``: one training, or a tournament of several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ganvae.cli import Terminated
from ganvae.cli.options import SOURCES, Group, Overrides, Threads
from ganvae.cli.printing import tell

if TYPE_CHECKING:
    from ganvae.cli.live import Tracker
    from ganvae.progress import Display

Data = Annotated[str | None, Parameter(help=f"Images: {SOURCES}; unset: 5,000 digits.")]


@dataclass(frozen=True, kw_only=True)
class Options(Group):
    """What is asked for most, and where the run lies."""

    size: int | None = None
    """Height and width in pixels (data.size)."""
    budget: str | None = None
    """How long: 40s, 30m, 2h, 500kimg or 300steps (training.budget)."""
    objective: str | None = None
    """What is trained; `ganvae objectives` lists them. Several, as in vae,gan: each for the whole
    budget, one after the other, compared on a page."""
    task: str | None = None
    """generate, complete (fill in holes) or translate (from DIR/source to DIR/target); unset: as
    the objective has it (data.task)."""
    from_: Annotated[str | None, Parameter(name="--from")] = None
    """What a translation starts from, made of the images themselves: low_resolution, grey, noise
    or edges (data.origin)."""
    seed: int | None = None
    """Seed of everything random (training.seed)."""
    out: Path | None = None
    """The run's directory; unset: runs/OBJECTIVE-DATA-NUMBER."""
    resume: bool = False
    """Continue the run (or the several) in --out from its last checkpoint, with its settings."""
    begin: bool = False
    """With --resume: begin the run where there is nothing to resume yet, as a job that is started
    again and again needs it."""
    config: Path | None = None
    """A YAML file of settings."""
    threads: Threads = None
    """CPU threads of a process (training.threads); unset: all cores, shared out."""
    dry_run: bool = False
    """Print the complete configuration and stop."""
    json: bool = False
    """Print the outcome as JSON."""


def train(data: Data = None, /, *, options: Options = Options(), overrides: Overrides) -> int:
    """Train a model on images, judge it on held-out ones, and write a report.

    Every setting below can be given as --section.field VALUE; they win over --config FILE.
    """
    from ganvae.runs import tournament

    settings = _shortcuts(data, options) | overrides
    objective = options.objective
    if "," in (objective or "") or (
        options.resume and not objective and tournament.is_one(options.out)
    ):
        names = [name.strip() for name in (objective or "").split(",") if name.strip()]
        return _train_several(names, settings, options)
    return _train_one(
        settings if objective is None else settings | {"objective": objective}, options
    )


def _shortcuts(data: str | None, options: Options) -> dict[str, Any]:
    """The settings that have a short option."""
    shortcuts = {
        "data.path": data,
        "data.size": options.size,
        "training.budget": options.budget,
        "data.task": options.task or (None if options.from_ is None else "translate"),
        "data.origin": options.from_,
        "training.seed": options.seed,
        "training.threads": options.threads,
    }
    return {name: value for name, value in shortcuts.items() if value is not None}


def _train_one(settings: Mapping[str, Any], options: Options) -> int:
    from ganvae.cli.outcome import code_of, tell_run
    from ganvae.config import dump
    from ganvae.runs.run import is_first, rehearse, start
    from ganvae.runs.settings import settle

    resume = options.resume
    config, folder = settle(
        settings, base=options.config, out=options.out, resume=resume, begin=options.begin
    )
    if options.dry_run:
        rehearse(config, folder, resume)
        tell(*dump(config).splitlines())
        return 0
    with _training(folder) as (display, progress):
        run = start(config, folder, resume=resume, display=display, progress=progress)
    return tell_run(run, options.json) if is_first() else code_of(run)


def _train_several(names: Sequence[str], settings: Mapping[str, Any], options: Options) -> int:
    from ganvae.cli.outcome import tell_tournament
    from ganvae.config import dump
    from ganvae.runs import tournament
    from ganvae.runs.run import rehearse

    resume = options.resume
    configs, folder = tournament.settle(
        names, settings, base=options.config, out=options.out, resume=resume, begin=options.begin
    )
    if options.dry_run:
        for name, config in configs.items():
            rehearse(config, folder / name, resume)
        tell(*"---\n".join(map(dump, configs.values())).splitlines())
        return 0
    with _training(folder) as (display, progress):
        result = tournament.run(configs, folder, resume=resume, display=display, progress=progress)
    return tell_tournament(result, options.json)


@contextmanager
def _training(folder: Path) -> Iterator[tuple[Display | None, Tracker | None]]:
    """The displays of the first process; an error that stops it says how to resume."""
    from ganvae.cli.console import console
    from ganvae.cli.live import Tracker, display
    from ganvae.cli.outcome import again, judge
    from ganvae.runs.place import is_begun
    from ganvae.runs.run import is_first

    if not is_first():
        yield None, None
        return
    try:
        with Tracker(console()) as progress:
            yield display(), progress
    except (KeyboardInterrupt, Terminated) as error:
        if (folder / "model").exists() and not (folder / "evaluation.json").exists():
            text = f"stopped; the training is done, and judged with: {judge(folder)}"
            raise type(error)(text) from error
        if is_begun(folder) or any(map(is_begun, folder.glob("*/"))):
            raise type(error)(f"stopped; continue with: {again(folder)}") from error
        raise
