"""Trained models."""

from ganvae.models.info import ModelInfo, TrainedOn
from ganvae.models.model import Model

load = Model.load

__all__ = ["Model", "ModelInfo", "TrainedOn", "load"]
