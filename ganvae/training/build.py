"""Builds the parts of a run from its settings and images: networks, batches, the final model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import nn

from ganvae.config import Config
from ganvae.data import Batches, Data
from ganvae.data.batches import Feed
from ganvae.data.stream import StreamBatches
from ganvae.errors import ConfigError
from ganvae.models import Model, ModelInfo
from ganvae.networks import zoo
from ganvae.objectives.base import Objective, Stage, refuse_classes
from ganvae.task import TASKS
from ganvae.training.processes import Processes
from ganvae.training.schedule import Position
from ganvae.types import Batch, Shape, mix

ROWS, PIXELS = 256, 2**20
"""Most images, and about how many pixels, that are encoded at once between two stages."""


@dataclass(frozen=True)
class Plan:
    """Everything about a training that is decided before any network is built.

    objective: suited to the size of the images
    custom: modules for some roles, in place of the zoo's
    roles: of all stages' networks, in the order in which they are built
    kinds: the zoo's kind of network for some roles; the others' kinds are their roles
    class_shares: the share of the training images that each class has
    """

    config: Config
    data: Data
    custom: Mapping[str, nn.Module]
    objective: Objective
    stages: list[Stage]
    shape: Shape
    roles: tuple[str, ...]
    kinds: dict[str, str]
    class_shares: list[float]

    def end_of(self, stage: int) -> float:
        """The share of the budget that is spent when a stage ends."""
        if stage + 1 == len(self.stages):
            return 1.0
        return sum(s.share for s in self.stages[: stage + 1])


def plan(
    config: Config,
    objective: Objective,
    data: Data,
    custom: Mapping[str, nn.Module] = MappingProxyType({}),
) -> Plan:
    """The plan of a training.

    custom: modules for some roles

    Raises ConfigError where the objective cannot learn from these images, or with these modules.
    """
    objective = objective.suited(max(data.shape[1:]))
    stages = objective.stages()
    roles = [role for stage in stages for role in stage.objective.networks]
    roles = list(dict.fromkeys([*objective.networks, *roles]))
    unknown = set(custom) - set(roles)
    if unknown:
        raise ConfigError(
            f"this objective has no network {', '.join(sorted(unknown))}; "
            f"it has {', '.join(roles)}"
        )
    shares = _class_shares(data)
    _refuse(config, objective, data, shares)
    channels, height, width = data.shape
    shape = Shape(
        channels=channels,
        height=height,
        width=width,
        latent=zoo.latent(objective.kinds, config.networks, data.shape),
        classes=len(data.classes),
        source=data.source_channels,
    )
    kinds = {r: k for stage in stages for r, k in stage.objective.kinds.items() if r in roles}
    return Plan(config, data, custom, objective, stages, shape, tuple(roles), kinds, shares)


def _class_shares(data: Data) -> list[float]:
    labels = data.train.labels
    if labels is None:
        return []
    counts = np.bincount(labels, minlength=len(data.classes))
    return [float(count) / len(labels) for count in counts]


def _refuse(config: Config, objective: Objective, data: Data, shares: list[float]) -> None:
    """Raises ConfigError where the objective cannot learn from the data."""
    if data.classes and not objective.classes:
        refuse_classes(config.objective)
    if objective.needs_classes and sum(share > 0 for share in shares) < 2:
        raise ConfigError(
            f"{config.objective} learns from classes, two or more: name them with "
            f"--data.labels, or choose another --objective"
        )
    task = TASKS[objective.task]
    if bool(data.source_channels) != task.from_sources:
        has = "with" if data.source_channels else "without"
        raise ConfigError(
            f"{config.objective} learns to {objective.task} images, and cannot from data {has} "
            f"sources: choose the --task and the --objective together"
        )
    if data.source_channels and config.data.augment != "none":
        raise ConfigError(
            "data.augment alters an image but not the source it belongs to: leave it out "
            f"where images are to be {task.done}"
        )


def networks(plan: Plan, device: torch.device) -> dict[str, nn.Module]:
    """The networks by role, seeded by the settings. Raises ConfigError."""
    torch.manual_seed(mix(plan.config.training.seed))
    try:
        nets = {
            role: plan.custom[role]
            if role in plan.custom
            else zoo.build(plan.kinds.get(role, role), plan.config.networks, plan.shape)
            for role in plan.roles
        }
    except ValueError as error:
        raise ConfigError(f"{error}") from error
    for net in nets.values():
        net.to(device)
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return nets


def feed(plan: Plan, processes: Processes, seed: int) -> Feed:
    """The training batches: of packed images, or of shards that are read while training.

    Raises ConfigError for batches that cannot be shared.
    """
    settings, data = plan.config.training, plan.data
    parts = processes.world * settings.accumulate
    halved = any(stage.objective.halved for stage in plan.stages)
    multiple = 2 * parts if halved and parts > 1 else parts
    common: dict[str, Any] = {
        "batch": settings.batch, "seed": seed, "flip": plan.config.data.flip,
        "device": processes.device,
    }  # fmt: skip
    batches: Feed
    if data.stream is None:
        batches = Batches(data.train, **common, multiple=multiple)
    else:
        common |= {"rank": processes.rank, "world": processes.world}
        batches = StreamBatches(data.stream, **common, micros=settings.accumulate)
    if batches.batch % multiple:
        raise ConfigError(
            f"{plan.config.objective} uses one half of every micro-batch in one way and the "
            f"other in another: choose training.batch as a multiple of {multiple}"
        )
    return batches


def images(plan: Plan, device: torch.device, seed: int) -> Iterator[Batch]:
    """Training images without end, the same on every process, in batches to be encoded."""
    batches = Batches(
        plan.data.train,
        batch=max(1, min(ROWS, PIXELS // math.prod(plan.data.shape[1:]))),
        seed=seed,
        flip=plan.config.data.flip,
        device=device,
        repeat=True,
    )
    return (batches.at(step) for step in count())


def model(plan: Plan, nets: Mapping[str, nn.Module], at: Position) -> Model:
    """The model of the present stage: those of the networks that inference needs."""
    objective, data = plan.stages[at.stage].objective, plan.data
    roles = ("encoder", objective.decoder, objective.generator, "prior", "likelihood")
    nets = {role: nets[role] for role in dict.fromkeys(roles) if role in nets}
    info = ModelInfo.of(
        plan.config,
        plan.shape,
        task=plan.objective.task,
        paired=plan.objective.paired,
        decoder=objective.decoder,
        generator=objective.generator,
        kinds=plan.kinds,
        classes=data.classes,
        class_shares=plan.class_shares,
        depth=data.depth,
        source_depth=data.source_depth,
        fingerprint=data.fingerprint,
        train_images=None if data.stream else len(data.train),
        test_images=len(data.test),
        images=at.images,
        steps=at.step,
        seconds=round(at.seconds, 3),
        custom=sorted(set(plan.custom) & set(nets)),
    )
    return Model(nets, info)
