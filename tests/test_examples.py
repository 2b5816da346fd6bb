"""The examples, run as a reader runs them: a few steps, and then what they left is used."""

from __future__ import annotations

import copy
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.testing import assert_close

import ganvae
from ganvae.models import images
from ganvae.objectives.base import frozen
from ganvae.training.log import read

FOLDER = Path(__file__).parents[1] / "examples"
STEPS = 100  # every fiftieth is logged however quick it was: here one of either stage
QUICK = """
objective: {name: gan_vae, share: 0.5, representation: {fit: 200}}
training: {evaluations: 0, previews: 0, tensorboard: false}
evaluation: {samples: 16, importance: 2, priors: false}
"""
ROLES = ("encoder", "decoder", "generator", "discriminator")


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script finds the modules beside it."""
    monkeypatch.syspath_prepend(str(FOLDER))


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "blots.npz"
    y, x = np.mgrid[:28, :28]
    places = np.random.default_rng(0).uniform(6, 22, (64, 2))
    blots = [np.hypot(x - a, y - b) < 5 for a, b in places]
    np.savez(path, x=(255 * np.stack(blots)).astype(np.uint8))
    return path


def trained(name: str, data: Path, out: Path, steps: int = STEPS) -> Path:
    config = out.with_suffix(".yaml")
    config.write_text(QUICK)
    options = {"--data": data, "--budget": f"{steps}steps", "--out": out, "--config": config}
    arguments = [str(part) for pair in options.items() for part in pair]
    command = [sys.executable, str(FOLDER / f"{name}.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert f"done after {steps} steps" in done.stdout
    return out


@pytest.fixture(scope="module")
def keras_run(pixels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained("keras_networks", pixels, tmp_path_factory.mktemp("run") / "keras")


def has_moved(run: Path, role: str, start: torch.nn.Module) -> bool:
    """Whether every weight matrix of a network differs at the run's end from its beginning."""
    *_, last = sorted((run / "checkpoints").glob("step-*"))
    after = load_file(last / f"networks.{role}.safetensors")
    before = start.state_dict()
    assert before and before.keys() == after.keys()
    return not any(torch.equal(v, after[key]) for key, v in before.items() if v.ndim > 1)


def losses(run: Path) -> dict[str, float]:
    """The last loss of every network; all that were logged are finite numbers."""
    lines = [line for line in read(run / "metrics.jsonl") if "event" not in line]
    found = {k[5:]: v for line in lines for k, v in line.items() if k[:5] == "loss/"}
    assert all(np.isfinite(value) for value in found.values())
    return found


def drawn(model: ganvae.Model) -> np.ndarray:
    return np.asarray(images.grid(model.generate(64, seed=0), 8, scale=2))


def test_the_keras_example_moves_all_four_networks_by_finite_losses(keras_run: Path) -> None:
    assert losses(keras_run).keys() == set(ROLES)
    for role, start in example("keras_networks").networks().items():
        assert has_moved(keras_run, role, start), role


def test_what_the_keras_example_saved_generates_the_same_in_another_process(
    keras_run: Path,
) -> None:
    module = example("keras_networks")
    module.networks()  # keras counts its layers: their names are others now than in the run
    networks = module.networks(seed=7)
    del networks["discriminator"]
    model = ganvae.load(keras_run, networks=networks)
    with Image.open(keras_run / "samples.png") as seen:
        assert np.array_equal(drawn(model), np.asarray(seen))

    import keras

    z = model.latents(4, seed=1).clone()  # keras keeps gradients, which an inference tensor cannot
    again = keras.models.load_model(keras_run / "generator.keras")
    assert_close(again(z).detach(), model.render(z))


@pytest.mark.parametrize("role", ROLES)
def test_a_keras_network_does_what_training_asks_of_a_module(role: str) -> None:
    net = example("keras_networks").networks()[role].to(memory_format=torch.channels_last)
    seeing = role in ("encoder", "discriminator")
    x = torch.rand(3, 1, 28, 28) if seeing else torch.randn(3, 32)

    def of(call) -> torch.Tensor:  # type: ignore[no-untyped-def]
        made = call(x)
        return made.mean if role == "encoder" else made

    before = of(net).detach()
    twin = copy.deepcopy(net)
    assert twin.state_dict().keys() == net.state_dict().keys()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.01
    assert not torch.equal(of(net), before) and torch.equal(of(twin), before)

    x.requires_grad_()
    of(frozen(net)).sum().backward()
    assert x.grad is not None and all(p.grad is None for p in net.parameters())
    held = {name: value.detach() for name, value in twin.named_parameters()}
    assert torch.equal(of(lambda x: torch.func.functional_call(net, held, (x,))), before)

    of(net).sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in net.parameters())
    net.zero_grad(set_to_none=True)
    assert all(p.grad is None for p in net.parameters())
    net.load_state_dict(twin.state_dict())
    assert torch.equal(of(net), before)


def test_the_state_of_keras_layers_is_kept_by_the_network() -> None:
    import keras

    module = example("keras_networks")
    model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(momentum=0.5)])
    net = module.KerasNetwork(model)
    twin = copy.deepcopy(net)
    net(torch.full((8, 4), 6.0))
    kept = {name: value.clone() for name, value in net.named_buffers()}
    assert any(torch.equal(value, torch.full((4,), 3.0)) for value in kept.values())
    assert not any(torch.equal(value, torch.full((4,), 3.0)) for value in twin.buffers())
    net.eval()(torch.zeros(8, 4))
    assert all(torch.equal(value, kept[name]) for name, value in net.named_buffers())
    assert any(np.allclose(v, 3) for v in module.to_keras(net).non_trainable_variables)


@pytest.mark.slow
def test_an_encoder_of_ones_own_is_trained_saved_and_loaded(pixels: Path, tmp_path: Path) -> None:
    run = trained("own_network", pixels, tmp_path / "own", steps=4)
    start = example("own_network").encoder()
    assert has_moved(run, "encoder", start)
    model = ganvae.load(run, networks={"encoder": start})
    with Image.open(run / "samples.png") as seen:
        assert np.array_equal(drawn(model), np.asarray(seen))
