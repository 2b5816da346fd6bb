"""The article's four networks written in Keras 3, trained by ganvae.

    pip install ganvae "keras>=3.5"
    python examples/keras_networks.py --data digits --budget 3m --out runs/keras

The article gives the layer sizes of an encoder (128-64-32), a decoder (32-64-128-784) and a
generator (128-64-32-784). What it leaves out is added: the posterior's mean and log-variance, and
a discriminator (784-32-64-128-1) that mirrors the generator.
"""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"  # keras reads it once, when it is imported

from dataclasses import dataclass
from typing import Any

import keras
from command_line import train
from keras import layers
from torch import Tensor, nn

import ganvae
from ganvae.types import Posterior

LATENT = 32


# -- a Keras model as a torch module --------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """A Keras model for its layers alone: all copies of a network share it."""

    model: keras.Model

    def __deepcopy__(self, memo: dict[int, Any]) -> Recipe:
        return self


class KerasNetwork(nn.Module):
    """A Keras model as a torch module that ganvae can move, copy, freeze, save and load.

    A Keras model is a ``torch.nn.Module`` on this backend, but its layers compute with variables
    of their own, which ``torch.func.functional_call`` does not reach, and the names in its
    ``state_dict`` count the layers made before in the process, so that another process (after
    some models even a copy) does not find them again. Here the weights are the torch module's, by
    position, and the Keras model is called with them.

    model: functional or sequential, built
    """

    def __init__(self, model: keras.Model):
        super().__init__()
        self.recipe = Recipe(model)
        self.weights = nn.ParameterList(v.value for v in model.trainable_variables)
        for i, variable in enumerate(model.non_trainable_variables):
            self.register_buffer(f"state{i}", variable.value.detach())

    def forward(self, x: Tensor) -> Any:
        """The Keras model's outputs for ``x``; its state (batch statistics, seeds) moves on."""
        weights, state = list(self.weights), list(self.buffers(recurse=False))
        with keras.device(str(x.device)):  # keras would put everything on the GPU it finds
            outputs, after = self.recipe.model.stateless_call(
                weights, state, x, training=self.training
            )
        for kept, value in zip(state, after):
            if kept is not value:
                kept.copy_(value.detach())
        return outputs


def to_keras(network: KerasNetwork) -> keras.Model:
    """The Keras model with the present weights; its ``save("decoder.keras")`` keeps them."""
    model = network.recipe.model
    for variable, value in zip(model.trainable_variables, network.weights):
        variable.assign(value.detach())
    for variable, value in zip(model.non_trainable_variables, network.buffers(recurse=False)):
        variable.assign(value)
    return model


class Encoder(nn.Module):
    """A Keras model with the outputs mean and log-variance, as ganvae wants an encoder.

    model: images (B, C, H, W) in [-1, 1] to two arrays (B, latent)
    """

    def __init__(self, model: keras.Model):
        super().__init__()
        self.network = KerasNetwork(model)

    def forward(self, x: Tensor) -> Posterior:
        """q(z|x) of each image."""
        mean, logvar = self.network(x)
        return Posterior(mean, logvar.clamp(-12, 6))


class Discriminator(nn.Module):
    """A Keras model with the outputs logit and features, as ganvae wants a discriminator.

    model: images (B, C, H, W) in [-1, 1] to arrays (B, 1) and (B, F)
    """

    def __init__(self, model: keras.Model):
        super().__init__()
        self.network = KerasNetwork(model)

    def forward(self, x: Tensor, features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Logits (B,), higher for real images; with ``features`` also the features (B, F)."""
        logit, hidden = self.network(x)
        return (logit[:, 0], hidden) if features else logit[:, 0]


# -- the article's networks -----------------------------------------------------------------------


def hidden(x: Any, *sizes: int) -> Any:
    """Dense layers of these sizes, each followed by a ReLU."""
    for size in sizes:
        x = layers.Dense(size, activation="relu")(x)
    return x


def encoder(shape: tuple[int, int, int]) -> keras.Model:
    """128-64-32, and the posterior's mean and log-variance."""
    x = keras.Input(shape)
    h = hidden(layers.Flatten()(x), 128, 64, 32)
    return keras.Model(x, [layers.Dense(LATENT)(h), layers.Dense(LATENT)(h)])


def decoder(shape: tuple[int, int, int], *sizes: int) -> keras.Model:
    """Dense layers and a sigmoid, from z to an image in [-1, 1]."""
    z = keras.Input((LATENT,))
    pixels = shape[0] * shape[1] * shape[2]
    x = layers.Dense(pixels, activation="sigmoid")(hidden(z, *sizes))
    return keras.Model(z, layers.Reshape(shape)(layers.Rescaling(2, -1)(x)))


def discriminator(shape: tuple[int, int, int]) -> keras.Model:
    """The generator's layers the other way round, to one logit."""
    x = keras.Input(shape)
    h = hidden(layers.Flatten()(x), 32, 64, 128)
    return keras.Model(x, [layers.Dense(1)(h), h])


def networks(shape: tuple[int, int, int] = (1, 28, 28), seed: int = 0) -> dict[str, nn.Module]:
    """The four networks by role, for images of ``shape`` (C, H, W)."""
    keras.utils.set_random_seed(seed)
    return {
        "encoder": Encoder(encoder(shape)),
        "decoder": KerasNetwork(decoder(shape, 32, 64, 128)),
        "generator": KerasNetwork(decoder(shape, 128, 64, 32)),
        "discriminator": Discriminator(discriminator(shape)),
    }


def main() -> None:
    """Trains, loads what was saved, and writes the generator as a Keras file."""
    run = train("Train networks written in Keras 3.", "runs/keras", networks())
    print(f"{run.path}: {run.status} after {run.step} steps")

    # Weights alone are saved: loading wants the same networks again.
    fresh = {role: net for role, net in networks().items() if role != "discriminator"}
    model = ganvae.load(run.path, networks=fresh)
    print(f"generated {tuple(model.generate(16, seed=0).shape)}")
    generator = model.networks["generator"]
    assert isinstance(generator, KerasNetwork)
    to_keras(generator).save(run.path / "generator.keras")


if __name__ == "__main__":
    main()
