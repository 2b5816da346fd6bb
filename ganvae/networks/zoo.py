"""Kind of network and configuration to network."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from ganvae.config import Networks as Config
from ganvae.networks import mlp, residual
from ganvae.networks.likelihood import Likelihood
from ganvae.networks.prior import MixturePrior, NormalPrior
from ganvae.types import Shape

Builder = Callable[[Config, Shape], nn.Module]

residual_kinds: dict[str, Builder] = {
    "encoder": lambda c, shape: residual.Encoder(shape, c.width, c.depth),
    "decoder": lambda c, shape: residual.Decoder(shape, c.width, c.depth),
    "generator": lambda c, shape: residual.Decoder(shape, c.width, c.depth),
    "discriminator": lambda c, shape: residual.Discriminator(shape, c.width, c.depth),
}
mlp_kinds: dict[str, Builder] = {
    "encoder": lambda c, shape: mlp.Encoder(shape),
    "decoder": lambda c, shape: mlp.Decoder(shape),
    "generator": lambda c, shape: mlp.Decoder(shape, (128, 64, 32)),
    "discriminator": lambda c, shape: mlp.Discriminator(shape),
}
common_kinds: dict[str, Builder] = {
    "prior": lambda c, shape: (
        MixturePrior(shape.latent, c.components, classes=shape.classes)
        if c.prior == "mixture"
        else NormalPrior(shape.latent)
    ),
    "likelihood": lambda c, shape: Likelihood(c.likelihood),
}
families = {"residual": residual_kinds | common_kinds, "mlp": mlp_kinds | common_kinds}


def build(kind: str, config: Config, shape: Shape) -> nn.Module:
    """A new network of a kind, with fresh weights from torch's global generator.

    kind: the role it plays, unless the objective's ``kinds`` say otherwise

    Raises ValueError for an unknown kind or a size the family cannot take.
    """
    builders = families[config.family]
    if kind not in builders:
        raise ValueError(
            f"no network of the kind {kind!r} in the family {config.family}; there are "
            f"{', '.join(builders)}"
        )
    return builders[kind](config, shape)


def latent(kinds: Mapping[str, str], config: Config, image: tuple[int, int, int]) -> int:
    """The dimensions of z that networks of these kinds have for images (C, H, W)."""
    return config.latent
