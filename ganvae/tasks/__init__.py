"""What is done with a model and files of images; no knowledge of training."""

from ganvae.tasks.encode import encode
from ganvae.tasks.generate import generate
from ganvae.tasks.interpolate import interpolate
from ganvae.tasks.reconstruct import reconstruct

__all__ = ["encode", "generate", "interpolate", "reconstruct"]
