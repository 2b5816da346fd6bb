"""The command line that the examples share."""

from __future__ import annotations

import argparse

from torch import nn

import ganvae


def train(description: str, out: str, networks: dict[str, nn.Module]) -> ganvae.Run:
    """The run of these networks by role, with the data, budget and settings asked for."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", default="digits", help="grey images of 28x28 pixels")
    parser.add_argument("--budget", default="3m")
    parser.add_argument("--out", default=out)
    parser.add_argument("--config", help="YAML file with any other setting")
    options = parser.parse_args()
    return ganvae.train(
        options.data,
        budget=options.budget,
        out=options.out,
        config=options.config,
        networks=networks,
    )
