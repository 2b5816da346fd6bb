"""Paired translation from a part of the image to the whole: inpainting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ganvae.objectives.bicycle import Bicycle


@dataclass(frozen=True, kw_only=True)
class Completion(Bicycle):
    """Bicycle whose source is (x outside the hole, the hole), and whose G keeps what is known.

    So every loss sees the composite: G's image in the hole and x around it. The distance of pixels
    is 0 outside the hole.

    | Toward Multimodal Image-to-Image Translation (Zhu et al., 2017)
    | https://arxiv.org/abs/1711.11586
    """

    kinds: ClassVar = Bicycle.kinds | {"generator": "completing_unet"}
    task: ClassVar = "complete"

    pixel: float = 40.0
    """Weight λ₁ of |x − x̂|, a mean over all pixels and channels; it is 0 outside the hole."""
    beta: float = 1.0
    """Weight λ_KL of the KL divergence, a sum over the dimensions of z: what is known decides."""
