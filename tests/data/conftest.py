"""Pictures to test with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganvae import config


def photo(seed: int, width: int = 96, height: int = 80, mode: str = "RGB") -> Image.Image:
    """Something as smooth and as detailed as a photograph: noise of every scale."""
    random = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cells in (2, 4, 8, 16, 32):
        noise = random.normal(size=(cells, cells, 3)) * 60 / cells**0.5
        for channel in range(3):
            part = Image.fromarray(noise[:, :, channel].astype(np.float32))
            total[:, :, channel] += np.asarray(part.resize((width, height), Image.BICUBIC))
    return Image.fromarray((total + 128).clip(0, 255).astype(np.uint8)).convert(mode)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of photographs named 0.png, 1.png, … and returns it."""

    def build(count: int, name: str = "photos", size: int = 16, first: int = 0) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            photo(number, size, size).save(folder / f"{number}.png")
        return folder

    return build


@pytest.fixture
def setting(tmp_path: Path) -> Callable[..., config.Data]:
    """A data setting with its cache in the test's folder."""

    def build(path: Path | str, **options: object) -> config.Data:
        given = {"path": str(path), "cache": str(tmp_path / "cache"), "size": 16} | options
        return config.Data(**given)  # type: ignore[arg-type]

    return build
