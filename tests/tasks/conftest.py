from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ganvae import objectives
from ganvae.config import Config, Networks
from ganvae.models import Model, ModelInfo
from ganvae.networks import zoo
from ganvae.types import Shape

ROLES = ("encoder", "decoder", "generator", "prior", "likelihood")


def make_model(
    roles: tuple[str, ...] = ROLES, channels: int = 1, classes: tuple[str, ...] = (), **info
) -> Model:
    settings = Config(networks=Networks(family="mlp", latent=4, components=3))
    count = len(classes)
    shape = Shape(channels=channels, height=8, width=8, latent=4, classes=count)
    info = {"classes": classes, "class_shares": [1 / max(count, 1)] * count} | info
    generator = "generator" if "generator" in roles else "decoder"
    decoder = "decoder" if "decoder" in roles else "generator"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = {role: zoo.build(role, settings.networks, shape) for role in roles}
        told = [torch.arange(60) % count] if count else []
        networks["prior"].fit(torch.randn(60, 4) * torch.tensor([1.0, 2, 3, 4]), *told)
        for role in roles:  # fresh weights map everything to nearly one image
            for parameter in networks[role].parameters():
                if parameter.ndim > 1:
                    parameter.data.mul_(2)
    given = {"decoder": decoder, "generator": generator, "fingerprint": "abc", "images": 100}
    return Model(networks, ModelInfo.of(settings, shape, **(given | info)))


def make_from_source(name: str, channels: int = 3, size: int = 16, source: int = 1) -> Model:
    """An untrained model of completion or translation."""
    objective = objectives.get(name)
    settings = Config(objective=name, networks=Networks(width=8, latent=4))
    shape = Shape(
        channels=channels,
        height=size,
        width=size,
        latent=zoo.latent(objective.kinds, settings.networks, (channels, size, size)),
        source=channels + 1 if objective.task == "complete" else source,
    )
    kinds = {r: k for r, k in objective.kinds.items() if r in ("encoder", "generator", "prior")}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = {
            role: zoo.build(kinds.get(role, role), settings.networks, shape)
            for role in ("encoder", "generator", "prior")
        }
    info = ModelInfo.of(
        settings,
        shape,
        decoder=objective.decoder,
        generator=objective.generator,
        kinds=kinds,
        task=objective.task,
        paired=objective.paired,
    )
    return Model(networks, info)


@pytest.fixture(scope="session")
def completion() -> Model:
    return make_from_source("completion")


@pytest.fixture(scope="session")
def make_translation() -> Callable[..., Model]:
    return make_from_source


@pytest.fixture(scope="session")
def make() -> Callable[..., Model]:
    return make_model


@pytest.fixture(scope="session")
def model() -> Model:
    return make_model()


@pytest.fixture
def folder(model: Model, tmp_path: Path) -> Path:
    return model.save(tmp_path / "model")
