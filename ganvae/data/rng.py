"""Random numbers as functions of whole numbers: the same on every machine and version."""

from __future__ import annotations

import numpy as np

from ganvae.types import mix


def bits(numbers: np.ndarray, *seed: int) -> np.ndarray:
    """64 random bits for each number (splitmix64): uint64 of the numbers' shape."""
    x = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(mix(*seed))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniform(seeds: np.ndarray, count: int, *salt: int) -> np.ndarray:
    """For each seed so many numbers uniform in [0, 1): float64 (B, count).

    seeds: whole numbers, shape (B,)
    salt: any whole numbers; other ones give other numbers
    """
    places = bits(seeds, *salt)[:, None] + np.arange(count, dtype=np.uint64)
    return (bits(places) >> np.uint64(11)) * 2.0**-53


def normal(seeds: np.ndarray, count: int) -> np.ndarray:
    """For each seed so many standard normal numbers: float32 (B, count)."""
    drawn = np.empty((len(seeds), count), np.float32)
    for row, seed in zip(drawn, seeds.astype(np.uint64).tolist(), strict=True):
        random = np.random.Generator(np.random.Philox(key=seed))
        random.standard_normal(dtype=np.float32, out=row)
    return drawn
