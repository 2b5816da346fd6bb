"""Small stand-ins for a model, its data and a judge."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganvae.metrics import judge
from ganvae.types import Noise, Posterior, mix


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def pictures(n: int, seed: int, side: int = 16, channels: int = 1) -> Tensor:
    """n 8-bit images of a bright disc anywhere on a gradient, (n, C, side, side) in [-1, 1]."""
    g = torch.Generator().manual_seed(seed)
    u = torch.rand(n, 5, generator=g)[..., None, None]
    y, x = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    disc = ((x - u[:, 0]) ** 2 + (y - u[:, 1]) ** 2 < (0.1 + 0.2 * u[:, 2]) ** 2).float()
    image = (0.3 * u[:, 3] * x + (0.4 + 0.6 * u[:, 4]) * disc).clamp(0, 1)
    image = image[:, None].expand(-1, channels, -1, -1)
    return (image * 255).round() / 127.5 - 1


class Pictures:
    """Images in memory, as the metrics see them."""

    def __init__(self, images: Tensor):
        self.all = images
        self.fingerprint = hashlib.sha256(images.numpy().tobytes()).hexdigest()
        self.reads = 0
        self.labels = None

    def __len__(self) -> int:
        return len(self.all)

    def images(self, rows: np.ndarray) -> Tensor:
        self.reads += len(rows)
        return self.all[torch.from_numpy(np.asarray(rows))]

    def sources(self, rows: np.ndarray) -> Tensor:
        raise AssertionError("nothing is made from others here")


@dataclass
class PictureData:
    train: Pictures
    test: Pictures
    fingerprint: str = "d474"
    leaked: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    paired: bool | None = None
    stream: object = None


class Sampler:
    """A GAN-like model that draws from a stock of images; sample i depends on seed and i."""

    def __init__(self, stock: Tensor, noise: float = 0.0):
        self.stock, self.noise = stock, noise
        self.info = SimpleNamespace(task="generate")
        self.networks: dict[str, Any] = {"generator": nn.Identity()}
        self.prior = SimpleNamespace(
            log_prob=lambda z: -0.5 * (z**2 + math.log(2 * math.pi)).sum(1)
        )
        self.device = torch.device("cpu")

    def generate(self, n: int, *, seed: int = 0, start: int = 0) -> Tensor:
        numbers = [mix(seed, i) % len(self.stock) for i in range(start, start + n)]
        x = self.stock[numbers]
        g = torch.Generator().manual_seed(mix(seed, start))
        return (x + self.noise * torch.randn(x.shape, generator=g)).clamp(-1, 1)


class Coder(Sampler):
    """A linear-Gaussian VAE: z ~ N(0, I), x given z ~ N(W z, σ²); its encoder is given."""

    def __init__(self, stock: Tensor, latent: int = 3, sigma: float = 0.5, kind: str = "gaussian"):
        super().__init__(stock)
        self.shape = tuple(stock.shape[1:])
        g = torch.Generator().manual_seed(7)
        self.matrix = torch.randn(math.prod(self.shape), latent, generator=g) * 0.3
        self.sigma = sigma
        self.logvar = 0.0
        self.networks |= {"encoder": nn.Identity(), "likelihood": SimpleNamespace(kind=kind)}

    def exact(self) -> tuple[Tensor, Tensor]:
        """The true posterior: gain (d, D) of its mean, and covariance (d, d)."""
        w, s2 = self.matrix.double(), self.sigma**2
        covariance = torch.linalg.inv(torch.eye(w.shape[1]) + w.T @ w / s2)
        return covariance @ w.T / s2, covariance

    def encode(self, x: Tensor) -> Posterior:
        gain, covariance = self.exact()
        mean = (x.flatten(1).double() @ gain.T).float()
        logvar = covariance.diagonal().log().float() + self.logvar
        return Posterior(mean, logvar.expand_as(mean))

    def decode(self, z: Tensor) -> Tensor:
        return (z @ self.matrix.T).unflatten(1, self.shape)

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x).mean)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor | None:
        standard = (x - self.decode(z)).flatten(1) / self.sigma
        constant = math.log(self.sigma) + 0.5 * math.log(2 * math.pi)
        return (-0.5 * standard**2 - constant).sum(1)


class Bumps(nn.Module):
    """A tiny feature network: fixed random convolution, ReLU, pooled to 2×2."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, 2)
        with torch.no_grad():
            noise = Noise(11, total=1)
            self.conv.weight.copy_(noise.normal(6, 3, 3, 3)[0])
            self.conv.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(self.conv(x).relu(), 2).flatten(1)


@pytest.fixture
def bumps() -> judge.Judge:
    return judge.load(Bumps(), 16)


@pytest.fixture
def kit() -> SimpleNamespace:
    """The stand-ins, for tests to build from."""
    return SimpleNamespace(
        pictures=pictures, Pictures=Pictures, Data=PictureData, Sampler=Sampler, Coder=Coder,
        Bumps=Bumps,
    )  # fmt: skip


@pytest.fixture
def data() -> PictureData:
    return PictureData(Pictures(pictures(120, 1)), Pictures(pictures(80, 2)))


@pytest.fixture(scope="session")
def lite0() -> judge.Judge:
    return judge.load("efficientnet-lite0", 64)
