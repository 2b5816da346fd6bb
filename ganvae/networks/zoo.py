"""Role and configuration to network."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ganvae.config import Networks as Config
from ganvae.networks import mlp, residual
from ganvae.networks.likelihood import Likelihood
from ganvae.networks.prior import MixturePrior, NormalPrior
from ganvae.types import Shape

Builder = Callable[[Config, Shape], nn.Module]

residual_roles: dict[str, Builder] = {
    "encoder": lambda c, shape: residual.Encoder(shape, c.width, c.depth),
    "decoder": lambda c, shape: residual.Decoder(shape, c.width, c.depth),
    "generator": lambda c, shape: residual.Decoder(shape, c.width, c.depth),
    "discriminator": lambda c, shape: residual.Discriminator(shape, c.width, c.depth),
}
mlp_roles: dict[str, Builder] = {
    "encoder": lambda c, shape: mlp.Encoder(shape),
    "decoder": lambda c, shape: mlp.Decoder(shape),
    "generator": lambda c, shape: mlp.Decoder(shape, (128, 64, 32)),
    "discriminator": lambda c, shape: mlp.Discriminator(shape),
}
common_roles: dict[str, Builder] = {
    "prior": lambda c, shape: (
        MixturePrior(shape.latent, c.components)
        if c.prior == "mixture"
        else NormalPrior(shape.latent)
    ),
    "likelihood": lambda c, shape: Likelihood(c.likelihood),
}
families = {"residual": residual_roles | common_roles, "mlp": mlp_roles | common_roles}


def build(role: str, config: Config, shape: Shape) -> nn.Module:
    """A new network for ``role``, with fresh weights from torch's global generator.

    Raises ValueError for an unknown role or a size the family cannot take.
    """
    builders = families[config.family]
    if role not in builders:
        raise ValueError(f"no network for the role {role!r}; there are {', '.join(builders)}")
    return builders[role](config, shape)
