"""Rows M1 to M6 of the faults a model file must survive, and the writing of one."""

import errno
import hashlib
import json
import os
import pickle
import resource
import shutil
import time
import tracemalloc
from dataclasses import asdict
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from ganvae.config import Networks
from ganvae.errors import CheckpointError, ConfigError, DivergedError, GanvaeError
from ganvae.models import Model, ModelInfo, directory, load, tensors
from ganvae.networks import zoo

CONFIG, WEIGHTS = directory.CONFIG, directory.WEIGHTS


def edit(folder: Path, change) -> None:
    """Change config.json in place."""
    path = folder / CONFIG
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def put_weights(folder: Path, content: bytes) -> None:
    """Other weights with a digest that fits them, as an attacker would write it."""
    (folder / WEIGHTS).write_bytes(content)
    digest = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    edit(folder, lambda data: data.update(weights=digest))


def raw(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def state(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / WEIGHTS)


# -- a round trip ----------------------------------------------------------------------------


def test_a_saved_model_loads_equal(model: Model, folder: Path):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    again = load(folder)
    assert torch.equal(before, torch.random.get_rng_state()), "loading moved the global generator"
    assert again.info == model.info
    assert list(again.networks) == list(model.networks)
    for role, module in model.networks.items():
        other = again.networks[role].state_dict()
        for name, value in module.state_dict().items():
            assert torch.equal(value, other[name]), (role, name)
    assert torch.equal(again.generate(3), model.generate(3))
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", CONFIG, WEIGHTS]
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_the_file_is_plain_safetensors(model: Model, folder: Path):
    found = state(folder)
    assert torch.equal(found["prior.means"], model.prior.means)
    assert found["prior.fitted"].dtype is torch.bool


def test_a_run_directory_loads_its_model(model: Model, tmp_path: Path):
    model.save(tmp_path / "run" / "model")
    (tmp_path / "run" / "config.yaml").write_text("objective: gan_vae")
    assert load(str(tmp_path / "run")).info == model.info


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (lambda p: None, "does not exist"),
        (lambda p: p.mkdir(), "holds no model"),
        (lambda p: (p / "checkpoints").mkdir(parents=True), "--resume"),
        (lambda p: p.write_bytes(b""), "is a file"),
    ],
)
def test_places_without_a_model_are_named(tmp_path: Path, make_it, message: str):
    place = tmp_path / "here"
    make_it(place)
    with pytest.raises(ConfigError, match=message):
        load(place)


# -- M1: pickles -----------------------------------------------------------------------------


class Trap:
    """Unpickling it leaves a file behind."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("how", ["pickle", "torch", "legacy"])
def test_pickles_in_any_disguise_are_refused_and_not_run(folder: Path, how, protocol, tmp_path):
    mark = tmp_path / "ran"
    path = tmp_path / "evil"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Trap(mark), protocol=protocol))
    else:
        torch.save(Trap(mark), path, _use_new_zipfile_serialization=how == "torch")
    content = path.read_bytes()
    put_weights(folder, content)
    with pytest.raises(CheckpointError):
        load(folder)
    for name in ("model.pt", "model.pkl", "model.ckpt", "model.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match="is a file"):
            load(tmp_path / name)
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(CheckpointError, match="missing"):
        load(folder)
    (folder / CONFIG).write_bytes(content)
    with pytest.raises(ConfigError):
        load(folder)
    assert not mark.exists()
    if how == "pickle":  # the trap itself works
        pickle.loads(content)
        assert mark.exists()


def test_no_load_path_mentions_a_pickle_reader():
    for source in Path(directory.__file__).parent.glob("*.py"):
        text = source.read_text()
        assert "import pickle" not in text and "torch.load" not in text, source
        assert "allow_pickle=True" not in text, source


# -- M2: headers that lie --------------------------------------------------------------------


A = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
ENTRY = b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'


def many(count: int) -> bytes:
    return raw(b"{" + b",".join(ENTRY % i for i in range(count)) + b"}")


BOMBS = {
    "2^63": lambda: (2**63).to_bytes(8, "little") + b"{}" * 50,
    "2^64 - 1": lambda: b"\xff" * 8 + b"{}" * 50,
    "101 MB": lambda: raw(b" " * (101 * 10**6)),
    "a million tensors": lambda: many(1_000_000),
    "too many tensors": lambda: many(tensors.MAX_TENSORS + 1),
    "as many tensors as fit": lambda: many(30_000),
    "deep": lambda: raw(b"[" * 1_000_000),
    "deep objects": lambda: raw(b'{"a":' * 300_000),
    "huge number": lambda: raw(b'{"a":{"dtype":"F32","shape":[' + b"9" * 10**6 + b"]}}"),
    "huge shape": lambda: raw({"a": {**A, "shape": [2**62, 4]}}, bytes(8)),
    "wide shape": lambda: raw({"a": {**A, "shape": [1] * 10**5}}, bytes(8)),
    "many empty objects": lambda: raw(b"[" + b"{}," * 600_000 + b"{}]"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_lying_headers_are_refused_at_once(folder: Path, name: str):
    put_weights(folder, BOMBS[name]())
    start = time.process_time()
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    assert time.process_time() - start < 3
    assert len(str(caught.value)) < 1000
    tracemalloc.start()
    with pytest.raises(CheckpointError):
        load(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 10**6


# -- M3: broken structure --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no whole safetensors"),
        (b"\x05\0\0\0\0\0\0\0{}", "no whole safetensors"),
        (raw(b"[]"), "JSON object"),
        (raw(b"{'a': 1}"), "valid JSON"),
        (raw(b'{"a": NaN}'), "NaN"),
        (raw(b"\xff\xfe{}"), "valid JSON"),
        (raw(b'{"a":' + json.dumps(A).encode() + b',"a":' + json.dumps(A).encode() + b"}",
             bytes(8)), "duplicate keys 'a'"),
        (raw(b'{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', bytes(8)),
         "duplicate keys 'dtype'"),
        (raw({"a": A, "b": A}, bytes(8)), "overlaps"),
        (raw({"a": A, "b": {**A, "data_offsets": [4, 12]}}, bytes(12)), "overlaps"),
        (raw({"a": {**A, "data_offsets": [8, 16]}}, bytes(16)), "gap"),
        (raw({"a": A}, bytes(9)), "appended"),
        (raw({"a": A}, bytes(7)), "cut off"),
        (raw({"a": {**A, "data_offsets": [8, 0]}}, bytes(8)), "offsets"),
        (raw({"a": {**A, "data_offsets": [0, 9]}}, bytes(9)), "its shape needs 8"),
        (raw({"a": {**A, "shape": [-2]}}, bytes(8)), "shape"),
        (raw({"a": {**A, "shape": [2.0]}}, bytes(8)), "shape"),
        (raw({"a": {**A, "shape": [True, 2]}}, bytes(8)), "shape"),
        (raw({"a": {**A, "dtype": "F31"}}, bytes(8)), "dtype"),
        (raw({"a": {**A, "dtype": ["F32"]}}, bytes(8)), "dtype"),
        (raw({"a": {**A, "more": 1}}, bytes(8)), "nothing else"),
        (raw({"a": 3}, bytes(8)), "nothing else"),
        (raw({"__metadata__": {"a": 1}}), "metadata"),
    ],
)  # fmt: skip
def test_broken_structure_is_refused(folder: Path, content: bytes, message: str):
    put_weights(folder, content)
    with pytest.raises(CheckpointError, match=message):
        load(folder)


@pytest.mark.parametrize("consistent", [True, False])
def test_truncated_and_appended_files_are_refused(folder: Path, consistent: bool):
    whole = (folder / WEIGHTS).read_bytes()
    cuts = sorted({len(whole) * i // 20 for i in range(20)} | {7, 8, 9, len(whole) - 1})
    for content in [whole[:cut] for cut in cuts] + [whole + b"\0", whole + whole]:
        if consistent:
            put_weights(folder, content)
        else:
            (folder / WEIGHTS).write_bytes(content)
        with pytest.raises(CheckpointError):
            load(folder)
    put_weights(folder, whole)
    load(folder)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_fuzzed_headers_give_a_sentence_or_tensors(data):
    good = raw({"a": A, "b": {**A, "data_offsets": [8, 16]}}, bytes(16))
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        content = content or bytearray(b"\0")
    try:
        header = tensors.read_header(bytes(content), len(content), "file")
        found = tensors.read_tensors(content, header, "file")
    except CheckpointError:
        return
    assert sum(t.numel() * t.itemsize for t in found.values()) == len(content) - header.start


def test_our_reader_agrees_with_the_reference(tmp_path: Path):
    kinds = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int8,
             torch.int16, torch.int32, torch.uint8, torch.bool]  # fmt: skip
    made = {str(kind): torch.randn(3, 2, 1).mul(3).to(kind) for kind in kinds}
    made |= {"scalar": torch.tensor(2.5), "empty": torch.empty(0, 3)}
    content = safetensors.torch.save(made)
    header = tensors.read_header(content, len(content), "file")
    found = tensors.read_tensors(bytearray(content), header, "file")
    assert found.keys() == made.keys()
    for name, value in made.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


# -- M4: other tensors than the networks have ------------------------------------------------


def test_missing_extra_and_wrong_tensors_are_all_named(folder: Path):
    found = state(folder)
    del found["encoder.head.bias"], found["prior.means"]
    found["decoder.extra"] = torch.zeros(1)
    found["\x1b[31mred"] = torch.zeros(1)
    found["likelihood.log_scale"] = torch.zeros(2)
    found["prior.weights"] = found["prior.weights"].double()
    put_weights(folder, safetensors.torch.save(found))
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    text = str(caught.value)
    for name in ("encoder.head.bias", "prior.means", "decoder.extra", "likelihood.log_scale",
                 "prior.weights", "float64 [3], should be float32 [3]",
                 r"\x1b[31mred"):  # fmt: skip
        assert name in text, name
    assert "\x1b" not in text


def test_no_weights_at_all_are_named(folder: Path):
    put_weights(folder, safetensors.torch.save({}))
    with pytest.raises(CheckpointError, match=r"missing: .*encoder"):
        load(folder)


# -- M5: damaged values ----------------------------------------------------------------------


def test_every_flipped_bit_is_noticed(folder: Path):
    whole = bytearray((folder / WEIGHTS).read_bytes())
    random = torch.Generator().manual_seed(0)
    for _ in range(60):
        at = int(torch.randint(len(whole), (1,), generator=random))
        bit = 1 << int(torch.randint(8, (1,), generator=random))
        whole[at] ^= bit
        (folder / WEIGHTS).write_bytes(whole)
        with pytest.raises(CheckpointError):
            load(folder)
        whole[at] ^= bit
    (folder / WEIGHTS).write_bytes(whole)
    load(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(folder: Path, value: float):
    found = state(folder)
    found["decoder.body.0.weight"][0, 0] = value
    content = safetensors.torch.save(found, metadata={"format": "pt"})
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(CheckpointError, match="digest"):
        load(folder)
    put_weights(folder, content)
    with pytest.raises(CheckpointError, match=r"NaN or infinity in 'decoder.body.0.weight'"):
        load(folder)


def test_bytes_that_are_no_truth_values_are_refused(folder: Path):
    content = bytearray((folder / WEIGHTS).read_bytes())
    header = tensors.read_header(bytes(content), len(content), WEIGHTS)
    content[header.start + header.entries["prior.fitted"].begin] = 2
    put_weights(folder, bytes(content))
    with pytest.raises(CheckpointError, match=r"prior\.fitted"):
        load(folder)


def test_weights_of_another_model_are_refused(folder: Path, make, tmp_path: Path):
    other = make()
    other.networks["decoder"].body[0].bias.data += 1
    other.save(tmp_path / "other")
    (folder / WEIGHTS).write_bytes((tmp_path / "other" / WEIGHTS).read_bytes())
    with pytest.raises(CheckpointError, match="another model"):
        load(folder)


# -- M6: descriptions ------------------------------------------------------------------------


def at(path: str, value):
    """An edit: set ``a.b.c`` to a value."""

    def change(data):
        *above, last = path.split(".")
        for key in above:
            data = data[key]
        data[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("surprise", 1, "unknown keys: 'surprise'"),
        ("model.surprise", 1, "unknown keys: 'surprise'"),
        ("model.networks.surprise", 1, "unknown keys"),
        ("model.trained.surprise", 1, "unknown keys"),
        ("model.networks.width", 10**9, "between 1 and 4096"),
        ("model.networks.width", 0, "between"),
        ("model.networks.depth", 10**9, "between"),
        ("model.networks.depth", -1, "between"),
        ("model.networks.components", 10**9, "between"),
        ("model.networks.width", "32", "whole number"),
        ("model.networks.width", 32.0, "whole number"),
        ("model.networks.width", True, "whole number"),
        ("model.networks.width", None, "whole number"),
        ("model.networks.width", [32], "whole number"),
        ("model.networks.latent", 5, "latent"),
        ("model.networks.family", "os.system", "one of 'residual', 'mlp'"),
        ("model.networks.family", ["mlp"], "one of"),
        ("model.networks.prior", "torch.nn.Linear", "one of"),
        ("model.networks", "ganvae.config.Networks", "mapping"),
        ("model.shape.height", -8, "between"),
        ("model.shape.height", 10**9, "between"),
        ("model.shape.channels", 0, "between"),
        ("model.shape.latent", 2**40, "between"),
        ("model.objective", "os.system", "name of an objective"),
        ("model.objective", "", "name of an objective"),
        ("model.objective", 3, "text"),
        ("model.objective", "a" * 10**5, "characters long"),
        ("model.decoder", "__import__('os')", "network's role"),
        ("model.generator", "discriminator", "roles"),
        ("model.options", [], "mapping"),
        ("model.options", {"a": {"b": [1, {"c": "x" * 10**4}]}}, "characters long"),
        ("model.classes", "cats", "list"),
        ("model.classes", [1], "text"),
        ("model.resize", "eval", "one of"),
        ("model.trained.images", -1, "between"),
        ("model.trained.seconds", "1", "a number"),
        ("model.custom", ["encoder"], "modules of its author's own"),
        ("model.custom", ["critic"], "does not list the roles critic"),
        ("roles", ["encoder", "decoder", "generator"], "prior"),
        ("roles", ["decoder", "generator", "prior", "prior"], "cannot have"),
        ("roles", ["decoder", "generator", "prior", "discriminator"], "cannot have"),
        ("roles", ["decoder", "generator", "prior", "../../etc"], "cannot have"),
        ("weights.sha256", 3, "text"),
        ("weights.bytes", -1, "between"),
        ("library", "transformers", "no ganvae model"),
        ("format", 2, "upgrade"),
        ("format", "1", "whole number"),
    ],
)
def test_bad_descriptions_are_refused_before_anything_is_built(
    folder: Path, monkeypatch, path: str, value, message: str
):
    def built(*_):
        raise AssertionError("a network was built")

    monkeypatch.setattr(directory.zoo, "build", built)
    edit(folder, at(path, value))
    with pytest.raises(ConfigError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        '{"library": "ganvae", "library": "ganvae"}',
        '{"a": NaN}',
        '{"a":' * 100_000,
        "[" * 100_000,
        '{"format": ' + "9" * 5000 + "}",
        '{"library": "ganvae", "format": 1}',
        " " * (directory.MAX_CONFIG + 1),
    ],
)
def test_broken_json_is_refused(folder: Path, text: str):
    (folder / CONFIG).write_text(text)
    with pytest.raises(ConfigError):
        load(folder)


def test_a_deeply_nested_option_is_refused(folder: Path):
    nested: object = 1
    for _ in range(20):
        nested = {"a": nested}
    edit(folder, at("model.options", {"a": nested}))
    with pytest.raises(ConfigError, match="nested too deeply"):
        load(folder)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.networks.width", 4096),
        ("model.networks.depth", 64),
        ("model.networks.components", 10**4),
        ("model.shape.height", 4096),
        ("model.networks.family", "residual"),
        ("model.networks.prior", "normal"),
    ],
)
def test_the_largest_descriptions_allocate_nothing(folder: Path, path: str, value):
    edit(folder, at("model.networks.family", "residual"))
    edit(folder, at("model.shape.height", 256))
    edit(folder, at("model.shape.width", 256))
    edit(folder, at(path, value))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(GanvaeError):
        load(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


NETWORKS = sorted({kind for kinds in zoo.families.values() for kind in kinds})


def taken(folder: Path) -> tuple[float, float, str]:
    """CPU seconds and MiB that a refusal took, and what it says; no error where it loads."""
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        load(folder)
        said = ""
    except GanvaeError as error:
        said = str(error)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return time.process_time() - began, grown / 1024, said


def test_a_flow_over_a_huge_latent_is_refused_at_once(folder: Path):
    edit(folder, at("model.kinds", dict.fromkeys(("prior", "encoder", "decoder"), "flow_prior")))
    edit(folder, at("model.networks.latent", 2**16))
    edit(folder, at("model.shape.latent", 2**16))
    seconds, memory, said = taken(folder)
    assert seconds < 1 and memory < 100 and "does not fit" in said


def test_what_no_file_holds_is_bounded(folder: Path):
    """The transform of unpaired translation follows from the description alone."""
    edit(folder, at("model.kinds", {"encoder": "shared_encoder", "decoder": "shared_decoder"}))
    for key, value in {"family": "residual", "grid": 256, "grid_channels": 1024}.items():
        edit(folder, at(f"model.networks.{key}", value))
    shape = {"channels": 64, "height": 512, "width": 512, "latent": 4096, "classes": 0}
    edit(folder, at("model.shape", shape))
    seconds, memory, said = taken(folder)
    assert seconds < 1 and memory < 100 and "too many waves" in said


@settings(max_examples=25, deadline=None)
@given(
    kinds=st.dictionaries(
        st.sampled_from(["encoder", "decoder", "generator", "prior", "likelihood"]),
        st.sampled_from(NETWORKS),
        max_size=5,
    ),
    family=st.sampled_from(["residual", "mlp"]),
    side=st.sampled_from([8, 64, 512, 768, 4096]),
    channels=st.sampled_from([1, 3, 64]),
    latent=st.sampled_from([1, 4096, 2**16]),
    depth=st.sampled_from([0, 64]),
    width=st.sampled_from([1, 4096]),
    grid=st.sampled_from([2, 16, 256]),
    classes=st.sampled_from([0, 10**6]),
)
def test_no_description_takes_a_second_or_the_memory(
    make, tmp_path_factory, kinds, family, side, channels, latent, depth, width, grid, classes
):
    folder = make().save(tmp_path_factory.mktemp("m") / "model")
    networks = {"family": family, "width": width, "depth": depth, "grid": grid}
    chosen = Networks(latent=latent, grid_channels=latent // 64 or 1, codes=2**16, **networks)
    try:
        d = zoo.latent(kinds, chosen, (channels, side, side))
    except Exception:
        return
    edit(folder, at("model.kinds", kinds))
    edit(folder, at("model.networks", asdict(chosen)))
    edit(folder, at("model.shape", {
        "channels": channels, "height": side, "width": side, "latent": d, "classes": classes,
    }))  # fmt: skip
    seconds, memory, said = taken(folder)
    assert seconds < 1 and memory < 100 and 0 < len(said) <= 500


@pytest.mark.parametrize("path", ["roles", "model.custom", "model.classes", "model.networks"])
def test_messages_are_short(folder: Path, path: str):
    long = [f"a{i}" + "b" * 60 for i in range(9000)]
    edit(folder, at(path, dict.fromkeys(long, 1) if path == "model.networks" else long))
    for place in (folder, folder.parent / ("c" * 200) / ("d" * 200)):
        if not place.exists():
            shutil.copytree(folder, place)
        _, _, said = taken(place)
        assert 0 < len(said) <= 500 and said.isprintable()


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    ),
    st.sampled_from(["objective", "shape", "networks", "options", "classes", "trained", "custom"]),
)
def test_fuzzed_descriptions_give_a_sentence_or_a_description(value, key: str):
    good = {
        "objective": "vae",
        "options": {},
        "shape": {"channels": 1, "height": 8, "width": 8, "latent": 32},
        "networks": {},
    }
    try:
        made = ModelInfo.from_dict({**good, key: value})
    except ConfigError as error:
        assert "\n" not in str(error) and str(error).isprintable()
        return
    assert ModelInfo.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_a_pipe_or_a_folder_in_place_of_a_file_does_not_hang(folder: Path):
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)
    with pytest.raises(CheckpointError, match="regular file"):
        load(folder)
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).mkdir()
    with pytest.raises(CheckpointError):
        load(folder)


# -- modules of the user's own ---------------------------------------------------------------


class Tiny(nn.Module):
    """A decoder unlike the zoo's."""

    def __init__(self, hidden: int = 3):
        super().__init__()
        self.a, self.b = nn.Linear(4, hidden), nn.Linear(hidden, 64)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(z).relu()).tanh().unflatten(1, (1, 8, 8))


@pytest.fixture
def own(model: Model, tmp_path: Path) -> tuple[Model, Path]:
    info = ModelInfo(**{**vars(model.info), "custom": ("decoder",)})
    mine = Model({**model.networks, "decoder": Tiny()}, info)
    return mine, mine.save(tmp_path / "own")


def test_custom_modules_are_asked_for_and_filled(own: tuple[Model, Path]):
    mine, folder = own
    with pytest.raises(ConfigError, match=r'networks=\{"decoder": \.\.\.\}'):
        load(folder)
    fresh = Tiny()
    again = load(folder, networks={"decoder": fresh})
    assert again.networks["decoder"] is fresh
    z = torch.randn(3, 4)
    assert torch.equal(again.decode(z), mine.decode(z))
    assert "decoder" in (folder / "README.md").read_text()


def test_custom_modules_that_do_not_fit_are_named(own: tuple[Model, Path]):
    with pytest.raises(
        CheckpointError, match=r"'decoder.a.weight' is float32 \[3, 4\], should be"
    ):
        load(own[1], networks={"decoder": Tiny(5)})
    with pytest.raises(CheckpointError, match="missing"):
        load(own[1], networks={"decoder": nn.Linear(3, 3)})
    with pytest.raises(ConfigError, match="'critic'"):
        load(own[1], networks={"decoder": Tiny(), "critic": Tiny()})
    with pytest.raises(CheckpointError, match=r"unexpected: 'decoder\.a"):
        load(own[1], networks={"decoder": nn.Sequential()})


def test_state_that_is_no_tensor_is_refused(model: Model, tmp_path: Path):
    class Odd(Tiny):
        def get_extra_state(self):
            return {"anything": 1}

    info = ModelInfo(**{**vars(model.info), "custom": ("decoder",)})
    with pytest.raises(ConfigError, match="_extra_state"):
        Model({**model.networks, "decoder": Odd()}, info).save(tmp_path / "odd")
    assert not (tmp_path / "odd").exists()


def test_tied_weights_survive(model: Model, tmp_path: Path):
    class Tied(Tiny):
        def __init__(self):
            super().__init__()
            self.c = self.a

    info = ModelInfo(**{**vars(model.info), "custom": ("decoder",)})
    mine = Model({**model.networks, "decoder": Tied()}, info)
    again = load(mine.save(tmp_path / "tied"), networks={"decoder": Tied()})
    assert torch.equal(again.networks["decoder"].c.weight, mine.networks["decoder"].a.weight)


# -- writing ---------------------------------------------------------------------------------


def test_saving_again_replaces_and_keeps_other_files(model: Model, folder: Path, make):
    (folder / "LICENSE").write_text("mine")
    (folder / "pictures").mkdir()
    other = make(images=777)
    other.save(folder)
    assert load(folder).info.trained.images == 777
    assert (folder / "LICENSE").read_text() == "mine" and (folder / "pictures").is_dir()
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_folder_of_other_things_is_left_alone(model: Model, tmp_path: Path):
    (tmp_path / "photo.png").write_bytes(b"precious")
    (tmp_path / "config.json").write_text('{"library": "transformers"}')
    with pytest.raises(ConfigError, match="nothing of yours is lost"):
        model.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "photo.png"]
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        model.save(tmp_path / "file")


def test_weights_that_are_not_finite_are_not_saved(folder: Path, make):
    before = (folder / WEIGHTS).read_bytes()
    broken = make()
    broken.networks["decoder"].body[0].bias.data[0] = float("nan")
    with pytest.raises(DivergedError, match=r"decoder\.body\.0\.bias"):
        broken.save(folder)
    assert (folder / WEIGHTS).read_bytes() == before
    load(folder)


@pytest.mark.parametrize(
    "options", [{"a": float("nan")}, {"a": object()}, {"a": {1: 2}}, {"a": {"b": [torch.ones]}}]
)
def test_options_that_are_no_json_are_refused(model: Model, options):
    with pytest.raises(ConfigError):
        ModelInfo(**{**vars(model.info), "options": options})


@pytest.mark.parametrize("fail_at", range(1, 12))
def test_a_crash_anywhere_leaves_the_old_or_the_new_model(
    folder: Path, model: Model, make, fail_at: int
):
    """The process ends at its n-th touch of the disk; a model always loads afterwards."""
    child = os.fork()
    if not child:
        left = fail_at

        def counted(function):
            def call(*args, **kwargs):
                nonlocal left
                left -= 1
                if not left:
                    os._exit(9)
                return function(*args, **kwargs)

            return call

        for module, name in [
            (directory.os, "fsync"), (directory.os, "rename"), (directory.shutil, "rmtree"),
            (directory, "write_file"),
        ]:  # fmt: skip
            setattr(module, name, counted(getattr(module, name)))
        try:
            make(images=777).save(folder)
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    seen = load(folder).info.trained.images
    assert seen in ((777,) if code == 0 else (100, 777))
    model.save(folder)  # and the next save works
    assert load(folder).info == model.info
    names = {path.name for path in folder.parent.iterdir()}
    assert {name for name in names if not name.startswith(".ganvae-")} == {"model"}


def test_the_crash_test_meets_every_point(folder: Path, make, monkeypatch):
    """At least one of its crashes is after the last touch, so none is left out."""
    count = 0
    for module, name in [
        (directory.os, "fsync"), (directory.os, "rename"), (directory.shutil, "rmtree"),
        (directory, "write_file"),
    ]:  # fmt: skip
        function = getattr(module, name)

        def call(*args, _function=function, **kwargs):
            nonlocal count
            count += 1
            return _function(*args, **kwargs)

        monkeypatch.setattr(module, name, call)
    make().save(folder)
    assert 9 <= count <= 12


def test_a_full_disk_is_named_and_the_old_model_stays(model: Model, folder: Path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(directory.os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"model needs [\d,]+ bytes and [\d,]+ are free"):
        model.save(folder)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_symlinked_folders_are_written_through(model: Model, folder: Path, tmp_path: Path):
    link = tmp_path / "link"
    link.symlink_to(folder, target_is_directory=True)
    model.save(link)
    assert link.is_symlink() and load(link).info == model.info


def test_other_sizes_need_other_weights(folder: Path):
    edit(folder, at("model.networks", {**vars(Networks(family="mlp", latent=4, components=5))}))
    with pytest.raises(CheckpointError, match=r"prior.means' is float32 \[3, 4\]"):
        load(folder)
