"""What the metrics ask of a model and of data, so that anything that offers it can be judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ganvae.types import Posterior


class Images(Protocol):
    """Rows of a store (:class:`ganvae.data.Images`)."""

    fingerprint: str

    def __len__(self) -> int: ...

    def images(self, rows: np.ndarray) -> Tensor:
        """Images (B, C, H, W) in [-1, 1]."""
        ...


class Data(Protocol):
    """Training and held-out images (:class:`ganvae.data.Data`)."""

    @property
    def train(self) -> Images:
        """Training images."""
        ...

    @property
    def test(self) -> Images:
        """Held-out images."""
        ...

    @property
    def fingerprint(self) -> str:
        """Digest of contents, preparation and split."""
        ...


class Model(Protocol):
    """A trained model (:class:`ganvae.models.Model`).

    Beside this, ``model.log_likelihood(x, z)`` gives log p(x|z), shape (B,), where the objective
    defines a likelihood; it may be missing or return None. ``networks`` has an "encoder" if and
    only if the model can encode, and a "likelihood" whose ``kind`` says what log p(x|z) is of.
    """

    @property
    def networks(self) -> Mapping[str, Any]:
        """Networks by role."""
        ...

    @property
    def prior(self) -> Any:
        """p(z), with ``log_prob(z)`` (B,)."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        ...

    def generate(self, n: int, *, seed: int = 0, start: int = 0) -> Tensor:
        """Images ``start`` to ``start + n`` of a seed, (n, C, H, W) in [-1, 1]."""
        ...

    def encode(self, x: Tensor) -> Posterior:
        """q(z|x)."""
        ...

    def reconstruct(self, x: Tensor) -> Tensor:
        """The decoded posterior mean of images (B, C, H, W) in [-1, 1]."""
        ...
