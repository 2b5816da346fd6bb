"""The complete settings of a run, from the user's overrides, a file, or the resumed run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ganvae import config as configuration
from ganvae import objectives
from ganvae.config import Config
from ganvae.data.packing import refuse_contradictions
from ganvae.data.pairs import match
from ganvae.errors import ConfigError
from ganvae.metrics import judge as judges
from ganvae.runs.place import SETTINGS, is_run, latest_run, new_run, refuse_resume, saved_settings
from ganvae.task import TASKS
from ganvae.training.schedule import Budget, Every, seconds_of

Settings = Config | Mapping[str, Any] | str | Path
"""A configuration, its nested form, or a YAML file."""


def settle(
    overrides: Mapping[str, Any],
    *,
    base: Settings | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    begin: bool = False,
) -> tuple[Config, Path]:
    """The complete configuration of a run and its directory.

    overrides: settings by dotted name
    base: the other settings; unset: the resumed run's, or else the defaults
    """
    first, folder = read(base), None if out is None else Path(out)
    if resume and folder is not None and is_run(folder):
        if first is None and (folder / SETTINGS).exists():
            first = saved_settings(folder / SETTINGS)
        return resolve(first or Config(), overrides), folder
    config = resolve(first or Config(), overrides)
    if resume and folder is None:
        folder = latest_run(config.objective, config.data.path)
        return settle(overrides, base=first, out=folder, resume=True, begin=begin)
    if resume and folder is not None:
        refuse_resume(folder, f"{config.objective} on {config.data.path}", begin)
    return config, folder or new_run(config.objective, config.data.path)


def read(settings: Settings | None) -> Config | None:
    """The configuration from any of its forms; None of None."""
    if settings is None or isinstance(settings, Config):
        return settings
    if isinstance(settings, Mapping):
        return configuration.parse(settings)
    return configuration.load(settings)


def resolve(base: Config, overrides: Mapping[str, Any]) -> Config:
    """``base`` with overrides by dotted name, every field of the objective spelled out.

    Raises ConfigError for settings that do not exist or are out of range.
    """
    options = {key: value for key, value in overrides.items() if key.startswith("objective.")}
    others = {key: value for key, value in overrides.items() if key not in options}
    config = _for_task(configuration.override(base, others), others)
    if options:  # of the objective, which the task may just have changed
        config = configuration.override(config, options)
    config = complete(config)
    Budget.parse(config.training.budget)
    Every.parse(config.training.checkpoint_every)
    judging_seconds(config.evaluation)
    return config


def _for_task(config: Config, overrides: Mapping[str, Any]) -> Config:
    """Sets ``data.task`` by the objective, or the objective by a task that starts from sources.

    Where both are overridden they stay as they are.
    """
    own_task = objectives.get(config.objective).task
    if own_task == config.data.task:
        return config
    if "objective" in overrides:
        data = config.data if "data.task" in overrides else replace(config.data, task=own_task)
        return replace(config, data=data)
    task = TASKS[config.data.task]
    if not task.from_sources:
        return config
    name = task.objective
    if task.unpaired and config.data.origin == "given" and not match(config.data.path).paired:
        name = task.unpaired
    return replace(config, objective=name, objective_options={})


def complete(config: Config) -> Config:
    """The same configuration with every field of its objective spelled out, and its judge."""
    objective = objectives.build(config.objective, config.objective_options)
    judge = config.evaluation.judge or judges.other_than(config.networks.eyes)
    evaluation = replace(config.evaluation, judge=judge)
    return replace(config, objective_options=asdict(objective), evaluation=evaluation)


def judging_seconds(settings: configuration.Evaluation) -> float | None:
    """``evaluation.budget`` in seconds. Raises ConfigError where it is not a time."""
    return None if settings.budget is None else seconds_of("evaluation.budget", settings.budget)


def refuse(config: Config) -> None:
    """Raises ConfigError for settings that contradict each other, whatever the images are."""
    refuse_contradictions(config.data)
    if config.data.test_share == 1:
        raise ConfigError(
            "data.test_share 1 holds all images out, and none is left to learn from; choose less"
        )
    if config.data.labels and not objectives.get(config.objective).classes:
        objectives.refuse_classes(config.objective)
