"""What a model does with images: a file a verb; no knowledge of training."""

from ganvae.tasks.complete import complete
from ganvae.tasks.direction import direction
from ganvae.tasks.directions import Directions
from ganvae.tasks.edit import edit
from ganvae.tasks.encode import encode
from ganvae.tasks.generate import generate
from ganvae.tasks.interpolate import interpolate
from ganvae.tasks.reconstruct import reconstruct
from ganvae.tasks.translate import translate

__all__ = [
    "Directions", "complete", "direction", "edit", "encode", "generate", "interpolate",
    "reconstruct", "translate",
]  # fmt: skip
