"""Protocols of the models and data that can be judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ganvae.task import TaskName
from ganvae.types import Posterior


class Images(Protocol):
    """Rows of a store (:class:`ganvae.data.Images`)."""

    fingerprint: str

    def __len__(self) -> int: ...

    def images(self, rows: np.ndarray, /) -> Tensor:
        """Images (B, C, H, W) in [-1, 1]."""


class HeldoutImages(Images, Protocol):
    """Held-out images, and what is known of each beside its pixels."""

    @property
    def labels(self) -> np.ndarray | None:
        """The class number of each, (N,), where they have classes."""

    def sources(self, rows: np.ndarray, /) -> Tensor:
        """Their source images, (B, S, H, W); only asked of data whose task has sources."""


class Data(Protocol):
    """Training and held-out images (:class:`ganvae.data.Data`)."""

    @property
    def train(self) -> Images:
        """Training images."""

    @property
    def test(self) -> HeldoutImages:
        """Held-out images."""

    @property
    def fingerprint(self) -> str:
        """Digest of contents, preparation and split."""

    @property
    def leaked(self) -> np.ndarray:
        """Rows of ``test`` whose very content is also in ``train``."""

    @property
    def paired(self) -> bool | None:
        """Whether each source belongs to its image; None where there are none."""

    @property
    def stream(self) -> object | None:
        """The set read while training, where ``train`` is but a sample of it."""


class Info(Protocol):
    """What is known of a model (:class:`ganvae.models.ModelInfo`)."""

    @property
    def task(self) -> TaskName:
        """What it was trained for: a row of :data:`ganvae.task.TASKS`."""


class Model(Protocol):
    """A trained model (:class:`ganvae.models.Model`).

    ``networks`` has an "encoder" if and only if the model can encode, and a "likelihood" whose
    ``kind`` says what log p(x|z) is of. Of the methods only those are called that its task, its
    networks and the data (labels) are for.
    """

    @property
    def info(self) -> Info:
        """What it was trained for."""

    @property
    def networks(self) -> Mapping[str, Any]:
        """Networks by role."""

    @property
    def prior(self) -> Any:
        """p(z), with ``log_prob(z)`` (B,)."""

    @property
    def device(self) -> torch.device:
        """Where the networks are."""

    def generate(self, n: int, /, *, seed: int = 0, start: int = 0) -> Tensor:
        """Images ``start`` to ``start + n`` of a seed, (n, C, H, W) in [-1, 1]."""

    def of_sources(
        self, source: Tensor, variants: int = 1, /, *, seed: int = 0, start: int = 0
    ) -> Tensor:
        """The images made from sources (B, S, H, W): shape (B, variants, C, H, W), in [-1, 1]."""
        ...

    def encode(self, x: Tensor, label: Tensor | None = None, /) -> Posterior:
        """q(z|x)."""

    def reconstruct(self, x: Tensor, label: Tensor | None = None, /) -> Tensor:
        """The decoded posterior mean of images (B, C, H, W) in [-1, 1]."""

    def log_likelihood(
        self, x: Tensor, z: Tensor, label: Tensor | None = None, /
    ) -> Tensor | None:
        """log p(x|z), (B,), or None where the objective defines no likelihood."""
