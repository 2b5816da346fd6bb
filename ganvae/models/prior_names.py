"""The names of priors: of the one trained with, and of those fitted after training."""

from __future__ import annotations

from torch import nn

from ganvae.networks.flow import FlowPrior
from ganvae.networks.prior import MixturePrior, NormalPrior

KINDS = {"normal": "normal_prior", "mixture": "mixture_prior", "flow": "flow_prior"}
"""Kinds of network by the names of priors."""
ROLES = {name: f"prior_{name}" for name in KINDS}
"""The roles of those fitted after training; the one trained with has the role "prior"."""
TRAINED = "trained"
"""The name of the prior trained with where it is of another kind."""


def name_of(prior: nn.Module) -> str:
    """The name of a prior. A mixture that was never fitted is N(0, I)."""
    if isinstance(prior, MixturePrior):
        return "mixture" if bool(prior.fitted) else "normal"
    kinds = {NormalPrior: "normal", FlowPrior: "flow"}
    return next((name for kind, name in kinds.items() if isinstance(prior, kind)), TRAINED)


def available(networks: dict[str, nn.Module]) -> dict[str, str]:
    """The priors of a model by name, and their roles; the one trained with comes first."""
    fitted = {name: role for name, role in ROLES.items() if role in networks}
    return {name_of(networks["prior"]): "prior"} | fitted
