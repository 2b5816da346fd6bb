"""The names of priors: of the one trained with, and of those fitted after training."""

from __future__ import annotations

from torch import nn

from ganvae.networks.flow import FlowPrior
from ganvae.networks.prior import MixturePrior, NormalPrior

KINDS = {"normal": "normal_prior", "mixture": "mixture_prior", "flow": "flow_prior"}
"""Kinds of network by the name that a prior is asked for by."""
ROLES = {name: f"prior_{name}" for name in KINDS}
"""The roles of those fitted after training; the one trained with has the role "prior"."""
TRAINED = "trained"
"""What the prior trained with is called where it is of another kind."""


def name_of(prior: nn.Module) -> str:
    """What a prior is asked for by. A mixture that was never fitted is N(0, I)."""
    if isinstance(prior, MixturePrior):
        return "mixture" if bool(prior.fitted) else "normal"
    found = {NormalPrior: "normal", FlowPrior: "flow"}
    return next((name for kind, name in found.items() if isinstance(prior, kind)), TRAINED)


def available(networks: dict[str, nn.Module]) -> dict[str, str]:
    """The priors of a model by name, and their roles; the one trained with comes first."""
    fitted = {name: role for name, role in ROLES.items() if role in networks}
    return {name_of(networks["prior"]): "prior"} | fitted
