"""What a model is, besides its weights: validated strictly, because it may come from anybody."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ganvae import config
from ganvae.errors import ConfigError
from ganvae.models.strict import parse, plain_json
from ganvae.networks import zoo
from ganvae.task import TASKS, TaskName
from ganvae.telling import shown
from ganvae.types import Shape

NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
"""The spelling of objectives and of the roles of networks."""
_DEPTH = {"limits": (8, 15)}


@dataclass(frozen=True, kw_only=True)
class TrainedOn:
    """How the weights came about."""

    fingerprint: str = ""
    """Digest of the images, their preparation and their split."""
    train_images: int | None = None
    """Number of different images trained on."""
    test_images: int | None = None
    """Number of images held out."""
    images: int = 0
    """Images seen, repetitions counted."""
    steps: int | None = None
    """Training steps made."""
    seconds: float | None = None
    """Time spent training."""
    budget: str = ""
    """What the training was allowed: time, images or steps."""
    batch: int | None = None
    """Images a step."""
    seed: int = 0
    """Seed of everything random."""


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """The description that is saved beside a model's weights.

    Raises ConfigError where the parts do not fit together.
    """

    objective: str
    """Name of the objective it was trained by."""
    options: dict[str, Any]
    """The objective's fields that differed from their defaults; JSON-able."""
    decoder: str = "decoder"
    """The role that turns the encoder's z back into the image it came from."""
    generator: str = "decoder"
    """The role that turns the prior's z into a new image."""
    kinds: dict[str, Any] = field(default_factory=dict)
    """Roles whose network is of another kind than their name, and that kind."""
    prior: Literal["prior", "prior_normal", "prior_mixture", "prior_flow"] = "prior"
    """The role of the prior that is sampled where none is named; "prior" is that trained with."""
    task: TaskName = "generate"
    """What it is for: a row of :data:`ganvae.task.TASKS`."""
    paired: bool | None = None
    """Whether it learnt from pairs of source and image; None: it starts from no source."""
    shape: Shape
    """The images and the latent."""
    networks: config.Networks
    """What the networks are built from."""
    classes: tuple[str, ...] = ()
    """Names by class number."""
    class_shares: tuple[float, ...] = ()
    """How much of the training images each class had."""
    resize: Literal["cover", "contain", "stretch", "pad"] = "cover"
    """How images of other sizes were fitted."""
    background: str = "white"
    """What shows through transparency and fills borders."""
    depth: int | None = field(default=None, metadata=_DEPTH)
    """How many bits of 16-bit pictures are used, where these are not all."""
    source_depth: int | None = field(default=None, metadata=_DEPTH)
    """The same for the pictures it starts from."""
    trained: TrainedOn = TrainedOn()
    """How the weights came about."""
    custom: tuple[str, ...] = ()
    """Roles whose module the user brought; loading needs the same modules again."""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.objective):
            raise ConfigError(f"{shown(self.objective)} is not the name of an objective")
        plain_json(self.options, "the objective's options")
        for role in (self.decoder, self.generator, *self.custom, *self.kinds):
            if not NAME.fullmatch(role):
                raise ConfigError(f"{shown(role)} is not the name of a network's role")
        for kind in self.kinds.values():
            if not isinstance(kind, str) or not NAME.fullmatch(kind):
                raise ConfigError(f"{shown(kind)} is not the name of a kind of network")
        if self.classes and not len(self.classes) == len(self.class_shares) == self.shape.classes:
            raise ConfigError(
                f"the model's shape has {self.shape.classes} classes, its description "
                f"{len(self.classes)} names and {len(self.class_shares)} shares"
            )
        self._check_source()
        latent = zoo.latent(self.kinds, self.networks, self.shape.image)
        if self.shape.latent != latent:
            raise ConfigError(
                f"the model's shape has {self.shape.latent} latent dimensions, its networks "
                f"have {latent}"
            )

    @property
    def verb(self) -> str:
        """The method of a model that does what it was trained for."""
        return TASKS[self.task].verb

    @property
    def from_sources(self) -> bool:
        """Whether it makes images from others, and not from nothing."""
        return TASKS[self.task].from_sources

    def _check_source(self) -> None:
        source, channels = self.shape.source, self.shape.channels
        fits = source == channels + 1 if TASKS[self.task].origin == "masked" else bool(source)
        if self.from_sources != fits or (self.paired is None) == self.from_sources:
            raise ConfigError(
                f"a model of {channels} channels that starts from {source} and learnt from "
                f"{_PAIRED[self.paired]} cannot {self.task} images"
            )

    @staticmethod
    def of(
        settings: config.Config,
        shape: Shape,
        *,
        decoder: str,
        generator: str,
        kinds: Mapping[str, str] | None = None,
        task: TaskName = "generate",
        paired: bool | None = None,
        classes: Sequence[str] = (),
        class_shares: Sequence[float] = (),
        custom: Sequence[str] = (),
        depth: int | None = None,
        source_depth: int | None = None,
        **trained: Any,
    ) -> ModelInfo:
        """The description of a model trained with these settings.

        trained: fields of :class:`TrainedOn` known to the trainer: fingerprint, images, ...
        """
        run = settings.training
        return ModelInfo(
            objective=settings.objective,
            options=dict(settings.objective_options),
            decoder=decoder,
            generator=generator,
            kinds=dict(kinds or {}),
            task=task,
            paired=paired,
            shape=shape,
            networks=zoo.settled(settings.networks, kinds or {}, shape.image),
            classes=tuple(classes),
            class_shares=tuple(class_shares),
            resize=settings.data.resize,
            background=settings.data.background,
            depth=depth,
            source_depth=source_depth,
            trained=TrainedOn(budget=run.budget, batch=run.batch, seed=run.seed, **trained),
            custom=tuple(custom),
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary that :meth:`from_dict` takes; a depth of all bits is not told."""
        unsaid = {key for key in ("depth", "source_depth") if getattr(self, key) is None}
        return {key: value for key, value in asdict(self).items() if key not in unsaid}

    @property
    def data_depth(self) -> int | None:
        """``data.depth`` for other images; None where sources and targets have not the same."""
        given_sources = TASKS[self.task].origin == "given"
        same = not given_sources or self.source_depth == self.depth
        return (self.depth or 16) if same else None

    def data_settings(self) -> dict[str, Any]:
        """Settings by dotted name by which other images are prepared as the model's were."""
        return {
            "data.size": self.shape.height,
            "data.channels": self.shape.channels,
            "data.labels": bool(self.classes),
            "data.resize": self.resize,
            "data.background": self.background,
            "data.depth": self.data_depth,
        }

    @property
    def learnt_classes(self) -> tuple[str, ...]:
        """Names of the classes that had training images; the others cannot be generated.

        Of shards that are read while training only a sample was counted: there all are given.
        """
        complete = self.trained.train_images is not None
        shares = zip(self.classes, self.class_shares)
        return tuple(name for name, share in shares if share > 0 or not complete)

    @staticmethod
    def from_dict(data: Any, where: str = "the model's description") -> ModelInfo:
        """Read strictly: raises ConfigError for anything unknown, mistyped or absurd."""
        info = parse(ModelInfo, data, where)
        assert isinstance(info, ModelInfo)
        return info


_PAIRED = {None: "images alone", True: "pairs", False: "two sets of images"}
