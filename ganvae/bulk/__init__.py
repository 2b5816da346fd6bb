"""Encode, generate and evaluate very large sets: in parts, by many actors, and restartable.

A bulk task writes a folder of Parquet parts. Each part is written whole or not at all, under a
name that follows from its place in the set, so a task that was stopped goes on with the parts that
are missing. Ray Data shares the parts out among actors that hold one model each; with ``actors=0``
the same parts are made in this process, without Ray.
"""

from ganvae.bulk.encode import encode
from ganvae.bulk.evaluate import evaluate
from ganvae.bulk.generate import generate
from ganvae.bulk.parts import Done

__all__ = ["Done", "encode", "evaluate", "generate"]
