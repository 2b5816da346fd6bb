"""pythae's VAEGAN, trained by pythae's own trainer, as a peer of other races.

``wrapped`` gives it networks of ours, ``own`` those that it brings: the MLPs it builds where none
are given, or the convolutional ones it has for images of that shape. Images are in [-1, 1], in and
out.

| Pythae: Unifying Generative Autoencoders in Python (Chadebec et al., 2022)
| https://arxiv.org/abs/2206.08309
"""

from __future__ import annotations

import contextlib
import copy
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import torch
from pythae.data.datasets import BaseDataset, DatasetOutput
from pythae.models import VAEGAN, VAEGANConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseDiscriminator, BaseEncoder
from pythae.samplers import GaussianMixtureSampler, NormalSampler
from pythae.trainers import (
    CoupledOptimizerAdversarialTrainer,
    CoupledOptimizerAdversarialTrainerConfig,
)
from pythae.trainers.training_callbacks import CallbackHandler, TrainingCallback
from torch import Tensor, nn

from ganvae.data.transforms import to_float
from ganvae.types import Shape

for _name in [n for n in logging.root.manager.loggerDict if n.startswith("pythae")]:
    logging.getLogger(_name).setLevel(logging.WARNING)

CONVOLUTIONS = {(1, 28, 28): "MNIST", (3, 32, 32): "CIFAR", (3, 64, 64): "CELEBA"}
"""The image shapes that pythae has convolutional networks for."""
FEATURES = 1
"""The layer of a wrapped discriminator that holds its last convolutional features."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a user of pythae may choose; its defaults."""

    rate: float = 1e-4
    """Adam's learning rate of all three networks."""
    beta1: float = 0.9
    """Decay of Adam's first moment."""
    adversarial: float = 0.5
    """Share of the adversarial term in the decoder's loss, ``adversarial_loss_scale``."""
    layer: int = -1
    """The layer of D whose features are reconstructed; -1: its last one, the probability."""
    equilibrium: float = 0.68
    """Where D's two costs are held by leaving out updates of D or of the decoder, ..."""
    margin: float = 0.4
    """... and how far they may leave it."""


class _Encoder(BaseEncoder):
    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> ModelOutput:
        q = self.net(x)
        return ModelOutput(embedding=q.mean, log_covariance=q.logvar)


class _Decoder(BaseDecoder):
    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.net(z))


class _Discriminator(BaseDiscriminator):
    """D's probability as layer 2, its features as layer 1."""

    depth = 2

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, output_layer_levels: list[int] | None = None) -> ModelOutput:
        logit, features = self.net(x, features=True)
        probability = logit.sigmoid()[:, None]
        found = {"embedding_layer_1": features, "embedding_layer_2": probability}
        return ModelOutput(embedding=probability, **found)


class _Batches(list[DatasetOutput]):
    """What pythae's trainer takes for a DataLoader."""

    dataset: tuple[()] = ()


class Peer:
    """A VAEGAN of pythae's and the trainer that pythae trains it with.

    networks: "mlp", "conv", or our modules by role: encoder, decoder, discriminator. They are
        copied; their images are in [-1, 1], those of pythae's own networks in [0, 1]
    """

    def __init__(self, shape: Shape, networks: str | Mapping[str, nn.Module], settings: Settings):
        self.shape, self.settings = shape, settings
        self.unit = isinstance(networks, str)
        config = VAEGANConfig(
            input_dim=shape.image,
            latent_dim=shape.latent,
            adversarial_loss_scale=settings.adversarial,
            reconstruction_layer=settings.layer,
            equilibrium=settings.equilibrium,
            margin=settings.margin,
        )
        self.model = VAEGAN(config, **_networks(shape, networks, config))
        self.trainer = _trainer(self.model, shape, settings)
        self.mixture: GaussianMixtureSampler | None = None

    def batch(self, x: Tensor) -> DatasetOutput:
        """What its model takes for images (B, C, H, W) in [-1, 1]."""
        return DatasetOutput(data=(x + 1) / 2 if self.unit else x)

    def steps(self, batches: Iterable[DatasetOutput]) -> dict[str, float]:
        """One training step for each batch, by its trainer's own loop; its mean losses."""
        loader = batches if isinstance(batches, _Batches) else _Batches(batches)
        self.trainer.train_loader = loader
        names = ("loss", "encoder", "decoder", "discriminator")
        return dict(zip(names, self.trainer.train_step(epoch=1)))

    def train(self, images: np.ndarray, seconds: float, batch: int = 64, seed: int = 0) -> int:
        """Trains on images (N, H, W, C), uint8, for so long; the steps made."""
        torch.manual_seed(seed)
        stream, end, done = _stream(images, batch, seed), time.perf_counter() + seconds, 0
        while time.perf_counter() < end:
            self.steps([self.batch(next(stream))])
            done += 1
        self.mixture = None
        return done

    @torch.no_grad()
    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """New images, float32 (n, C, H, W) in [-1, 1]: from the mixture if one is fitted."""
        sampler = self.mixture or NormalSampler(self.model)
        with torch.random.fork_rng(), contextlib.redirect_stdout(None):
            torch.manual_seed(seed)
            if self.mixture is not None:
                self.mixture.gmm.set_params(random_state=seed)
            return self._images(sampler.sample(n, batch_size=256))

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> np.ndarray:
        """x̂ of images (B, C, H, W) in [-1, 1], from the posterior's mean: float32, likewise.

        ``VAEGAN.reconstruct`` draws from the posterior, which is the worse reconstruction.
        """
        self.model.eval()
        parts = []
        for part in x.split(256):
            mean = self.model.encoder(self.batch(part).data).embedding
            parts.append(self.model.decoder(mean).reconstruction)
        return self._images(torch.cat(parts))

    @torch.no_grad()
    def fit(self, images: np.ndarray, components: int = 10) -> None:
        """Fits pythae's GaussianMixtureSampler to images (N, H, W, C), uint8, to sample from."""
        from sklearn.mixture import GaussianMixture  # its own `fit` wants images in [0, 1]

        self.model.eval()
        latents = []
        for some in np.array_split(images, max(1, len(images) // 256)):
            latents.append(self.model.embed(self.batch(_floats(some)).data))
        self.mixture = GaussianMixtureSampler(self.model)
        self.mixture.gmm = GaussianMixture(components, max_iter=2000, random_state=0)
        self.mixture.gmm.fit(torch.cat(latents).double().numpy())
        self.mixture.is_fitted = True

    def _images(self, made: Tensor) -> np.ndarray:
        images = made.reshape(-1, *self.shape.image)
        images = 2 * images - 1 if self.unit else images
        return np.ascontiguousarray(images.clamp(-1, 1).float().numpy())


def wrapped(
    shape: Shape, networks: Mapping[str, nn.Module], settings: Settings | None = None
) -> Peer:
    """The peer with copies of our networks; by default D's last features are reconstructed.

    networks: encoder, decoder and discriminator, as :mod:`ganvae.networks` builds them
    """
    return Peer(shape, networks, settings or Settings(layer=FEATURES))


def own(shape: Shape, kind: str = "mlp", settings: Settings | None = None) -> Peer:
    """The peer with its own networks.

    kind: "mlp", which it builds where none are given, or "conv"

    Raises ValueError for "conv" where pythae has none for images of that shape.
    """
    return Peer(shape, kind, settings or Settings())


def _networks(
    shape: Shape, networks: str | Mapping[str, nn.Module], config: VAEGANConfig
) -> dict[str, nn.Module]:
    if not isinstance(networks, str):
        kinds: dict[str, Callable[[nn.Module], nn.Module]]
        kinds = {"encoder": _Encoder, "decoder": _Decoder, "discriminator": _Discriminator}
        return {role: kind(copy.deepcopy(networks[role])) for role, kind in kinds.items()}
    if networks == "mlp":
        return {}
    if networks != "conv" or shape.image not in CONVOLUTIONS:
        shapes = ", ".join("×".join(map(str, shape)) for shape in CONVOLUTIONS)
        raise ValueError(
            f'pythae has networks "mlp" for any images and "conv" for {shapes}; '
            f"got {networks!r} for {'×'.join(map(str, shape.image))}"
        )
    name = CONVOLUTIONS[shape.image]
    module = import_module(f"pythae.models.nn.benchmarks.{name.lower()}")
    prefixes = {"encoder": "Encoder_Conv_VAE", "decoder": "Decoder_Conv_AE"}
    prefixes["discriminator"] = "Discriminator_Conv"
    return {role: getattr(module, f"{p}_{name}")(config) for role, p in prefixes.items()}


def _trainer(
    model: VAEGAN, shape: Shape, settings: Settings
) -> CoupledOptimizerAdversarialTrainer:
    """As ``prepare_training`` leaves it, but without a folder and a progress bar."""
    adam = {"betas": (settings.beta1, 0.999)}
    config = CoupledOptimizerAdversarialTrainerConfig(
        no_cuda=True,
        keep_best_on_train=True,
        **{f"{role}_learning_rate": settings.rate for role in _ROLES},
        **{f"{role}_optimizer_params": adam for role in _ROLES},
    )
    probe = BaseDataset(torch.zeros(2, *shape.image), torch.zeros(2))
    trainer = CoupledOptimizerAdversarialTrainer(model, probe, training_config=config)
    trainer.set_encoder_optimizer()
    trainer.set_decoder_optimizer()
    trainer.set_discriminator_optimizer()
    trainer.callback_handler = CallbackHandler([TrainingCallback()], model)
    return trainer


_ROLES = ("encoder", "decoder", "discriminator")


def _floats(pixels: np.ndarray) -> Tensor:
    return to_float(torch.from_numpy(pixels)).contiguous()


def _stream(images: np.ndarray, batch: int, seed: int) -> Iterator[Tensor]:
    """Batches in [-1, 1], shuffled anew for every pass."""
    numbers = np.random.default_rng(seed)
    while True:
        order = numbers.permutation(len(images))
        for start in range(0, max(1, len(order) - batch + 1), batch):
            yield _floats(images[order[start : start + batch]])
