"""A module of your own as the encoder; the other networks are ganvae's.

python examples/own_network.py --data digits --budget 3m --out runs/own
"""

from __future__ import annotations

import torch
from command_line import train
from torch import Tensor, nn

import ganvae
from ganvae.types import Posterior


class Encoder(nn.Module):
    """Strided convolutions and the posterior's two heads.

    channels: of the images
    latent: dimensions of z; must be the run's ``networks.latent``
    """

    def __init__(self, channels: int = 1, latent: int = 32, width: int = 32):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(2 * width, 4 * width, 3, 2, 1),
            nn.SiLU(),
        )
        self.head = nn.LazyLinear(2 * latent)

    def forward(self, x: Tensor) -> Posterior:
        """q(z|x) of images (B, C, H, W) in [-1, 1]."""
        mean, logvar = self.head(self.body(x).flatten(1)).chunk(2, 1)
        return Posterior(mean, logvar.clamp(-12, 6))


def encoder(shape: tuple[int, int, int] = (1, 28, 28)) -> Encoder:
    """An encoder for images of ``shape`` (C, H, W), its weights made from a fixed seed."""
    torch.manual_seed(0)
    made = Encoder(shape[0])
    made(torch.zeros(1, *shape))  # a lazy layer gets its weights now, before the run counts them
    return made


def main() -> None:
    """Trains, and loads what was saved into a new encoder."""
    run = train("Train with an encoder of your own.", "runs/own", {"encoder": encoder()})
    model = ganvae.load(run.path, networks={"encoder": encoder()})
    posterior = model.encode(model.generate(4, seed=0))
    print(f"{run.path}: {run.status} after {run.step} steps; z of {tuple(posterior.mean.shape)}")


if __name__ == "__main__":
    main()
