"""The check that a refactoring changed nothing notices what changes."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def same() -> Any:
    spec = importlib.util.spec_from_file_location("same", ROOT / "tools" / "same.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_single_bit_of_a_tensor_shows(same: Any, tmp_path: Path) -> None:
    path, weight = tmp_path / "a.safetensors", torch.zeros(3)
    save_file({"w": weight}, path)
    before = same.of_tensors([path])
    save_file({"w": weight}, path)
    assert same.of_tensors([path]) == before
    for changed in ({"w": torch.tensor([0, 0, 1e-45])}, {"v": weight}, {"w": weight.double()}):
        save_file(changed, path)
        assert same.of_tensors([path]) != before


def test_what_differs_each_time_does_not_show_and_the_rest_does(same: Any, tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    digests = []
    for seconds, kid in ((1, 0.5), (2, 0.5), (2, 0.6)):
        path.write_text(json.dumps({"kid": [{"value": kid, "seconds": seconds}]}))
        digests.append(same.of_json(path))
    assert digests[0] == digests[1] != digests[2]


def test_every_objective_is_a_case_and_changes_are_named(same: Any) -> None:
    from ganvae import objectives

    assert set(objectives.names()) <= set(same.cases())
    before = {"vae": {"model": "1", "checkpoint": "2"}}
    assert not list(same.differences(before, before))
    now = {"vae": {"model": "1", "checkpoint": "3", "more": "4"}, "new": {}}
    assert list(same.differences(before, now)) == ["vae: checkpoint, more", "new: not recorded"]
