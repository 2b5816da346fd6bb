"""Images a second from the store, files packed a second, and MB that more images take.

``python -m benchmarks data`` makes its images itself and needs one core.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.race import Args, Cell, Race, Result, bare, goal, measure
from benchmarks.timing import Watch, memory

SPEED, PACKING, MEMORY = 25_000, 1_000, 16.0


def photographs(count: int, size: int = 64) -> np.ndarray:
    """Synthetic images of every scale of detail: uint8 (count, size, size, 3)."""
    from PIL import Image

    random = np.random.default_rng(0)
    images = np.empty((count, size, size, 3), np.uint8)
    for number in range(count):
        total = np.full((size, size, 3), 128.0, np.float32)
        for cells in (2, 4, 8, 16, 32):
            noise = (random.random((cells, cells, 3)) * 255).astype(np.uint8)
            part = Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)
            total += (np.asarray(part, np.float32) - 128) / cells**0.5
        images[number] = total.clip(0, 255)
    return images


def synthetic(path: Path, count: int, size: int, channels: int = 1) -> Path:
    """An .npy file of ``count`` different images, written a part at a time."""
    some = photographs(min(count, 1000), size)[..., :channels]
    shape = (count, size, size, channels)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    for start in range(0, count, len(some)):
        part = out[start : start + len(some)]
        part[:] = some[: len(part)]
        numbers = np.arange(start, start + len(part), dtype="<u4").view(np.uint8).reshape(-1, 4)
        part.reshape(len(part), -1)[:, :4] = numbers  # so that no two are the same
    out.flush()
    return path


def read(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Reads so many ``steps`` of batches of ``path`` from the store in ``cache``, in ten parts."""
    import torch

    from ganvae import config
    from ganvae.data import Batches, open_data

    torch.set_num_threads(1)
    path, cache = settings["path"], settings["cache"]
    data = open_data(config.Data(path=path, cache=cache, test_share=0.01))
    batches = Batches(data.train, batch=64, seed=0)
    part = min(len(data.train) // 64, settings["steps"]) // 10
    steps = iter(range(10 * part))

    def some() -> None:
        for _ in range(part):  # one after the other: none is held
            batches.at(next(steps))

    batches.at(0)
    watches = [Watch.of(some) for _ in range(10)]
    return {
        "images_per_s": sorted(64 * part / watch.wall for watch in watches),
        "images_per_cpu_s": sorted(64 * part / watch.cpu for watch in watches),
        "images": len(data.train), **memory(),
    }  # fmt: skip


def pack(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Packs ``path`` into the store in ``cache`` by so many ``workers``, and finds it again."""
    from PIL import Image

    from ganvae.data import store
    from ganvae.data.decode import Preparation
    from ganvae.data.find import find

    Image.preinit()
    source, cache = find(settings["path"]), Path(settings["cache"])
    how, workers = Preparation(height=64, width=64), settings["workers"]
    start = Watch.now()
    packed, _ = store.ingest(source, how, cache, workers=workers)
    watch, again = Watch.now() - start, Watch.of(lambda: store.ingest(source, how, cache))
    return {
        "images": len(packed), "seconds": watch.wall, "cpu_s": watch.cpu, "again_s": again.wall,
        "peak_mb": memory()["peak_mb"],
    }  # fmt: skip


def cell(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``what`` it is: "read" or "pack"."""
    return {"read": read, "pack": pack}[settings["what"]](settings)


def apart(folder: Path, what: str, path: Path, cache: str, **more: Any) -> dict[str, Any]:
    """The figures of a fresh process on one core."""
    settings = {"what": what, "path": str(path), "cache": str(folder / cache), **more}
    one = Cell("data", f"{what}-{path.stem}", {**settings, "threads": 1})
    return bare(measure([one], folder / "cells")[0])


def batches(folder: Path, counts: tuple[int, int], steps: int) -> dict[str, Any]:
    """Speed and memory of training batches at two numbers of images."""
    runs = {}
    for count in counts:
        path = synthetic(folder / f"{count}.npy", count, 64, 3)
        packing = apart(folder, "pack", path, "cache", workers=0)
        runs[str(count)] = apart(folder, "read", path, "cache", steps=steps) | {"packing": packing}
        path.unlink()
        shutil.rmtree(folder / "cache")
    few, many = runs.values()
    growth = many["resident_mb"] - few["resident_mb"]
    speed, own = (statistics.median(many[key]) for key in ("images_per_s", "images_per_cpu_s"))
    return {
        "images_per_s": speed, "images_per_cpu_s": own, "speed_ratio": speed / SPEED,
        "resident_growth_mb": growth, "memory_ratio": MEMORY / max(growth, 0.1),
        "packing_peak_growth_mb": many["packing"]["peak_mb"] - few["packing"]["peak_mb"],
        "runs": runs,
    }  # fmt: skip


def packing(folder: Path, count: int) -> dict[str, Any]:
    """Speed of packing small PNG files on one core."""
    from PIL import Image

    files = folder / "files"
    files.mkdir()
    for number, pixels in enumerate(photographs(count)):
        Image.fromarray(pixels).save(files / f"{number:06d}.png")
    one = apart(folder, "pack", files, "one", workers=0)
    every = apart(folder, "pack", files, "all", workers=os.cpu_count() or 1)
    speed = one["images"] / one["seconds"]
    return {
        "files_per_s": speed, "files_per_cpu_s": one["images"] / one["cpu_s"],
        "packing_ratio": speed / PACKING,
        "files_per_s_all_cores": every["images"] / every["seconds"],
        "found_again_s": one["again_s"],
    }  # fmt: skip


def compete(args: Args) -> Result:
    """All three; quickly with a tenth of everything."""
    part = 10 if args.quick else 1
    few, many = 10_000 // part, args.images // part
    with tempfile.TemporaryDirectory() as name:
        result = packing(Path(name), 5000 // part)
        result |= batches(Path(name), (few, many), 3000 // part)
    growth = result["resident_growth_mb"]
    return {
        "ratio": min(result[f"{what}_ratio"] for what in ("speed", "packing", "memory")),
        "goal": 1.0,
        "goals": [
            goal("training images a second, 64×64×3", result["images_per_s"], SPEED),
            goal("small PNG files packed a second on one core", result["files_per_s"], PACKING),
            goal(f"MB more for {many:,} images than for {few:,}", growth, MEMORY, "lower"),
        ],
        **result,
    }  # fmt: skip


RACE = Race(
    measure=compete, quick={},
    options={
        "--json": {"type": Path, "help": "write the result here, too"},
        "--images": (200_000, "the larger number of images"),
    },
)  # fmt: skip
