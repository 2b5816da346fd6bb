"""The settings of a run, from what was given to every field spelled out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ganvae import config, objectives
from ganvae.config import Config
from ganvae.data.packing import refuse_contradictions
from ganvae.data.pairs import match
from ganvae.errors import ConfigError
from ganvae.runs.folder import SETTINGS, is_run, kept_settings, latest_run, new_run, refuse_resume
from ganvae.task import TASKS
from ganvae.training.schedule import Budget, Every, seconds_of

Settings = Config | Mapping[str, Any] | str | Path
"""A configuration, its nested form, or a YAML file."""


def settle(
    given: Mapping[str, Any],
    *,
    base: Settings | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    begin: bool = False,
) -> tuple[Config, Path]:
    """The complete configuration of a run and its directory.

    Settings come from ``given`` first, then from ``base``, or, without one, when resuming, from
    the run.
    """
    first, folder = read(base), None if out is None else Path(out)
    if resume and folder is not None and is_run(folder):
        if first is None and (folder / SETTINGS).exists():
            first = kept_settings(folder / SETTINGS)
        return resolve(first or Config(), given), folder
    chosen = resolve(first or Config(), given)
    if resume and folder is None:
        folder = latest_run(chosen.objective, chosen.data.path)
        return settle(given, base=first, out=folder, resume=True, begin=begin)
    if resume and folder is not None:
        refuse_resume(folder, f"{chosen.objective} on {chosen.data.path}", begin)
    return chosen, folder or new_run(chosen.objective, chosen.data.path)


def read(settings: Settings | None) -> Config | None:
    """The configuration that was given in one form or another, if any was."""
    if settings is None or isinstance(settings, Config):
        return settings
    return config.parse(settings) if isinstance(settings, Mapping) else config.load(settings)


def resolve(base: Config, given: Mapping[str, Any]) -> Config:
    """``base`` with the settings that were given by dotted name, complete.

    Raises ConfigError for anything that does not exist or cannot be.
    """
    options = {key: value for key, value in given.items() if key.startswith("objective.")}
    others = {key: value for key, value in given.items() if key not in options}
    chosen = _for_task(config.override(base, others), others)
    if options:  # they are those of the objective that the task got
        chosen = config.override(chosen, options)
    chosen = complete(chosen)
    Budget.parse(chosen.training.budget)
    Every.parse(chosen.training.checkpoint_every)
    judging_seconds(chosen.evaluation)
    return chosen


def _for_task(chosen: Config, given: Mapping[str, Any]) -> Config:
    """Objective and data.task made to agree, where only one of them was asked for.

    A task that starts from source images gets its objective where none was named.
    """
    task = objectives.get(chosen.objective).task
    if task == chosen.data.task:
        return chosen
    if "objective" in given:
        data = chosen.data if "data.task" in given else replace(chosen.data, task=task)
        return replace(chosen, data=data)
    wanted = TASKS[chosen.data.task]
    if not wanted.from_sources:
        return chosen
    name = wanted.objective
    if wanted.unpaired and chosen.data.origin == "given" and not match(chosen.data.path).paired:
        name = wanted.unpaired
    return replace(chosen, objective=name, objective_options={})


def complete(chosen: Config) -> Config:
    """The same configuration with every field of its objective spelled out."""
    objective = objectives.build(chosen.objective, chosen.objective_options)
    return replace(chosen, objective_options=asdict(objective))


def judging_seconds(settings: config.Evaluation) -> float | None:
    """``evaluation.budget``. Raises ConfigError where it is no time."""
    return None if settings.budget is None else seconds_of("evaluation.budget", settings.budget)


def refuse(chosen: Config) -> None:
    """Raises ConfigError for settings that cannot be, whatever the images are."""
    refuse_contradictions(chosen.data)
    if chosen.data.test_share == 1:
        raise ConfigError(
            "data.test_share 1 holds all images out, and none is left to learn from; choose less"
        )
    if chosen.data.labels and not objectives.get(chosen.objective).classes:
        objectives.refuse_classes(chosen.objective)
