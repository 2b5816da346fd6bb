"""pythae's VAEGAN, trained by pythae's own trainer, as a peer of other races.

| Pythae: Unifying Generative Autoencoders in Python (Chadebec et al., 2022)
| https://arxiv.org/abs/2206.08309
"""

from __future__ import annotations

import contextlib
import copy
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
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

from ganvae.data.subset import to_float
from ganvae.types import Posterior, Shape, mix

for _name in [n for n in logging.root.manager.loggerDict if n.startswith("pythae")]:
    logging.getLogger(_name).setLevel(logging.WARNING)

CONVOLUTIONS = {(1, 28, 28): "MNIST", (3, 32, 32): "CIFAR", (3, 64, 64): "CELEBA"}
"""The image shapes that pythae has convolutional networks for."""
FEATURES = 1
"""The layer of a discriminator of ours that holds its last convolutional features."""
ROLES = ("encoder", "decoder", "discriminator")


class _Wrapped:
    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net


class _Encoder(_Wrapped, BaseEncoder):
    def forward(self, x: Tensor) -> ModelOutput:
        q = self.net(x)
        return ModelOutput(embedding=q.mean, log_covariance=q.logvar)


class _Decoder(_Wrapped, BaseDecoder):
    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.net(z))


class _Discriminator(_Wrapped, BaseDiscriminator):
    """D's probability as layer 2, its features as layer 1."""

    depth = 2

    def forward(self, x: Tensor, output_layer_levels: list[int] | None = None) -> ModelOutput:
        logit, features = self.net(x, features=True)
        p = logit.sigmoid()[:, None]
        return ModelOutput(embedding=p, embedding_layer_1=features, embedding_layer_2=p)


class _Batches(list[DatasetOutput]):
    """Batches in place of the DataLoader of pythae's trainer."""

    dataset: tuple[()] = ()


class Peer:
    """A VAEGAN of pythae's and its trainer; it can be judged as models of ours are.

    Images are in [-1, 1], in and out.

    networks: "mlp", which pythae builds where none are given, "conv", or copies of modules of
        ours by role
    rate: Adam's learning rate of all three networks
    adversarial: share of the adversarial term in the decoder's loss, ``adversarial_loss_scale``
    layer: the layer of D whose features are reconstructed; None: pythae's default, which is its
        last one, the probability, or D's last features where it is ours
    margin: how far D's costs may leave pythae's equilibrium before updates are left out

    Raises ValueError for "conv" where pythae has none for images of that shape.
    """

    device, prior = torch.device("cpu"), None

    def __init__(self, shape: Shape, networks: str | Mapping[str, nn.Module] = "mlp", *,
                 rate: float = 1e-4, adversarial: float = 0.5, layer: int | None = None,
                 margin: float = 0.4):  # fmt: skip
        self.shape, self.unit = shape, isinstance(networks, str)  # its own see [0, 1]
        config = VAEGANConfig(
            input_dim=shape.image, latent_dim=shape.latent, adversarial_loss_scale=adversarial,
            reconstruction_layer=layer or (-1 if self.unit else FEATURES), margin=margin,
            equilibrium=0.68,
        )  # fmt: skip
        self.model = VAEGAN(config, **_networks(shape, networks, config))
        self.networks = {"encoder": self.model.encoder}
        self.trainer = _trainer(self.model, shape, rate)
        self.mixture: GaussianMixtureSampler | None = None

    @property
    def parameters(self) -> int:
        """The number of parameters of encoder and decoder."""
        nets = (self.model.encoder, self.model.decoder)
        return sum(p.numel() for net in nets for p in net.parameters())

    def batch(self, x: Tensor) -> DatasetOutput:
        """Images (B, C, H, W) as the input of its model."""
        return DatasetOutput(data=(x + 1) / 2 if self.unit else x)

    def steps(self, batches: Iterable[DatasetOutput]) -> dict[str, float]:
        """One training step for each batch, by its trainer's own loop; its mean losses."""
        self.trainer.train_loader = _Batches(batches)
        return dict(zip(("loss", *ROLES), self.trainer.train_step(epoch=1)))

    def train(self, images: np.ndarray, seconds: float, batch: int = 64, seed: int = 0) -> int:
        """Trains on images (N, H, W, C), uint8, for so long; the steps made."""
        torch.manual_seed(seed)
        stream, end, steps = _stream(images, batch, seed), time.perf_counter() + seconds, 0
        while time.perf_counter() < end:
            self.steps([self.batch(next(stream))])
            steps += 1
        self.mixture = None
        return steps

    @torch.no_grad()
    def sample(self, n: int, seed: int = 0) -> Tensor:
        """New images, float32 (n, C, H, W): from the mixture if one is fitted."""
        sampler = self.mixture or NormalSampler(self.model)
        with torch.random.fork_rng(), contextlib.redirect_stdout(None):
            torch.manual_seed(seed)
            if self.mixture is not None:
                self.mixture.gmm.set_params(random_state=seed)
            return self._images(sampler.sample(n, batch_size=256))

    def generate(self, n: int, *, seed: int = 0, start: int = 0) -> Tensor:
        """New images as a model of ours makes them."""
        return self.sample(n, seed=mix(seed, start) % 2**31)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Posterior:
        """q(z|x)."""
        q = self.model.encoder(self.batch(x).data)
        return Posterior(q.embedding, q.log_covariance)

    @torch.no_grad()
    def reconstruct(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """x̂ of images (B, C, H, W), from the posterior's mean.

        ``VAEGAN.reconstruct`` draws from the posterior, which is the worse reconstruction.
        """
        self.model.eval()
        means = [self.encode(part).mean for part in x.split(256)]
        return self._images(torch.cat([self.model.decoder(z).reconstruction for z in means]))

    def log_likelihood(self, x: Tensor, z: Tensor) -> None:
        """None: its likelihood is of features."""

    @torch.no_grad()
    def fit(self, images: np.ndarray, components: int = 10) -> None:
        """Fits pythae's GaussianMixtureSampler to images (N, H, W, C), uint8, to sample from."""
        from sklearn.mixture import GaussianMixture  # its own `fit` wants images in [0, 1]

        self.model.eval()
        parts = np.array_split(images, max(1, len(images) // 256))
        latents = [self.model.embed(self.batch(_floats(some)).data) for some in parts]
        self.mixture = GaussianMixtureSampler(self.model)
        self.mixture.gmm = GaussianMixture(components, max_iter=2000, random_state=0)
        self.mixture.gmm.fit(torch.cat(latents).double().numpy())
        self.mixture.is_fitted = True

    def _images(self, output: Tensor) -> Tensor:
        images = output.reshape(-1, *self.shape.image)
        images = 2 * images - 1 if self.unit else images
        return images.clamp(-1, 1).float().contiguous()


def _networks(
    shape: Shape, networks: str | Mapping[str, nn.Module], config: VAEGANConfig
) -> dict[str, nn.Module]:
    if not isinstance(networks, str):
        kinds: dict[str, Callable[[nn.Module], nn.Module]]
        kinds = dict(zip(ROLES, (_Encoder, _Decoder, _Discriminator)))
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
    kinds = dict(zip(ROLES, ("Encoder_Conv_VAE", "Decoder_Conv_AE", "Discriminator_Conv")))
    return {role: getattr(module, f"{kind}_{name}")(config) for role, kind in kinds.items()}


def _trainer(model: VAEGAN, shape: Shape, rate: float) -> CoupledOptimizerAdversarialTrainer:
    """As ``prepare_training`` leaves it, but without a folder and a progress bar."""
    config = CoupledOptimizerAdversarialTrainerConfig(
        no_cuda=True, keep_best_on_train=True, **{f"{role}_learning_rate": rate for role in ROLES},
        **{f"{role}_optimizer_params": {"betas": (0.9, 0.999)} for role in ROLES},
    )  # fmt: skip
    probe = BaseDataset(torch.zeros(2, *shape.image), torch.zeros(2))
    trainer = CoupledOptimizerAdversarialTrainer(model, probe, training_config=config)
    for role in ROLES:
        getattr(trainer, f"set_{role}_optimizer")()
    trainer.callback_handler = CallbackHandler([TrainingCallback()], model)
    return trainer


def _floats(pixels: np.ndarray) -> Tensor:
    return to_float(torch.from_numpy(pixels)).contiguous()


def _stream(images: np.ndarray, batch: int, seed: int) -> Iterator[Tensor]:
    """Batches in [-1, 1], shuffled anew for every pass."""
    numbers = np.random.default_rng(seed)
    while True:
        order = numbers.permutation(len(images))
        for start in range(0, max(1, len(order) - batch + 1), batch):
            yield _floats(images[order[start : start + batch]])
