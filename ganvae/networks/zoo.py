"""Kind of network and configuration to network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import nn

from ganvae.config import Networks as Config
from ganvae.networks import auxiliary, classifier, grid, mlp, residual, shared, unet
from ganvae.networks import latent as joint
from ganvae.networks.code_prior import CodePrior
from ganvae.networks.flow import FlowPrior
from ganvae.networks.likelihood import Likelihood
from ganvae.networks.patch import PatchDiscriminator
from ganvae.networks.prior import MixturePrior, NormalPrior, Prior
from ganvae.networks.projected import ProjectedDiscriminator
from ganvae.types import Shape

Builder = Callable[[Config, Shape], nn.Module]

residual_kinds: dict[str, Builder] = {
    "encoder": lambda c, shape: residual.Encoder(shape, c.width, c.depth),
    "decoder": lambda c, shape: residual.Decoder(shape, c.width, c.depth),
    "generator": lambda c, shape: residual.Decoder(shape, c.width, c.depth),
    "discriminator": lambda c, shape: residual.Discriminator(shape, c.width, c.depth),
    "patch_discriminator": lambda c, shape: PatchDiscriminator(shape, c.width),
    "joint_discriminator": lambda c, shape: joint.JointDiscriminator(shape, c.width, c.depth),
    "unet": lambda c, shape: unet.UNet(shape, c.width, c.depth),
    "completing_unet": lambda c, shape: unet.CompletingUNet(shape, c.width, c.depth),
    "pair_discriminator": lambda c, shape: unet.PairDiscriminator(shape, c.width, c.depth),
    "auxiliary_encoder": lambda c, shape: auxiliary.residual(shape, c.width, c.depth),
    "generated_auxiliary_encoder": lambda c, shape: auxiliary.residual(
        shape, c.width, c.depth, generated=True
    ),
    "classifier": lambda c, shape: classifier.residual(shape, c.width, c.depth),
    "source_discriminator": lambda c, shape: residual.Discriminator(
        replace(shape, channels=shape.source), c.width, c.depth
    ),
}
mlp_kinds: dict[str, Builder] = {
    "encoder": lambda c, shape: mlp.Encoder(shape),
    "decoder": lambda c, shape: mlp.Decoder(shape),
    "generator": lambda c, shape: mlp.Decoder(shape, (128, 64, 32)),
    "discriminator": lambda c, shape: mlp.Discriminator(shape),
    "joint_discriminator": lambda c, shape: joint.DenseJointDiscriminator(shape),
    "auxiliary_encoder": lambda c, shape: auxiliary.mlp(shape),
    "generated_auxiliary_encoder": lambda c, shape: auxiliary.mlp(shape, generated=True),
    "classifier": lambda c, shape: classifier.mlp(shape),
}
common_kinds: dict[str, Builder] = {
    "latent_discriminator": lambda c, shape: joint.LatentDiscriminator(shape),
    "prior": lambda c, shape: common_kinds[f"{c.prior}_prior"](c, shape),
    "normal_prior": lambda c, shape: NormalPrior(shape.latent),
    "mixture_prior": lambda c, shape: MixturePrior(
        shape.latent, _components(c, shape), classes=shape.classes
    ),
    "flow_prior": lambda c, shape: FlowPrior(shape.latent, classes=shape.classes),
    "auxiliary_prior": lambda c, shape: _auxiliary_prior(c, shape),
    "likelihood": lambda c, shape: Likelihood(c.likelihood),
    "scale": lambda c, shape: grid.Scale(),
}
grid_kinds: dict[str, Builder] = {
    "grid_encoder": lambda c, s: grid.Encoder(s, c.width, c.depth, c.grid, _cell(c, s)),
    "quantizing_encoder": lambda c, s: grid.QuantizingEncoder(
        s, c.width, c.depth, c.grid, _cell(c, s), c.codes
    ),
    "grid_decoder": lambda c, s: grid.Decoder(s, c.width, c.depth, c.grid, _cell(c, s)),
    "shared_encoder": lambda c, s: shared.SharedEncoder(s, c.width, c.depth, c.grid, _cell(c, s)),
    "shared_decoder": lambda c, s: shared.SharedDecoder(s, c.width, c.depth, c.grid, _cell(c, s)),
    "code_prior": lambda c, s: CodePrior(
        (_cell(c, s), *grid.cells(s, c.grid)),
        c.codes,
        dimensions=4 * max(4, c.width // 2),
        layers=1 + c.depth,
        classes=s.classes,
    ),
}
"""Networks whose z is a grid."""
residual_kinds |= grid_kinds
OF_IMAGES = {
    "discriminator", "patch_discriminator", "pair_discriminator", "source_discriminator",
}  # fmt: skip
"""Discriminators of images, which eyes can help."""
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
    net = builders[kind](config, shape)
    if config.eyes == "none" or kind not in OF_IMAGES:
        return net
    source = shape.source if kind == "pair_discriminator" else 0
    return ProjectedDiscriminator(net, config.eyes, config.eyes_size, shape, source)


def settled(config: Config, kinds: Mapping[str, str], image: tuple[int, int, int]) -> Config:
    """The configuration with a z that suits networks of these kinds, where it leaves that open.

    image: (C, H, W)
    """
    named = set(kinds.values())
    rich = 128 if config.family == "residual" and image[0] > 1 else 32
    deep = image[0] * config.grid**2 if "shared_encoder" in named else 4
    return replace(
        config,
        latent=config.latent or (8 if named & {"unet", "completing_unet"} else rich),
        grid_channels=config.grid_channels or deep,
    )


def latent(kinds: Mapping[str, str], config: Config, image: tuple[int, int, int]) -> int:
    """The dimensions of z that networks of these kinds have for images (C, H, W)."""
    chosen = settled(config, kinds, image)
    if grid_kinds.keys() & set(kinds.values()):
        assert chosen.grid_channels
        return chosen.grid_channels * (image[1] // config.grid) * (image[2] // config.grid)
    assert chosen.latent
    return chosen.latent


def _cell(config: Config, shape: Shape) -> int:
    """How many of z's numbers stand in a cell of its grid."""
    return shape.latent // math.prod(grid.cells(shape, config.grid))


def _auxiliary_prior(config: Config, shape: Shape) -> auxiliary.AuxiliaryPrior:
    first, rest = auxiliary.shares(shape.latent)
    prior = common_kinds["prior"](config, replace(shape, latent=first))
    assert isinstance(prior, Prior)
    return auxiliary.AuxiliaryPrior(prior, rest, classes=shape.classes)


def _components(config: Config, shape: Shape) -> int:
    """Gaussians of a mixture: fewer where their covariances would fill more than 16 MiB."""
    return min(config.components, max(1, 2**22 // shape.latent**2))
