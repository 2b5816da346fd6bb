"""The command line: thin, and quick to help, because torch waits until a command needs it."""

from __future__ import annotations

import json as jsonlib
import os
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO

from cyclopts import App, CycloptsError, Parameter

from ganvae import __version__
from ganvae.errors import ConfigError, DataError, GanvaeError
from ganvae.options import flat, print_fields, print_help, split, wants_help

if TYPE_CHECKING:
    from ganvae.api import Run
    from ganvae.contest import Tournament
    from ganvae.models import Model
    from ganvae.progress import Tracker
    from ganvae.training.display import Display

USAGE = 78
INTERRUPTED, TERMINATED = 130, 143
_STOPPED = {"SIGINT": INTERRUPTED, "SIGTERM": TERMINATED}

Overrides = Annotated[dict[str, str], Parameter(parse=False)]
Threads = Annotated[int | None, Parameter(env_var="GANVAE_THREADS", show_env_var=True)]
Class = Annotated[str | None, Parameter(name="--class")]
Amounts = Annotated[list[float] | None, Parameter(name="--amount", consume_multiple=True)]

app = App(
    name="ganvae",
    version=__version__,
    help="Train, judge and use hybrids of a VAE and a GAN on your own images.",
    help_format="plaintext",
    help_epilogue=(
        "Exit codes: 0 done, 1 failed, 65 data, 75 busy (try later), 78 configuration, "
        "130 interrupted, 143 terminated. --debug shows the trace of an error."
    ),
)


class Terminated(BaseException):
    """SIGTERM came while nothing needed saving."""


def main() -> NoReturn:
    """The entry point."""
    # read when torch is loaded: threads that wait for each other by spinning keep a busy machine's
    # cores from those they wait for, and a step takes twenty times as long
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    code = run(sys.argv[1:])
    # all is written: an impatient Ctrl-C only ends the tidying up, and leaves the code as it is
    signal.signal(signal.SIGINT, lambda *_: os._exit(code))
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Carries out a command line and returns its exit code; errors become one sentence."""
    debug = "--debug" in arguments
    if not debug:
        warnings.showwarning = _note
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return _dispatch([token for token in arguments if token != "--debug"])
    except KeyboardInterrupt as error:
        return _fail(str(error) or "interrupted", INTERRUPTED, debug)
    except Terminated as error:
        return _fail(str(error) or "terminated", TERMINATED, debug)
    except BrokenPipeError:  # `ganvae objectives | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except GanvaeError as error:
        return _fail(str(error), error.exit_code, debug)
    except CycloptsError as error:
        return _fail(f"{str(error).strip()} (--help lists what there is)", USAGE, debug)
    except OSError as error:
        about = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return _fail(about, 1, debug)
    except ValueError as error:
        return _fail(str(error), 1, debug)
    except Exception as error:
        text = f"{type(error).__name__}: {error} (this is a fault of ganvae; --debug shows more)"
        return _fail(text, 1, debug)


def _note(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Shows what this package warns of; what other packages tell developers needs --debug."""
    from ganvae.progress import plain

    if Path(filename).is_relative_to(Path(__file__).parent):
        print(f"ganvae: note: {plain(str(message))}", file=sys.stderr)


def _terminate(number: int, frame: object) -> NoReturn:
    raise Terminated


def _fail(text: str, code: int, debug: bool) -> int:
    from ganvae.progress import plain

    if debug:
        traceback.print_exc()
    rank = int(os.environ.get("RANK", 0))
    name = f"ganvae (process {rank})" if rank else "ganvae"
    with suppress(OSError, ValueError, AttributeError):  # where nobody listens
        print(f"{name}: {plain(' '.join(text.split()))}", file=sys.stderr, flush=True)
    return code


def _dispatch(tokens: list[str]) -> int:
    rest, overrides = split(tokens)
    if wants_help(rest) or not rest:
        print_help(app, rest)
        return 0
    command, bound, ignored = app.parse_args(rest, print_error=False, exit_on_error=False)
    if overrides and "overrides" not in ignored:
        name = next(iter(overrides))
        raise ConfigError(f"--{name} is no option of this command (--help lists what there is)")
    if "overrides" in ignored:
        bound.arguments["overrides"] = overrides
    result = command(*bound.args, **bound.kwargs)
    return result if isinstance(result, int) else 0


# -- commands -------------------------------------------------------------------------------------


@app.command
def train(
    data: str | None = None,
    /,
    *,
    size: int | None = None,
    budget: str | None = None,
    objective: str | None = None,
    task: str | None = None,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    seed: int | None = None,
    out: Path | None = None,
    resume: bool = False,
    config: Path | None = None,
    threads: Threads = None,
    dry_run: bool = False,
    json: bool = False,
    overrides: Overrides,
) -> int:
    """Train a model on images, judge it on held-out ones, and write a report.

    Every setting below can be given as --section.field VALUE; they win over --config FILE.

    Parameters
    ----------
    data
        Images: a folder, an array file, tar shards, Parquet, or a Hub name; unset: 5,000 digits.
    size
        Height and width in pixels (data.size).
    budget
        How long: 40s, 30m, 2h, 500kimg or 300steps (training.budget).
    objective
        What is trained; `ganvae objectives` lists them. Several, as in vae,gan: each for the
        whole budget, one after the other, compared on a page.
    task
        generate, complete (fill in holes) or translate (from DIR/source to DIR/target); unset: as
        the objective has it (data.task).
    from_
        What a translation starts from, made of the images themselves: low_resolution, grey, noise
        or edges (data.origin).
    seed
        Seed of everything random (training.seed).
    out
        The run's directory; unset: runs/OBJECTIVE-DATA-NUMBER.
    resume
        Continue the run (or the several) in --out from its last checkpoint, with its settings.
    config
        A YAML file of settings.
    threads
        CPU threads of a process (training.threads); unset: all cores, shared out.
    dry_run
        Print the complete configuration and stop.
    json
        Print the outcome as JSON.
    """
    shortcuts = {
        "data.path": data,
        "data.size": size,
        "training.budget": budget,
        "data.task": task or (None if from_ is None else "translate"),
        "data.origin": from_,
        "training.seed": seed,
        "training.threads": threads,
    }
    given: dict[str, Any] = {k: v for k, v in shortcuts.items() if v is not None} | overrides
    from ganvae import contest

    if "," in (objective or "") or (resume and not objective and contest.is_one(out)):
        names = [name.strip() for name in (objective or "").split(",") if name.strip()]
        return _train_several(names, given, out, config, resume, dry_run, json)
    if objective is not None:
        given["objective"] = objective
    return _train_one(given, out, config, resume, dry_run, json)


def _train_one(
    given: Mapping[str, Any],
    out: Path | None,
    config: Path | None,
    resume: bool,
    dry_run: bool,
    json: bool,
) -> int:
    from ganvae import api
    from ganvae.config import dump

    chosen, folder = api.settle(given, start=config, out=out, resume=resume)
    if dry_run:
        print(dump(chosen), end="")
        return 0
    with _training(folder) as (shown, progress):
        run = api.start(chosen, folder, resume=resume, display=shown, progress=progress)
    if not api.is_first():
        return _STOPPED.get(run.status, 0)
    return _tell_run(run, json)


def _train_several(
    names: Sequence[str],
    given: Mapping[str, Any],
    out: Path | None,
    config: Path | None,
    resume: bool,
    dry_run: bool,
    json: bool,
) -> int:
    from ganvae import contest
    from ganvae.config import dump

    chosen, folder = contest.settle(names, given, start=config, out=out, resume=resume)
    if dry_run:
        print("---\n".join(map(dump, chosen.values())), end="")
        return 0
    with _training(folder) as (shown, progress):
        done = contest.run(chosen, folder, resume=resume, display=shown, progress=progress)
    return _tell_tournament(done, json)


@contextmanager
def _training(folder: Path) -> Iterator[tuple[Display | None, Tracker | None]]:
    """What shows the progress, in the first process; who stops it is told how to go on."""
    from ganvae import api
    from ganvae.progress import Tracker, console, display

    if not api.is_first():
        yield None, None
        return
    try:
        with Tracker(console()) as progress:
            yield display(), progress
    except (KeyboardInterrupt, Terminated) as error:
        if api.is_begun(folder) or any(map(api.is_begun, folder.glob("*/"))):
            raise type(error)(f"stopped; continue with: {_again(folder)}") from error
        raise


@app.command
def evaluate(
    model: str,
    /,
    *,
    data: str | None = None,
    device: str = "auto",
    threads: Threads = None,
    json: bool = False,
    overrides: Overrides,
) -> None:
    """Judge a model on held-out images.

    A run that is judged on its own images has its evaluation.json and report.html renewed.

    Parameters
    ----------
    model
        A run's directory, a model's directory, or a Hub id.
    data
        Images to judge it on; unset: those that the run was trained on.
    device
        auto, cpu, cuda or mps.
    threads
        CPU threads; unset: all cores.
    json
        Print the scores as JSON.
    """
    from ganvae import api
    from ganvae.progress import Tracker, console

    api.use_threads(threads)
    with Tracker(console()) as progress:
        scores = api.evaluate(model, data, settings=overrides, device=device, progress=progress)
    _tell_scores(scores, json)


@app.command
def compare(
    *runs: str,
    out: Path = Path("comparison.html"),
    seed: int = 0,
    device: str = "auto",
    threads: Threads = None,
    json: bool = False,
) -> None:
    """Show several runs side by side on one self-contained page.

    Their scores, samples of the same seed, reconstructions of the same held-out images, curves,
    and what differs between their settings.

    Parameters
    ----------
    runs
        The runs' directories.
    out
        The page.
    seed
        Of the samples, the same for every run.
    device
        auto, cpu, cuda or mps.
    threads
        CPU threads; unset: all cores.
    json
        Print which file was written as JSON.
    """
    from ganvae import api
    from ganvae.progress import Tracker, console

    api.use_threads(threads)
    with Tracker(console()) as progress:
        page = api.compare(runs, out, seed=seed, device=device, progress=progress)
    _tell_files([page], json)


@app.command
def generate(
    model: str,
    /,
    *,
    n: int = 64,
    label: Class = None,
    like: str | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    prior: str | None = None,
    truncation: float | None = None,
    out: Path = Path("samples.png"),
    device: str = "auto",
    threads: Threads = None,
    json: bool = False,
) -> None:
    """Make new images.

    Parameters
    ----------
    model
        A run's directory, a model's directory, or a Hub id.
    n
        How many.
    label
        Only of this class, by name or number, where the model knows classes.
    like
        An image file: new ones around it, from its posterior.
    seed
        Image i of a seed is always the same.
    temperature
        Below 1: more typical, less various; with --like closer to it.
    prior
        What z is drawn from: normal, mixture or flow; unset: the one chosen after training.
    truncation
        The normal numbers that z is made of stay within so many standard deviations: the smaller,
        the more typical and less various.
    out
        A .png for one grid, else a folder of single images.
    device
        auto, cpu, cuda or mps.
    threads
        CPU threads; unset: all cores.
    json
        Print which files were written as JSON.
    """
    from ganvae import tasks

    with _loaded(model, device, threads) as (ready, progress):
        files = tasks.generate(
            ready,
            n,
            out,
            label=label,
            like=like,
            seed=seed,
            temperature=temperature,
            prior=prior,
            truncation=truncation,
            progress=progress,
        )
    _tell_files(files, json)


@app.command
def reconstruct(
    model: str,
    images: str,
    /,
    *,
    n: int | None = None,
    label: Class = None,
    seed: int | None = None,
    out: Path = Path("reconstructions.png"),
    device: str = "auto",
    threads: Threads = None,
    json: bool = False,
) -> None:
    """Encode images and decode them again.

    Parameters
    ----------
    model
        A run's directory, a model's directory, or a Hub id.
    images
        An image file, a folder, or anything else that can be trained on.
    n
        Only the first n images; unset: all, 32 for a grid.
    label
        The class of all images, for a model of classes; unset: their sub-folders' names.
    seed
        From a sample of the posterior; unset: from its mean.
    out
        A .png for one grid, originals above reconstructions, else a folder of single images.
    device
        auto, cpu, cuda or mps.
    threads
        CPU threads; unset: all cores.
    json
        Print which files were written as JSON.
    """
    from ganvae import tasks

    with _loaded(model, device, threads) as (ready, progress):
        files = tasks.reconstruct(
            ready, images, out, label=label, n=n, seed=seed, progress=progress
        )
    _tell_files(files, json)


@app.command
def interpolate(
    model: str,
    images: str | None = None,
    /,
    *,
    steps: int = 9,
    n: int | None = None,
    label: Class = None,
    seed: int = 0,
    milliseconds: int = 80,
    out: Path = Path("interpolation.png"),
    device: str = "auto",
    threads: Threads = None,
    json: bool = False,
) -> None:
    """Go from each image to the next, through the latents.

    Parameters
    ----------
    model
        A run's directory, a model's directory, or a Hub id.
    images
        A folder or anything else that can be trained on; unset: images that the model makes.
    steps
        Images from one to the next, both included.
    n
        Only the first n images; unset: 9, or 8 for a film.
    label
        The class of all images, for a model of classes; unset: their sub-folders' names.
    seed
        Of the images that the model makes.
    milliseconds
        Of each frame of a film.
    out
        A .png for one grid, a .gif, .webp or .mp4 for a film, else a folder of single images.
    device
        auto, cpu, cuda or mps.
    threads
        CPU threads; unset: all cores.
    json
        Print which files were written as JSON.
    """
    from ganvae import tasks

    with _loaded(model, device, threads) as (ready, progress):
        files = tasks.interpolate(
            ready,
            images,
            out,
            label=label,
            steps=steps,
            n=n,
            seed=seed,
            milliseconds=milliseconds,
            progress=progress,
        )
    _tell_files(files, json)


@app.command
def encode(
    model: str,
    images: str,
    /,
    *,
    n: int | None = None,
    label: Class = None,
    out: Path = Path("latents.npz"),
    device: str = "auto",
    threads: Threads = None,
    json: bool = False,
) -> None:
    """Write the latents of images: mean and log-variance of each one's posterior.

    Parameters
    ----------
    model
        A run's directory, a model's directory, or a Hub id.
    images
        An image file, a folder, or anything else that can be trained on.
    n
        Only the first n images; unset: all.
    label
        The class of all images, for a model of classes; unset: their sub-folders' names.
    out
        An .npz file of arrays; the images' names go into a .json file beside it.
    device
        auto, cpu, cuda or mps.
    threads
        CPU threads; unset: all cores.
    json
        Print which files were written as JSON.
    """
    from ganvae import tasks

    with _loaded(model, device, threads) as (ready, progress):
        files = tasks.encode(ready, images, out, label=label, n=n, progress=progress)
    _tell_files(files, json)


@app.command
def direction(
    model: str,
    images: str,
    having: str | None = None,
    /,
    *,
    label: Class = None,
    principal: int | None = None,
    n: int | None = None,
    out: Path = Path("direction.npz"),
    device: str = "auto",
    threads: Threads = None,
    json: bool = False,
) -> None:
    """Learn which way in the latents an attribute lies, for `ganvae edit`.

    From IMAGES to HAVING; or, of IMAGES alone, to each class of its sub-folders from the others;
    or, where nothing is known of IMAGES, the ways in which they vary most.

    Parameters
    ----------
    model
        A run's directory, a model's directory, or a Hub id.
    images
        Images without the attribute; or of several classes; or any.
    having
        Images with it.
    label
        Only the direction to this class. With HAVING: the class of all images, for a model of
        classes.
    principal
        So many principal directions.
    n
        Only the first n images of a folder; unset: all.
    out
        An .npz file.
    device
        auto, cpu, cuda or mps.
    threads
        CPU threads; unset: all cores.
    json
        Print which files were written as JSON.
    """
    from ganvae import tasks

    only = label if having is None else None
    with _loaded(model, device, threads) as (ready, progress):
        files = tasks.direction(
            ready,
            images,
            out,
            having=having,
            only=only,
            principal=principal,
            label=None if having is None else label,
            n=n,
            progress=progress,
        )
    _tell_files(files, json)


@app.command
def edit(
    model: str,
    images: str,
    /,
    *,
    direction: Path,
    amount: Amounts = None,
    which: str | None = None,
    n: int | None = None,
    label: Class = None,
    out: Path = Path("edited.png"),
    device: str = "auto",
    threads: Threads = None,
    json: bool = False,
) -> None:
    """Change images along directions that `ganvae direction` has learnt.

    Parameters
    ----------
    model
        A run's directory, a model's directory, or a Hub id.
    images
        An image file, a folder, or anything else that can be trained on.
    direction
        The .npz file of directions.
    amount
        How far, in standard deviations; several make a strip; unset: 2.
    which
        One direction of the file, by name or number; unset: all, a row each.
    n
        Only the first n images; unset: all, 32 for a grid.
    label
        The class of all images, for a model of classes; unset: their sub-folders' names.
    out
        A .png for the image or a grid, originals first, else a folder of single images.
    device
        auto, cpu, cuda or mps.
    threads
        CPU threads; unset: all cores.
    json
        Print which files were written as JSON.
    """
    from ganvae import tasks

    with _loaded(model, device, threads) as (ready, progress):
        files = tasks.edit(
            ready,
            images,
            direction,
            out,
            amounts=amount or (2.0,),
            which=which,
            label=label,
            n=n,
            progress=progress,
        )
    _tell_files(files, json)


@app.command
def complete(
    model: str,
    image: str,
    /,
    *,
    mask: str | None = None,
    mask_colour: str | None = None,
    mask_alpha: bool = False,
    variants: int = 4,
    context: float = 2.0,
    seed: int = 0,
    out: Path = Path("completions"),
    device: str = "auto",
    threads: Threads = None,
    json: bool = False,
) -> None:
    """Fill in what is missing in a picture; everything else keeps its value, to the last bit.

    Parameters
    ----------
    model
        A run's directory, a model's directory, or a Hub id; trained with --task complete.
    image
        The picture, of any size.
    mask
        An image of the same size, white where to fill in.
    mask_colour
        Instead: fill in every pixel of this colour, #rrggbb or a name.
    mask_alpha
        Instead: fill in every pixel that is not opaque.
    variants
        How many different ones.
    context
        Of a picture larger than the model's: how much is shown to it, over the hole's thickness.
    seed
        Variant v of a seed is always the same.
    out
        A folder: a PNG a variant, sheet.png and index.json; for one variant also a .png.
    device
        auto, cpu, cuda or mps.
    threads
        CPU threads; unset: all cores.
    json
        Print which files were written as JSON.
    """
    from ganvae import tasks

    with _loaded(model, device, threads) as (ready, progress):
        files = tasks.complete(
            ready,
            image,
            out,
            mask=mask,
            mask_colour=mask_colour,
            mask_alpha=mask_alpha,
            variants=variants,
            context=context,
            seed=seed,
            progress=progress,
        )
    _tell_files(files, json)


@app.command
def translate(
    model: str,
    images: str,
    /,
    *,
    variants: int = 4,
    reverse: bool = False,
    n: int | None = None,
    seed: int = 0,
    out: Path = Path("translations"),
    device: str = "auto",
    threads: Threads = None,
    json: bool = False,
) -> None:
    """Make images from source images: outlines, grey or small ones, or those of another kind.

    Parameters
    ----------
    model
        A run's directory, a model's directory, or a Hub id; trained with --task translate.
    images
        The sources: an image file, a folder, or anything else that can be trained on.
    variants
        How many of each.
    reverse
        From images to sources, where the model learnt from unpaired sets.
    n
        Only the first n images; unset: all, 32 for a sheet.
    seed
        Variant v of image i of a seed is always the same.
    out
        A folder: a PNG a variant, sheet.png and index.json; or a .png, the sheet alone.
    device
        auto, cpu, cuda or mps.
    threads
        CPU threads; unset: all cores.
    json
        Print which files were written as JSON.
    """
    from ganvae import tasks

    with _loaded(model, device, threads) as (ready, progress):
        files = tasks.translate(
            ready,
            images,
            out,
            variants=variants,
            reverse=reverse,
            n=n,
            seed=seed,
            progress=progress,
        )
    _tell_files(files, json)


@contextmanager
def _loaded(model: str, device: str, threads: int | None) -> Iterator[tuple[Model, Tracker]]:
    """The model, and what shows the progress of its work; numbers that make no sense are told."""
    from ganvae import api
    from ganvae.progress import Tracker, console

    api.use_threads(threads)
    ready = api.load(model, device=device)
    try:
        with Tracker(console()) as progress:
            yield ready, progress
    except ValueError as error:
        raise ConfigError(str(error)) from error


@app.command
def check(
    data: str,
    /,
    *,
    size: int | None = None,
    json: bool = False,
    overrides: Overrides,
) -> int:
    """Look at images before training: every defect, duplicate and leak.

    Ends with 65 where a training would refuse them.

    Parameters
    ----------
    data
        Images: a folder, an array file, tar shards, Parquet, or a Hub name.
    size
        Height and width in pixels (data.size).
    json
        Print everything found as JSON, with every name.
    """
    from ganvae import api
    from ganvae.progress import Tracker, console

    shortcut = {} if size is None else {"data.size": size}
    with Tracker(console()) as progress:
        found = api.check(data, settings=shortcut | overrides, progress=progress)
    if json:
        print(jsonlib.dumps(found.to_dict(), indent=2, allow_nan=False))
    else:
        print("\n".join(found.lines()))
    return DataError.exit_code if found.problems else 0


@app.command
def objectives(name: str | None = None, /, *, json: bool = False) -> None:
    """List the objectives with every field and default.

    Parameters
    ----------
    name
        Only this one, with its whole description.
    json
        Print them as JSON.
    """
    from ganvae import outline
    from ganvae.config import suggest

    known = outline.objectives()
    if name is not None and name.replace("-", "_") not in known:
        raise ConfigError(f"objective {name!r} does not exist{suggest(name, known)}")
    names = known if name is None else [name.replace("-", "_")]
    found = {one: outline.objective(one) for one in names}
    if json:
        print(jsonlib.dumps({one: asdict(value) for one, value in found.items()}, indent=2))
        return
    for one, value in found.items():
        print(f"{one}: {value.doc if name else value.doc.splitlines()[0]}")
        print_fields(f"--objective {one}", flat("objective", value.fields))


# -- telling --------------------------------------------------------------------------------------


def _tell_run(run: Run, json: bool) -> int:
    code = _tell_stopped(run, run.path)
    if json:
        print(jsonlib.dumps(_as_json(run), indent=2, allow_nan=False))
    elif not code:
        _tell_scores(run.evaluation, False)
        print(f"\nreport: {run.report}\n\nnext:")
        for command in _next(run):
            print(f"  {command}")
    return code


def _tell_stopped(run: Run, folder: Path) -> int:
    """The exit code of a training; says how to go on in ``folder`` where it was stopped."""
    if run.status in _STOPPED:
        print(
            f"ganvae: stopped and saved at step {run.step:,}; continue with: {_again(folder)}",
            file=sys.stderr,
        )
    return _STOPPED.get(run.status, 0)


def _as_json(run: Run) -> dict[str, Any]:
    return {
        "run": str(run.path), "objective": run.config.objective, "status": run.status,
        "step": run.step, "seconds": round(run.seconds, 3), "evaluation": run.evaluation,
    }  # fmt: skip


def _tell_tournament(done: Tournament, json: bool) -> int:
    """The runs, the best first; the exit code is that of the first failure or of a signal."""
    code = next((error.exit_code for error in done.failures.values()), 0)
    if done.runs:
        code = _tell_stopped(done.runs[-1], done.path) or code
    if json:
        told = {
            "tournament": str(done.path), "status": done.status, "verdict": done.verdict,
            "runs": [_as_json(run) for run in done.runs],
            "failures": {name: str(error) for name, error in done.failures.items()},
            "report": str(done.report) if done.report.exists() else None,
        }  # fmt: skip
        print(jsonlib.dumps(told, indent=2, allow_nan=False))
    elif done.status == "done":
        _tell_ranking(done.runs)
        print("\n".join(filter(None, [done.verdict, f"\nreport: {done.report}"])))
    return code


def _tell_ranking(runs: Sequence[Run]) -> None:
    from rich import box
    from rich.table import Table

    from ganvae.progress import clock, console
    from ganvae.report import measured

    names = {
        key: figure["name"]
        for run in runs
        for key, figure in (run.evaluation.get("figures") or {}).items()
        if key in ("kid", "precision", "recall", "mse")
    }
    table = Table("objective", *names.values(), "steps", "time", "run", box=box.SIMPLE_HEAD)
    for run in runs:
        figures = run.evaluation.get("figures") or {}
        cells = [measured(figures[key]) if key in figures else "-" for key in names]
        ended = (f"{run.step:,}", clock(run.seconds), str(run.path))
        table.add_row(run.config.objective, *cells, *ended)
    console("stdout").print(table)


def _again(folder: Path) -> str:
    return f"ganvae train --resume --out {shlex.quote(str(folder))}"


def _next(run: Run) -> list[str]:
    """Three commands to try."""
    path, data = (shlex.quote(str(one)) for one in (run.path, run.config.data.path))
    if run.model.info.task != "generate":
        return [*_from_sources(run, path), f"ganvae evaluate {path}"]
    if run.model.info.classes:
        first = shlex.quote(run.model.info.classes[0])
        commands = [f"ganvae generate {path} --class {first} --n 64 --seed 1 --out more.png"]
    else:
        commands = [f"ganvae generate {path} --n 64 --seed 1 --out more.png"]
    if "encoder" in run.model.networks:
        commands.append(f"ganvae reconstruct {path} {data} --out again.png")
        commands.append(f"ganvae interpolate {path} {data} --out film.gif")
    else:
        commands.append(f"ganvae interpolate {path} --out film.gif")
        commands.append(f"ganvae train {data} --objective gan_vae")
    return commands


def _from_sources(run: Run, path: str) -> list[str]:
    """Two commands for a model that completes or translates."""
    if run.model.info.task == "complete":
        command = f"ganvae complete {path} picture.png"
        return [
            f"{command} --mask mask.png --variants 4 --out completions",
            f"{command} --mask-colour magenta --variants 1 --out completed.png",
        ]
    given, home = run.config.data.origin == "given", Path(run.config.data.path)
    source, target = (shlex.quote(str(home / side)) for side in ("source", "target"))
    source = source if given else f"{run.config.data.origin}.png"
    both = [f"ganvae translate {path} {source} --n 8 --out translations.png"]
    if run.model.info.paired:
        return [*both, f"ganvae translate {path} {source} --variants 8 --out translations"]
    return [*both, f"ganvae translate {path} {target} --reverse --n 8 --out back.png"]


def _tell_scores(scores: Mapping[str, Any], json: bool) -> None:
    if json:
        print(jsonlib.dumps(scores, indent=2, allow_nan=False))
        return
    from rich import box
    from rich.table import Table

    from ganvae.progress import console
    from ganvae.report import conditions, figures

    table = Table("score", "value", "better", "real images", "compared", box=box.SIMPLE_HEAD)
    table.columns[0].no_wrap = True
    for row in figures(scores):
        why = row.how.rpartition("; ")[2] if row.value == "-" else row.counts
        table.add_row(row.name, row.value, row.better, row.real, why)
    out = console("stdout")
    out.print(table)
    out.print(conditions(scores), style="dim")


def _tell_files(paths: Sequence[Path], json: bool) -> None:
    if json:
        print(jsonlib.dumps({"files": [str(path) for path in paths]}))
    elif paths:
        more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
        print(f"wrote {paths[0]}{more}")
