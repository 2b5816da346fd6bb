"""A discriminator that judges an image part by part."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from ganvae.networks.classes import Projection
from ganvae.networks.residual import widths
from ganvae.types import Shape


class PatchDiscriminator(nn.Module):
    """An image (B, C, H, W) to a logit for each of its overlapping parts, (B, h, w).

    No normalisation: a part's logit depends on that part alone. Two halvings below 64 px, where a
    part is 18 px wide; three from there on, where it is 38 px wide.

    | Image-to-Image Translation with Conditional Adversarial Networks (Isola et al., 2017), 3.2.2
    | https://arxiv.org/abs/1611.07004
    """

    def __init__(self, shape: Shape, width: int):
        super().__init__()
        count = 2 if min(shape.height, shape.width) < 64 else 3
        channels = [shape.channels, *widths(width, count)]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.2)]
        out = 2 * channels[-1]
        layers += [nn.Conv2d(channels[-1], out, 3, padding=1), nn.LeakyReLU(0.2)]
        self.maps = nn.Sequential(*layers)
        self.head = nn.Linear(out, 1)
        self.classes = Projection(shape.classes, out)

    def forward(
        self, x: Tensor, label: Tensor | None = None, features: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits; with ``features`` also the last convolutional features, flattened (B, F)."""
        h = self.maps(x)
        parts = h.permute(0, 2, 3, 1).flatten(0, 2)
        repeated = None if label is None else label.repeat_interleave(h[0, 0].numel())
        logits = self.head(parts).squeeze(1) + self.classes(parts, repeated)
        logits = logits.view(len(x), *h.shape[2:])
        return (logits, h.flatten(1)) if features else logits
