"""Configuration files, overrides and their errors."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganvae import config, objectives, outline
from ganvae.config import Config
from ganvae.errors import ConfigError

TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=40)
NONE = st.none()


def documents() -> st.SearchStrategy[dict[str, Any]]:
    """Valid nested configurations."""
    data = st.fixed_dictionaries(
        {},
        optional={
            "path": TEXT,
            "size": NONE | st.integers(1, 4096),
            "channels": st.sampled_from([None, 1, 3]),
            "labels": st.booleans(),
            "background": TEXT,
            "test_share": st.floats(0, 0.9),
            "cache": NONE | TEXT.filter(lambda t: t.lower() not in ("none", "null")),
        },
    )
    training = st.fixed_dictionaries(
        {},
        optional={
            "budget": TEXT,
            "seed": st.integers(0, 2**63 - 1),
            "lr_scale": st.floats(0, 1e6),
            "bf16": st.sampled_from([None, True, False]),
            "compile": st.sampled_from([None, True, False]),
        },
    )
    objective = st.sampled_from(["vae", {"name": "vae", "beta": 1e-7}, {"optim": {"lr": 3e-5}}])
    parts = {"data": data, "training": training, "objective": objective}
    return st.fixed_dictionaries({}, optional=parts)


@given(documents())
def test_what_is_dumped_loads_to_the_same(tmp_path_factory: Any, document: dict[str, Any]) -> None:
    before = config.parse(document)
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(config.dump(before), encoding="utf-8")
    assert config.load(path) == before
    assert config.parse(config.as_dict(before)) == before


def test_a_dump_is_complete_plain_yaml_with_a_comment_for_each_field() -> None:
    import yaml

    text = config.dump(Config())
    document = yaml.safe_load(text)
    for name in config.SECTIONS:
        assert document[name] == asdict(getattr(Config(), name))
    lines = [line for line in text.splitlines() if line.startswith("  ")]
    assert lines and all("  # " in line for line in lines)


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert config.load(tmp_path / "empty.yaml") == Config()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trainning: {}", "trainning does not exist; did you mean 'training'?"),
        ("training: {bugdet: 3m}", "training.bugdet does not exist; did you mean 'budget'?"),
        ("training: {batch: many}", "training.batch must be a whole number, got 'many'"),
        ("training: {batch: 1.5}", "training.batch must be a whole number"),
        ("training: {batch: true}", "training.batch must be a whole number"),
        ("training: {batch: 0}", "training.batch must be from 1"),
        ("training: {lr_scale: .nan}", "training.lr_scale must be a finite number"),
        ("training: {budget: 300}", "training.budget must be text, got 300"),
        ("training: 3", "training must hold settings"),
        ("data: {flip: perhaps}", "data.flip must be true or false"),
        ("data: {resize: zoom}", "data.resize must be one of cover, contain, stretch, pad"),
        ("data: {channels: 2}", "data.channels must be one of 1, 3"),
        ("objective: vea", "objective 'vea' does not exist; did you mean 'vae'?"),
        (
            "objective: {name: vae, bta: 2}",
            "objective.bta does not exist in vae; did you mean 'beta'?",
        ),
        ("objective: {optim: {learning: 2}}", "objective.optim.learning does not exist"),
        ("objective: 3", "objective must be a name"),
        ("training: {seed: 1, seed: 2}", "'seed' is there twice"),
        ("training: {batch: [", "is not valid YAML at line 1"),
        ("- a\n- b", "must hold settings"),
        ("!!python/object/apply:os.system ['true']", "is not valid YAML"),
        ("? [a]\n: b", "is not valid YAML"),
    ],
)
def test_a_fault_names_the_file_and_the_key(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        config.load(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: No such file"):
        config.load(tmp_path / "nowhere.yaml")


@given(st.binary(max_size=80))
def test_no_file_does_worse_than_an_error(tmp_path_factory: Any, content: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "x.yaml"
    path.write_bytes(content)
    try:
        assert isinstance(config.load(path), Config)
    except ConfigError as error:
        assert str(path) in str(error)


def test_overrides_are_typed_and_win() -> None:
    base = config.parse({"training": {"batch": 8}, "objective": {"name": "vae", "beta": 2}})
    values = {
        "training.batch": "32",
        "training.ema-half-life": "1e3",
        "data.size": "none",
        "data.flip": "true",
        "objective.free_bits": "0.5",
        "objective.optim.lr": "1e-3",
    }
    made = config.override(base, values)
    assert made.training.batch == 32
    assert made.training.ema_half_life == 1000 and type(made.training.ema_half_life) is int
    assert made.data.size is None and made.data.flip is True
    assert made.objective_options == {"beta": 2, "free_bits": "0.5", "optim": {"lr": "1e-3"}}
    built = objectives.build(made.objective, made.objective_options)
    assert built.optim.lr == 1e-3 and built.optim.beta1 == 0.9  # the rest of a group stays


def test_another_objective_begins_at_its_own_defaults() -> None:
    base = config.parse({"objective": {"name": "vae", "free_bits": 0.1}})
    assert config.override(base, {"objective": "gan"}).objective_options == {}
    assert config.override(base, {"objective": "vae"}).objective_options == {"free_bits": 0.1}


def test_an_override_of_a_group_is_refused() -> None:
    with pytest.raises(ConfigError, match="'seed' is not a group"):
        config.override(Config(), {"training.seed": 1, "training.seed.x": 1})


def test_difference_says_what_changed_and_the_digest_follows() -> None:
    old = Config()
    new = config.override(old, {"training.batch": 48, "objective": "vae", "data.path": "photos"})
    said = config.difference(old, new)
    assert said.splitlines() == ["objective.name: gan_vae -> vae", "training.batch: 32 -> 48"]
    assert "data.path: digits -> photos" in config.difference(old, new, incidental=True)
    assert config.difference(old, old) == ""
    assert config.digest(old) != config.digest(new)
    moved = config.override(old, {"data.path": "elsewhere", "training.keep": 5})
    assert config.digest(moved) == config.digest(old)


def test_incidental_settings_exist() -> None:
    known = {key for key, _ in config.flatten(config.as_dict(Config()))}
    assert known >= config.INCIDENTAL


# -- the outline: what help shows is what the classes have ----------------------------------------


def _plain(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _compare(found: tuple[outline.Field, ...], real: Any) -> None:
    assert [item.name for item in found] == [item.name for item in fields(real)]
    for item in found:
        value = getattr(real, item.name)
        assert item.doc, f"{item.name} needs a docstring"
        if is_dataclass(value):
            _compare(item.fields, value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            assert float(eval(item.default)) == value
        else:
            assert item.default == _plain(value)


@pytest.mark.parametrize("name", outline.objectives())
def test_the_outline_of_an_objective_is_the_objective(name: str) -> None:
    built = objectives.build(name)
    _compare(outline.objective(name).fields, built)
    assert outline.objective(name).doc.splitlines()[0] == (built.__doc__ or "").splitlines()[0]


@pytest.mark.parametrize("name", config.SECTIONS)
def test_the_outline_of_a_section_is_the_section(name: str) -> None:
    _compare(outline.read("ganvae.config", name.capitalize()).fields, getattr(Config(), name))


def test_the_outline_finds_the_objectives_that_the_registry_finds() -> None:
    assert outline.objectives() == objectives.names()


def test_reading_settings_imports_no_torch() -> None:
    code = (
        "import sys, json; from ganvae import config, outline;"
        "config.dump(config.Config()); [outline.objective(n) for n in outline.objectives()];"
        "print(json.dumps('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) is False


BOMBS = {
    "aliases": "a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(9)),
    "keys": "".join(f"k{i}: 1\n" for i in range(50_000)),
    "list": f"data: [{'1,' * 400_000}]",
    "depth": "[" * 100_000,
    "size": "x" * 3_000_000,
    "key": f"? {'a' * 900_000}\n: 1",
    "value": f"data: {{size: {'a' * 900_000}}}",
    "digits": f"data: {{size: {'9' * 5000}}}",
    "tag": "data: {size: !!int x}",
    "date": "data: {path: 2001-99-99}",
    "hexagesimal": f"data: {{size: 1:{'59:' * 3000}1}}",
    "bytes": "data: {path: !!binary x=y}",
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_file_takes_long_or_says_much(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    path.write_text(BOMBS[name])
    began = time.process_time()
    with pytest.raises(ConfigError, match=r"bomb\.yaml") as refused:
        config.load(path)
    assert time.process_time() - began < 3 and len(str(refused.value)) <= 500


def test_a_device_is_no_file_of_settings() -> None:
    with pytest.raises(ConfigError, match="not a regular file"):
        config.load("/dev/zero")


def test_a_key_that_is_there_twice_is_found_among_many(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("".join(f"k{i}: 1\n" for i in range(4000)) + "k7: 2\n")
    with pytest.raises(ConfigError, match="'k7' is there twice"):
        config.load(path)
