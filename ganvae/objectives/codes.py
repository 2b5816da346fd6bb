"""The stage that learns p(codes) of a finished autoencoder; no objective of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

from ganvae.objectives.base import Objective, enough
from ganvae.types import Batch, Clock, Networks, Optim, Step


@dataclass(frozen=True, kw_only=True)
class Codes(Objective):
    """Maximum likelihood of a finished encoder's codes.

    | Taming Transformers for High-Resolution Image Synthesis (Esser et al., 2021), eq. 9
    | https://arxiv.org/abs/2012.09841
    """

    networks: ClassVar = ("encoder", "prior")
    kinds: ClassVar = {"encoder": "quantizing_encoder", "prior": "code_prior"}
    simultaneous: ClassVar = True

    optim: Optim = Optim(lr=5e-3, beta1=0.9, beta2=0.99, warmup=0.05, final=0.05, clip=100.0)
    """Adam and its schedule."""
    images: int = 3_200
    """Training images whose codes are counted: how much of the codebook is in use."""

    def step(self, nets: Networks, batch: Batch, now: Clock) -> Step:
        """One move of p(codes); the encoder stays."""
        E, prior = nets["encoder"], nets["prior"]
        with torch.no_grad():
            z = E(batch.image, *batch.condition).mean
        loss = -prior(z, *batch.condition).mean()
        yield {"prior": loss}
        return {"nats": loss.detach(), "codebook_use": E.quantizer.use}

    @torch.no_grad()
    def prepare(self, nets: Networks, batches: Iterator[Batch]) -> None:
        """Gives the prior the codebook, and counts the codes in use."""
        E, some = nets["encoder"], enough(batches, self.images)
        nets["prior"].adopt(E.quantizer.codebook)
        E.quantizer.count(torch.cat([E(b.image, *b.condition).codes for b in some]))
