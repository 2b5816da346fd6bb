"""A model's directory: config.json and model.safetensors, read with distrust, written whole.

Nothing here can run code from a file: no pickle, no class paths. A description is checked before
any network is built, the tensors' names and shapes before any is allocated, the digest before any
is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ganvae import files
from ganvae.errors import CheckpointError, ConfigError, DivergedError, GanvaeError
from ganvae.foreign import read_json
from ganvae.models import prior_names, tensors
from ganvae.models.info import ModelInfo
from ganvae.models.strict import parse
from ganvae.networks import zoo
from ganvae.telling import quoted, short, shown, some, words
from ganvae.version import VERSION

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
FORMAT = 1
MAX_CONFIG = 2 * 2**20


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Digest and size of model.safetensors."""

    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Record:
    """The contents of config.json."""

    library: Literal["ganvae"]
    format: int
    version: str
    model: ModelInfo
    roles: tuple[str, ...]
    weights: Weights


def roles_of(info: ModelInfo) -> tuple[str, ...]:
    """The roles that inference can need, in their order."""
    trained = ("encoder", info.decoder, info.generator, "prior", "likelihood")
    return tuple(dict.fromkeys((*trained, *prior_names.ROLES.values())))


# -- finding and reading -----------------------------------------------------------------------


def find(path: Path) -> Path:
    """The model directory that ``path`` is, or that the run directory ``path`` holds.

    Raises ConfigError where there is none.
    """
    if path.is_file():
        raise ConfigError(
            f"{path} is a file; give the model's directory, the one with {CONFIG} and {WEIGHTS}"
            + ("" if path.name in (CONFIG, WEIGHTS) else " (pickles and checkpoints are not read)")
        )
    for folder in (path, path / "model"):
        candidate = folder if folder.exists() else replaced(folder)
        if (candidate / CONFIG).is_file():
            return candidate
    if not path.exists():
        raise ConfigError(f"{path} does not exist; give a model's or a run's directory")
    if (path / "checkpoints").is_dir():
        raise ConfigError(
            f"the run {path} has not saved a model yet; finish it with "
            f"ganvae train --resume --out {quoted(str(path))}"
        )
    raise ConfigError(f"{path} holds no model: there is no {CONFIG} in it or in its model/")


def read(
    folder: Path, networks: Mapping[str, nn.Module] | None = None
) -> tuple[dict[str, nn.Module], ModelInfo]:
    """The networks by role and the description of the model in ``folder``.

    networks: modules for the roles that were the user's own; the weights are loaded into them

    Raises ConfigError for a description that is not understood, CheckpointError for damage.
    """
    with _brief(folder):
        return _read(folder, dict(networks or {}))


@contextmanager
def _brief(place: Path) -> Iterator[None]:
    """Shortens errors to one sentence: what they quote of a description may be long."""
    try:
        yield
    except (ConfigError, CheckpointError) as error:
        raise type(error)(short(str(error))) from None
    except MemoryError:
        raise CheckpointError(f"there is not enough memory for the model {place}") from None


def _read(folder: Path, modules: dict[str, nn.Module]) -> tuple[dict[str, nn.Module], ModelInfo]:
    record = read_record(folder)
    _check_modules(record, modules)
    weights = _read_weights(folder / WEIGHTS, record, modules)
    networks: dict[str, nn.Module] = {}
    for role in record.roles:
        networks[role] = modules[role] if role in modules else _build(role, record.model)
        state = {k[len(role) + 1 :]: v for k, v in weights.items() if k.startswith(f"{role}.")}
        try:
            networks[role].load_state_dict(state)
        except RuntimeError as error:
            raise CheckpointError(f"{WEIGHTS} does not load into the {role}: {error}") from error
    return networks, record.model


def read_record(folder: Path) -> Record:
    """config.json of a model directory, validated. Raises ConfigError."""
    with _brief(folder):
        return _record(folder / CONFIG)


def _record(path: Path) -> Record:
    with _open(path) as (file, size):
        if size > MAX_CONFIG:
            raise ConfigError(f"{path} has {size:,} bytes, at most {MAX_CONFIG:,}")
        data = read_json(file.read(MAX_CONFIG), str(path), ConfigError)
    if data.get("library") != "ganvae":
        raise ConfigError(f'{path} describes no ganvae model (its library is not "ganvae")')
    if type(data.get("format")) is int and data["format"] > FORMAT:
        raise ConfigError(
            f"{path} has format {shown(data['format'])}, this version of ganvae reads {FORMAT}; "
            f"upgrade with pip install --upgrade ganvae"
        )
    record = parse(Record, data, str(path))
    allowed = roles_of(record.model)
    wrong = [role for role in record.roles if role not in allowed]
    if wrong or len(set(record.roles)) != len(record.roles):
        raise ConfigError(f"{path} lists roles it cannot have: {shown(list(record.roles))}")
    required = (record.model.generator, "prior", record.model.prior, *record.model.custom)
    missing = [role for role in dict.fromkeys(required) if role not in record.roles]
    if missing:
        raise ConfigError(f"{path} does not list the roles {', '.join(missing)}")
    return record


def _check_modules(record: Record, modules: Mapping[str, nn.Module]) -> None:
    unknown = [role for role in modules if role not in record.roles]
    if unknown:
        raise ConfigError(
            f"networks= names {', '.join(map(shown, unknown))}; this model has the roles "
            f"{', '.join(record.roles)}"
        )
    missing = [role for role in record.model.custom if role not in modules]
    if missing:
        example = ", ".join(f'"{role}": ...' for role in missing)
        raise ConfigError(
            f"this model was trained with modules of its author's own for {', '.join(missing)}; "
            f"pass them, built the same way: load(path, networks={{{example}}})"
        )


class _Unfilled(TorchFunctionMode):
    """Skips initialisation of weights inside it: on the meta device that would take a second."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        if name in _FILLING:
            return args[0] if args else kwargs["tensor"]
        return kwargs["out"] if name == "eye" and "out" in kwargs else function(*args, **kwargs)


_FILLING = {
    "kaiming_uniform_", "kaiming_normal_", "uniform_", "normal_", "zero_", "fill_", "ones_",
    "zeros_", "constant_",
}  # fmt: skip


def _sketch(role: str, record: Record) -> nn.Module:
    """The network on the meta device, so without memory."""
    try:
        with torch.device("meta"), _Unfilled():
            return _fresh(role, record.model)
    except Exception as error:  # a wrong kind of network may raise anything
        raise ConfigError(
            f"no {role} can be built as {CONFIG} describes it: {words(error)}"
        ) from error


def _expected(record: Record, modules: Mapping[str, nn.Module], limit: int) -> dict[str, Tensor]:
    """The tensors that the networks should have, without memory; stops beyond ``limit``."""
    sketches: dict[str, Tensor] = {}
    for role in record.roles:
        network = modules[role] if role in modules else _sketch(role, record)
        sketches |= {f"{role}.{name}": value for name, value in state_of(role, network).items()}
        if len(sketches) > limit:
            break
    return sketches


def _build(role: str, info: ModelInfo) -> nn.Module:
    with torch.random.fork_rng(devices=[]):  # loading leaves the global random state as it is
        return _fresh(role, info)


def _fresh(role: str, info: ModelInfo) -> nn.Module:
    return zoo.build(info.kinds.get(role, role), info.networks, info.shape)


def state_of(role: str, module: nn.Module) -> dict[str, Tensor]:
    """A module's state. Raises ConfigError where it is more than tensors."""
    state = module.state_dict()
    odd = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if odd:
        raise ConfigError(
            f"the {role} keeps something other than tensors in its state "
            f"({', '.join(odd)}); models are saved without pickle, so make it a buffer"
        )
    return dict(state)


class _open:
    """A regular file and its size; anything else, a pipe for one, is refused without waiting."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> tuple[BinaryIO, int]:
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            self.file = os.fdopen(os.open(self.path, flags), "rb")
        except FileNotFoundError:
            raise CheckpointError(
                f"{self.path} is missing; a model directory holds {CONFIG} and {WEIGHTS}"
            ) from None
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be read: {error.strerror}") from None
        status = os.fstat(self.file.fileno())
        if not stat.S_ISREG(status.st_mode):
            self.file.close()
            raise CheckpointError(f"{self.path} is not a regular file")
        return self.file, status.st_size

    def __exit__(self, *_: object) -> None:
        self.file.close()


def _read_weights(
    path: Path, record: Record, modules: Mapping[str, nn.Module]
) -> dict[str, Tensor]:
    weights = record.weights
    with _open(path) as (file, size):
        head = file.read(8 + tensors.MAX_HEADER)
        header = tensors.read_header(head, size, str(path))
        _compare(header, _expected(record, modules, len(header.entries) + 100), path)
        if size != weights.bytes:
            raise CheckpointError(f"{path} has {size:,} bytes, {CONFIG} says {weights.bytes:,}")
        content = bytearray(size)
        file.seek(0)
        count = file.readinto(content)  # type: ignore[attr-defined]
    if count != size or hashlib.sha256(content).hexdigest() != weights.sha256:
        raise CheckpointError(
            f"{path} does not match its digest in {CONFIG}: it is damaged, or belongs to another "
            f"model; copy both files again"
        )
    if not content.startswith(head[: header.start]):
        raise CheckpointError(f"{path} changed while it was read")
    return tensors.read_tensors(content, header, str(path))


def _compare(header: tensors.Header, expected: Mapping[str, Tensor], path: Path) -> None:
    """Raises CheckpointError that lists every tensor that is missing, unexpected or different."""
    entries = header.entries
    faults = []
    missing = [name for name in expected if name not in entries]
    extra = [name for name in entries if name not in expected]
    if missing:
        faults.append(f"missing: {some([*map(ascii, missing)])}")
    if extra:
        faults.append(f"unexpected: {some([*map(ascii, extra)])}")
    for name, tensor in expected.items():
        if name not in entries:
            continue
        entry, should = entries[name], (tuple(tensor.shape), tensor.dtype)
        if (entry.shape, entry.dtype) != should:
            faults.append(
                f"{name!a} is {_words(entry.shape, entry.dtype)}, should be {_words(*should)}"
            )
    if faults:
        raise CheckpointError(
            f"{path} does not fit the networks that {CONFIG} describes: "
            f"{short('; '.join(faults))}; copy the model anew, {CONFIG} and {path.name} together"
        )


def _words(shape: tuple[int, ...], dtype: torch.dtype) -> str:
    return f"{str(dtype).removeprefix('torch.')} {list(shape)}"


# -- writing -----------------------------------------------------------------------------------


def write(folder: Path, networks: Mapping[str, nn.Module], info: ModelInfo, card: str) -> None:
    """Write a model directory, whole or not at all; another model there is replaced.

    Files of other names in a model's directory stay. Raises DivergedError for weights that are not
    finite, ConfigError for a folder that holds something else, CheckpointError where the disk
    refuses.
    """
    folder = Path(os.path.realpath(folder))
    _check_place(folder)
    contents = encode(networks, info) | {CARD: card.encode("utf-8", "replace")}
    scratch = files.scratch(folder)
    try:
        scratch.mkdir(parents=True)
        for name, content in contents.items():
            write_file(scratch / name, content)
        files.sync(scratch)
        for name, content in contents.items():
            if (scratch / name).read_bytes() != content:
                raise CheckpointError(f"{scratch / name} reads back differently; a failing disk?")
        _replace(scratch, folder)
    except OSError as error:
        raise files.explain(error, folder, sum(map(len, contents.values()))) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def encode(networks: Mapping[str, nn.Module], info: ModelInfo) -> dict[str, bytes]:
    """The contents of model.safetensors and config.json."""
    state = {
        f"{role}.{name}": value.detach().to("cpu", copy=True).contiguous()
        for role, module in networks.items()
        for name, value in state_of(role, module).items()
    }
    bad = tensors.not_finite(state)
    if bad:
        raise DivergedError(f"not saved: {', '.join(bad)} hold NaN or infinity")
    content = safetensors.torch.save(state, metadata={"format": "pt"})
    tensors.read_header(content, len(content), WEIGHTS)  # refuses now what could not be loaded
    record = Record(
        library="ganvae",
        format=FORMAT,
        version=VERSION,
        model=info,
        roles=tuple(networks),
        weights=Weights(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content)),
    )
    try:
        text = json.dumps(asdict(record) | {"model": info.to_dict()}, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the model's description cannot be written as JSON: {error}") from None
    parse(Record, json.loads(text), CONFIG)
    if len(text) >= MAX_CONFIG:
        raise ConfigError(f"the model's description has {len(text):,} bytes, too many to load")
    return {WEIGHTS: content, CONFIG: text.encode() + b"\n"}


def write_file(path: Path, content: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _check_place(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; give a folder for the model")
    if folder.is_dir() and any(folder.iterdir()):
        try:
            read_record(folder)
        except GanvaeError:
            raise ConfigError(
                f"{folder} holds files that are no ganvae model; give a new folder, so that "
                f"nothing of yours is lost"
            ) from None


def replaced(folder: Path) -> Path:
    """The name of a model directory while another takes its place."""
    return folder.with_name(f".{folder.name}.replaced")


def _replace(scratch: Path, folder: Path) -> None:
    """Move a finished directory into place; at every instant one of the two can be found."""
    old = replaced(folder)
    if folder.exists():
        _absorb(old, folder)  # what a crash left
        os.rename(folder, old)
    os.rename(scratch, folder)
    files.sync(folder.parent)
    _absorb(old, folder)


def _absorb(old: Path, folder: Path) -> None:
    """Remove a replaced model; files of other names move to the new one, or stay."""
    if old.is_symlink() or not old.is_dir():
        return
    for entry in list(old.iterdir()):
        if entry.name in (CONFIG, WEIGHTS, CARD):
            files.remove(entry)
        elif not os.path.lexists(folder / entry.name):
            os.rename(entry, folder / entry.name)
    if not any(old.iterdir()):
        old.rmdir()
