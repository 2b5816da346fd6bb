"""All settings of a run, with their defaults, limits and help; without torch."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from ganvae import files, foreign, outline
from ganvae.errors import ConfigError, RangeError
from ganvae.task import TaskName
from ganvae.telling import Address, short, shown, words


@dataclass(frozen=True, kw_only=True)
class Data:
    """The images and how they become tensors."""

    path: str = "digits"
    """Folder, array file, tar or Parquet shards (or their URL), Hub name, or "digits" (MNIST)."""
    size: int | None = None
    """Height and width in pixels; unset: 64 for a folder, its own size for an array."""
    channels: Literal[1, 3] | None = None
    """1 grey, 3 RGB; unset: as the data has it."""
    task: TaskName = "generate"
    """Images from nothing, from their remains, or from other images."""
    origin: Literal["given", "low_resolution", "grey", "noise", "edges"] = "given"
    """What a translation starts from: source/ beside target/, or what is made of the images."""
    masks: Literal["mixed", "box", "half", "brush", "centre"] = "mixed"
    """The holes of a completion."""
    labels: bool = False
    """Take sub-folder names (or what a label file, the array or the set says) as classes."""
    labels_file: str | None = None
    """CSV, JSON or JSON lines that say the class of each file of a folder, with data.labels."""
    resize: Literal["cover", "contain", "stretch", "pad"] = "cover"
    """How other sizes fit: crop the centre, add borders, distort, or pad without scaling."""
    background: str = "white"
    """What shows through transparency and fills borders: a colour name or #rrggbb."""
    depth: int | None = None
    """Bits used of 16-bit pictures, 8 to 16; unset: 8, 10, 12, 14 or 16, as the set needs."""
    flip: bool = False
    """Mirror training images at random."""
    augment: Literal["none", "diffaugment"] = "none"
    """Differentiable augmentation of what the discriminator sees."""
    test_share: float = 0.1
    """Share of the images held out for evaluation, unless the source has its own split; 1: all,
    whatever the source says, to judge a model by."""
    max_bad: float = 0.01
    """Largest share of unreadable files that is skipped; more stops the run."""
    cache: str | None = None
    """Where packed images are kept; unset: $XDG_CACHE_HOME/ganvae."""
    stream: bool = False
    """Read tar or Parquet shards while training, where they are too many to be packed."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Address(self.path))  # so that secrets are not saved


@dataclass(frozen=True, kw_only=True)
class Networks:
    """The networks."""

    family: Literal["residual", "mlp"] = "residual"
    """Residual convolutions, or the article's dense layers."""
    latent: int | None = None
    """Dimensions of z; unset: 8 beside a source image, else 128 for convolutions on
    coloured images, else 32."""
    width: int = 32
    """Channels after the first halving; they double at each further one, up to four times."""
    depth: int = 1
    """Residual blocks at each resolution below the first halving."""
    prior: Literal["normal", "mixture"] = "mixture"
    """p(z) trained with: N(0, I), or a Gaussian mixture fitted to the encoder's z."""
    components: int = 40
    """Gaussians in the mixture."""
    grid: int = 4
    """Pixels along a side of one cell, where the latent is a grid: a power of two."""
    grid_channels: int | None = None
    """Numbers a cell, where the latent is a grid, of which ``latent`` says nothing; unset: 4, or
    in unpaired translation as many as the pixels of a cell have."""
    codes: int = 512
    """Size of the codebook, where each cell holds a code."""
    eyes: Literal["none", "efficientnet-lite0", "efficientnet-lite2"] = "none"
    """A network trained on photographs through which discriminators of images also look."""
    eyes_size: int | None = None
    """Pixels of the shorter side that they see; unset: the images' own, from 48 to 128."""
    likelihood: Literal["gaussian", "bernoulli", "logistic"] = "gaussian"
    """p(x|z): Gaussian, Bernoulli (binary images), or discretised logistic (8-bit, bits/dim)."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """The run."""

    budget: str = "3m"
    """How long: time (40s, 30m, 2h), images (500kimg) or steps (300steps)."""
    batch: int = 32
    """Images a step over all processes together."""
    accumulate: int = 1
    """Micro-batches a step, one after the other, to save memory."""
    seed: int = 0
    """Seed of everything random."""
    lr_scale: float = 1.0
    """Multiplies every learning rate of the objective."""
    ema_half_life: int | None = None
    """Half-life of the averaged weights in images; unset: 5 % of the images so far, ≤ 500 k."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    threads: int | None = None
    """CPU threads of a process; unset: all cores shared by the processes."""
    bf16: bool | None = None
    """bfloat16 autocast; unset: on CUDA, and for convolutions on processors with AMX."""
    compile: bool | None = None
    """torch.compile the networks; unset: on CUDA with Triton, unless the budget is below 30m."""
    checkpoint_every: str = "60s"
    """Time, images or steps between checkpoints."""
    keep: int = 2
    """Newest checkpoints kept, beside the best one."""
    previews: int = 10
    """Preview grids over the run."""
    evaluations: int = 4
    """Quick held-out scores over the run, the last before the end not counted."""
    tensorboard: bool = True
    """Write TensorBoard logs."""
    allow_changes: bool = False
    """Resume although data or configuration changed (recorded)."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The judging."""

    judge: str | None = None
    """Feature network: efficientnet-lite0, efficientnet-lite2 (of the same family), inception, or
    a module by the API; unset: the first of them that is not networks.eyes."""
    size: int = 64
    """Side in pixels that images are resized to for the judge."""
    samples: int = 5000
    """Largest number of generated and of held-out images compared."""
    importance: int = 50
    """Samples per image of the IWAE bound."""
    priors: bool = True
    """Fit other priors, too, and sample the one whose images are nearest to held-out ones."""
    budget: str | None = None
    """Time for that and for judging (30s, 2m), what does not fit in is left out; unset: after a
    training whose budget is a time, half of it and 10s more, otherwise as long as it takes."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """A complete run."""

    objective: str = "gan_vae"
    """Name of the objective; ``ganvae objectives`` lists them."""
    objective_options: dict[str, Any] = field(default_factory=dict)
    """Its fields that differ from their defaults (nested ones as nested dicts)."""
    data: Data = Data()
    networks: Networks = Networks()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()


SECTIONS = ("data", "networks", "training", "evaluation")
"""The sections of a configuration beside its objective."""

INCIDENTAL = {
    "data.path", "data.labels_file", "data.cache", "training.threads",
    "training.checkpoint_every", "training.keep", "training.previews", "training.tensorboard",
    "training.allow_changes", "training.evaluations", "evaluation.judge", "evaluation.size",
    "evaluation.samples", "evaluation.importance",
    "evaluation.priors", "evaluation.budget",
}  # fmt: skip
"""Settings that may change when a run is resumed, because they do not change what is trained.

The contents of ``data.path`` and ``data.labels_file`` are compared by their fingerprint.
"""

MAX_THREADS = 1024
"""With more threads, a process does not start on every machine."""
LIMITS: dict[str, tuple[float, float]] = {
    "data.size": (1, 4096),
    "data.depth": (8, 16),
    "data.test_share": (0, 1),
    "data.max_bad": (0, 1),
    "networks.latent": (1, 65_536),
    "networks.width": (1, 4096),
    "networks.depth": (0, 64),
    "networks.components": (1, 10_000),
    "networks.grid": (2, 256),
    "networks.grid_channels": (1, 1024),
    "networks.codes": (2, 65_536),
    "training.batch": (1, 1_048_576),
    "training.accumulate": (1, 65_536),
    "training.seed": (0, 2**63 - 1),
    "training.lr_scale": (0, 1e6),
    "training.ema_half_life": (1, 10**12),
    "training.threads": (1, MAX_THREADS),
    "training.keep": (1, 10**6),
    "training.previews": (0, 10**4),
    "training.evaluations": (0, 10**4),
    "evaluation.size": (8, 1024),
    "evaluation.samples": (2, 10**7),
    "evaluation.importance": (1, 10**6),
}
"""Smallest and largest values. Those of networks also hold for models that others made."""

MAX_BYTES, MAX_VALUES = 2**20, 10_000
"""Limits of a YAML file."""
MAX_TEXT = 4096

_PLAIN = re.compile(r"[\w./-]+")
_T = TypeVar("_T")


def load(path: Path | str) -> Config:
    """The configuration of a YAML file; settings that it leaves out have their defaults.

    Raises ConfigError naming the file and the key for anything invalid.
    """
    try:
        return parse(_read_yaml(Path(path)), source=f"{path}: ")
    except ConfigError as error:  # a key may be as long as the file
        raise type(error)(short(str(error))) from error


def parse(document: Mapping[str, Any], source: str = "", start: Config | None = None) -> Config:
    """``start`` changed by a nested document, as in YAML.

    The objective is a name, or a mapping of its name and options; if it is another than
    ``start``'s, its other options have their defaults.

    source: what error messages begin with
    """
    config = start or Config()
    known = ("objective", *SECTIONS)
    for key, value in document.items():
        if key not in known:
            raise ConfigError(f"{source}{key} does not exist{suggest(key, known)}")
        if key == "objective":
            config = _with_objective(config, value, source)
        elif isinstance(value, Mapping):
            section = fill(getattr(config, key), value, f"{source}{key}")
            config = replace(config, **{key: section})
        else:
            raise ConfigError(f"{source}{key} must hold settings (key: value), got {shown(value)}")
    validate(config, source)
    return config


def override(config: Config, values: Mapping[str, Any], source: str = "--") -> Config:
    """``config`` with dotted settings changed, for example ``{"training.batch": "32"}``.

    A nested field of the objective is ``objective.optim.lr``; hyphens may stand for underscores.
    """
    document: dict[str, Any] = {}
    for key, value in values.items():
        *path, last = key.replace("-", "_").split(".")
        if key == "objective":
            path, last = [key], "name"
        place: Any = document
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ConfigError(f"{source}{key}: {part!r} is not a group of settings")
        place[last] = value
    return parse(document, source, config)


def fill(start: _T, values: Mapping[str, Any], where: str) -> _T:
    """The settings ``start`` with some fields changed, nested ones by nested mappings.

    where: what the settings are called in error messages

    Raises ConfigError for what does not exist, has another type, or is out of its range.
    """
    hints = get_type_hints(type(start))
    known = [item.name for item in fields(start)]  # type: ignore[arg-type]
    changed: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"{where}.{key} does not exist{suggest(key, known)}")
        old = getattr(start, key)
        if is_dataclass(old) and isinstance(value, Mapping):
            changed[key] = fill(old, value, f"{where}.{key}")
        else:
            changed[key] = _convert(hints[key], value, f"{where}.{key}")
    try:
        return replace(start, **changed)  # type: ignore[type-var]
    except RangeError as error:  # begins with the field
        raise RangeError(f"{where}.{error}") from None


def validate(config: Config, source: str = "") -> None:
    """Raises ConfigError for a number outside :data:`LIMITS`."""
    for key, (low, high) in LIMITS.items():
        section, name = key.split(".")
        value = getattr(getattr(config, section), name)
        if value is not None and not low <= value <= high:
            raise ConfigError(f"{source}{key} must be from {low} to {high}, got {value}")


def suggest(name: object, known: tuple[str, ...] | list[str]) -> str:
    """The end of a sentence about an unknown name: the closest known one, or all of them."""
    close = get_close_matches(str(name).lower(), known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are {', '.join(known)}"


def as_dict(config: Config) -> dict[str, Any]:
    """The nested form that :func:`parse` reads and a YAML file holds."""
    objective = {"name": config.objective, **config.objective_options}
    return {"objective": objective, **{name: asdict(getattr(config, name)) for name in SECTIONS}}


def dump(config: Config) -> str:
    """YAML with every field of ``config`` and a comment for each; :func:`load` reads it."""
    parts = [_lines("objective", as_dict(config)["objective"], _objective_fields(config))]
    for name in SECTIONS:
        known = outline.read("ganvae.config", name.capitalize()).fields
        parts.append(_lines(name, asdict(getattr(config, name)), known))
    return "\n".join("\n".join(lines) + "\n" for lines in parts)


def save(config: Config, path: Path) -> None:
    """Writes :func:`dump` of a configuration, whole or not at all."""
    files.write_text(path, dump(config))


def digest(config: Config) -> str:
    """A hex digest of all settings that decide what is trained."""
    decisive = {k: v for k, v in flatten(as_dict(config)) if k not in INCIDENTAL}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def difference(old: Config, new: Config, *, incidental: bool = False) -> str:
    """The settings that differ, a line each: ``training.batch: 64 -> 32``; empty if none do.

    incidental: whether to include :data:`INCIDENTAL` ones
    """
    before, after = dict(flatten(as_dict(old))), dict(flatten(as_dict(new)))
    keys = [key for key in {**before, **after} if incidental or key not in INCIDENTAL]
    return "\n".join(
        f"{key}: {before.get(key, 'default')} -> {after.get(key, 'default')}"
        for key in keys
        if before.get(key, "default") != after.get(key, "default")
    )


def flatten(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and their values."""
    for key, value in document.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _with_objective(config: Config, value: Any, source: str) -> Config:
    entries: dict[Any, Any] = {"name": value} if isinstance(value, str) else value
    if not isinstance(entries, Mapping):
        raise ConfigError(
            f"{source}objective must be a name, or name and options, got {shown(value)}"
        )
    name = str(entries.get("name", config.objective)).replace("-", "_")
    known = outline.objectives()
    if name not in known:
        raise ConfigError(f"{source}objective {name!r} does not exist{suggest(name, known)}")
    start = config.objective_options if name == config.objective else {}
    options = _merge(start, {key: item for key, item in entries.items() if key != "name"})
    _check_names(options, outline.objective(name).fields, f"{source}objective", f" in {name}")
    return replace(config, objective=name, objective_options=options)


def _check_names(
    options: Mapping[Any, Any], known: tuple[outline.Field, ...], where: str, home: str = ""
) -> None:
    inner = {item.name: item.fields for item in known}
    for key, value in options.items():
        if key not in inner:
            raise ConfigError(f"{where}.{key} does not exist{home}{suggest(key, list(inner))}")
        if isinstance(value, Mapping) and inner[key]:
            _check_names(value, inner[key], f"{where}.{key}", home)


def _merge(old: Mapping[str, Any], new: Mapping[Any, Any]) -> dict[Any, Any]:
    merged: dict[Any, Any] = dict(old)
    for key, value in new.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _convert(hint: Any, value: Any, where: str) -> Any:
    options = get_args(hint)
    if NoneType in options:
        if value is None or (isinstance(value, str) and value.lower() in ("none", "null")):
            return None
        return _convert(next(part for part in options if part is not NoneType), value, where)
    if get_origin(hint) is Literal:
        return _choose(options, value, where)
    if hint is bool:
        return _truth(value, where)
    if hint in (int, float):
        return _number(hint, value, where)
    if hint is str and isinstance(value, str) and 0 < len(value) <= MAX_TEXT:
        return value
    raise ConfigError(f"{where} must be {_called(hint)}, got {shown(value)}")


def _choose(options: tuple[Any, ...], value: Any, where: str) -> Any:
    for option in options:
        if not isinstance(value, bool) and str(value) == str(option):
            return option
    words = [str(option) for option in options]
    raise ConfigError(f"{where} must be one of {', '.join(words)}, got {shown(value)}")


def _truth(value: Any, where: str) -> bool:
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    value = words.get(value.lower(), value) if isinstance(value, str) else value
    if isinstance(value, bool):
        return value
    raise ConfigError(f"{where} must be true or false, got {shown(value)}")


def _number(kind: Any, value: Any, where: str) -> Any:
    try:
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            number = float(value)
            if kind is float and math.isfinite(number):
                return number
            if kind is int and number == int(number):
                return int(value) if not isinstance(value, str) or value.isdigit() else int(number)
    except (ValueError, OverflowError):
        pass
    raise ConfigError(f"{where} must be {_called(kind)}, got {shown(value)}")


def _called(hint: Any) -> str:
    return {int: "a whole number", float: "a finite number", str: "text"}.get(hint, "settings")


def _objective_fields(config: Config) -> tuple[outline.Field, ...]:
    name = outline.Field("name", "str", "", "`ganvae objectives` lists them.")
    return (name, *outline.objective(config.objective).fields)


def _lines(name: str, values: Mapping[str, Any], known: tuple[outline.Field, ...]) -> list[str]:
    docs = {item.name: item for item in known}
    doc = docs[name].doc if name in docs else ""
    lines = [f"{name}:" + (f"  # {doc}" if doc else "")]
    for key, value in values.items():
        if isinstance(value, Mapping):
            inner = docs[key].fields if key in docs else ()
            first, *rest = _lines(key, value, inner)
            doc = docs[key].doc if key in docs else ""
            lines += [f"  {first}" + (f"  # {doc}" if doc else ""), *(f"  {x}" for x in rest)]
        else:
            text = f"  {key}: {_scalar(value)}"
            lines.append(f"{text}  # {docs[key].doc}" if key in docs else text)
    return lines


def _scalar(value: Any) -> str:
    import yaml

    value = str(value) if isinstance(value, str) else value  # of an Address, its text
    style = '"' if isinstance(value, str) and not _PLAIN.fullmatch(value) else None
    line: str = yaml.safe_dump(value, width=float("inf"), allow_unicode=True, default_style=style)
    return line.removesuffix("\n").removesuffix("\n...")


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    content = foreign.read(path, MAX_BYTES, f"the configuration {path}", ConfigError)
    try:
        document = yaml.load(content.decode(), _loader(path))
    except ConfigError:
        raise
    except Exception as error:  # YAML's constructors may raise anything
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None)
        why = words(error) if problem is None else short(str(problem), 160)
        raise ConfigError(f"{path} is not valid YAML{place}: {why}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path} must hold settings (key: value), got {type(document).__name__}")
    return document


def _loader(path: Path) -> Any:
    """A safe YAML loader with a limit of values, and without duplicate keys or aliases."""
    import yaml

    class Loader(yaml.SafeLoader):
        nodes = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.nodes += 1
            event = self.peek_event()
            here = f"{path}, line {event.start_mark.line + 1}"
            if isinstance(event, yaml.AliasEvent):
                raise ConfigError(f"{here}: aliases are not read, write the value out")
            if self.nodes > MAX_VALUES:
                raise ConfigError(f"{here}: there are more than {MAX_VALUES:,} values")
            return super().compose_node(parent, index)

    def mapping(loader: Loader, node: yaml.MappingNode) -> dict[Any, Any]:
        pairs = loader.construct_pairs(node, deep=True)
        result = dict(pairs)
        if len(result) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            twice = next(key for key, count in counts.items() if count > 1)
            line = node.start_mark.line + 1
            raise ConfigError(f"{path}: {shown(twice)} is there twice in the block at line {line}")
        return result

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    return Loader
