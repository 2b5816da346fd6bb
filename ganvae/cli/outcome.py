"""Prints the outcome of a training: its scores, how to resume it, and what to try next."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganvae.cli import INTERRUPTED, TERMINATED
from ganvae.cli.printing import tell, tell_json, tell_scores
from ganvae.telling import quoted

if TYPE_CHECKING:
    from ganvae.runs.run import Run
    from ganvae.runs.tournament import Tournament

_STOPPED = {"SIGINT": INTERRUPTED, "SIGTERM": TERMINATED}


def code_of(run: Run) -> int:
    """The exit code of a training."""
    return _STOPPED.get(run.status, 0)


def tell_run(run: Run, as_json: bool) -> int:
    """Prints the scores of a run and what to try next; returns its exit code."""
    code = _tell_stopped(run, run.path)
    if as_json:
        tell_json(_as_json(run))
    elif not code:
        tell_scores(run.evaluation)
        tell("", f"report: {run.report}", "", "next:")
        tell(*(f"  {command}" for command in _next(run)))
    return code


def tell_tournament(tournament: Tournament, as_json: bool) -> int:
    """Prints the runs, the best first; returns the exit code of the first failure or signal."""
    code = next((error.exit_code for error in tournament.failures.values()), 0)
    if tournament.runs:
        code = _tell_stopped(tournament.runs[-1], tournament.path) or code
    if as_json:
        tell_json({
            "tournament": str(tournament.path), "status": tournament.status,
            "verdict": tournament.verdict,
            "runs": [_as_json(run) for run in tournament.runs],
            "failures": {name: str(error) for name, error in tournament.failures.items()},
            "report": str(tournament.report) if tournament.report.exists() else None,
        })  # fmt: skip
    elif tournament.status == "done":
        _tell_ranking(tournament.runs)
        report = tournament.report if tournament.report.exists() else tournament.runs[0].report
        tell(*filter(None, [tournament.verdict]), "", f"report: {report}")
    return code


def _tell_stopped(run: Run, folder: Path) -> int:
    """The exit code of a training; prints how to resume it where a signal stopped it."""
    code = code_of(run)
    if code:
        tell(
            f"ganvae: stopped and saved at step {run.step:,}; continue with: {again(folder)}",
            to=sys.stderr,
        )
    return code


def _as_json(run: Run) -> dict[str, Any]:
    return {
        "run": str(run.path), "objective": run.config.objective, "status": run.status,
        "step": run.step, "seconds": round(run.seconds, 3), "evaluation": run.evaluation,
    }  # fmt: skip


def _tell_ranking(runs: Sequence[Run]) -> None:
    from rich import box
    from rich.table import Table

    from ganvae.cli.console import console
    from ganvae.pages.scores import measured
    from ganvae.telling import clock

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


def again(folder: Path) -> str:
    """The command that resumes the training in ``folder``."""
    return f"ganvae train --resume --out {quoted(str(folder))}"


def judge(folder: Path) -> str:
    """The command that judges the run in ``folder``."""
    return f"ganvae evaluate {quoted(str(folder))}"


def _next(run: Run) -> list[str]:
    """Three commands to try."""
    path, data = (quoted(str(one)) for one in (run.path, run.config.data.path))
    if run.model.info.from_sources:
        return [*_from_sources(run, path), f"ganvae evaluate {path}"]
    if run.model.info.learnt_classes:
        first = quoted(run.model.info.learnt_classes[0])
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
    if run.model.info.verb == "complete":
        command = f"ganvae complete {path} picture.png"
        return [
            f"{command} --mask mask.png --variants 4 --out completions",
            f"{command} --mask-colour magenta --variants 1 --out completed.png",
        ]
    origin, home = run.config.data.origin, Path(run.config.data.path)
    source, target = (quoted(str(home / side)) for side in ("source", "target"))
    if origin != "given":
        source, target = f"{origin}.png", quoted(str(home))
    both = [f"ganvae translate {path} {source} --n 8 --out translations.png"]
    if run.model.info.paired:
        return [*both, f"ganvae translate {path} {source} --variants 8 --out translations"]
    return [*both, f"ganvae translate {path} {target} --reverse --n 8 --out back.png"]
