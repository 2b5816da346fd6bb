"""How fast images come, how fast they are packed, and how much memory they take.

    python benchmarks/data.py [--json FILE] [--images 200000] [--quick]

Three races, each as a ratio to its goal (above 1 is faster than asked for):
* training batches of 64x64x3 as float in [-1, 1], no workers, against 25,000 images/s;
* packing small PNG files on one core against 1,000 files/s;
* the growth of resident memory from 10,000 to 200,000 images, against 16 MB: the order of an epoch
  and the row numbers take 8 bytes an image, the pixels none.

The machine must be idle; the figures by CPU second tell what a busy one hides.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

SPEED, PACKING, MEMORY = 25_000, 1_000, 16.0

READ = """
import json, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from ganvae import config
from ganvae.data import Batches, open_data
data = open_data(config.Data(path=sys.argv[1], cache=sys.argv[2], test_share=0.01))
batches = Batches(data.train, batch=64, seed=0)
steps = min(len(data.train) // 64, int(sys.argv[3]))
batches.at(0)
rates, own = [], []
for part in range(10):
    begin, own_begin = time.perf_counter(), time.process_time()
    for step in range(part * steps // 10, (part + 1) * steps // 10):
        batches.at(step)
    rates.append((steps // 10) * 64 / (time.perf_counter() - begin))
    own.append((steps // 10) * 64 / (time.process_time() - own_begin))
status = dict(l.split(":", 1) for l in Path("/proc/self/status").read_text().splitlines())
kilobytes = {key: int(status[key].split()[0]) for key in ("VmRSS", "VmHWM")}
print(json.dumps({"images_per_s": sorted(rates), "images_per_cpu_s": sorted(own),
                  "resident_mb": kilobytes["VmRSS"] / 1024,
                  "peak_mb": kilobytes["VmHWM"] / 1024, "images": len(data.train)}))
"""

PACK = """
import json, sys
from pathlib import Path
from ganvae.data import sources, store
from ganvae.data.decode import Preparation
import time
from PIL import Image
Image.preinit()
source, how = sources.find(sys.argv[1]), Preparation(height=64, width=64)
begin, own = time.perf_counter(), time.process_time()
packed, _ = store.ingest(source, how, Path(sys.argv[2]), workers=int(sys.argv[3]))
seconds, own = time.perf_counter() - begin, time.process_time() - own
begin = time.perf_counter()
store.ingest(source, how, Path(sys.argv[2]))
again = time.perf_counter() - begin
status = dict(l.split(":", 1) for l in Path("/proc/self/status").read_text().splitlines())
peak = int(status["VmHWM"].split()[0]) / 1024  # ru_maxrss would begin with the parent's
print(json.dumps({"images": len(packed), "seconds": seconds, "cpu_s": own, "again_s": again,
                  "peak_mb": peak}))
"""


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


def run(code: str, *arguments: object) -> dict[str, Any]:
    """What a fresh process on one core prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def array(folder: Path, count: int, some: np.ndarray) -> Path:
    """An .npy file of ``count`` different images, written a part at a time."""
    path = folder / f"{count}.npy"
    shape = (count, *some.shape[1:])
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    for start in range(0, count, len(some)):
        part = out[start : start + len(some)]
        part[:] = some[: len(part)] + np.uint8(start // len(some))
    out.flush()
    return path


def batches(folder: Path, counts: tuple[int, int], steps: int) -> dict[str, Any]:
    """Speed and memory of training batches at two numbers of images."""
    some = photographs(1000)
    results = []
    for count in counts:
        path = array(folder, count, some)
        packing = run(PACK, path, folder / "cache", 0)
        results.append(run(READ, path, folder / "cache", steps) | {"packing": packing})
        path.unlink()
        shutil.rmtree(folder / "cache")
    few, many = results
    growth = many["resident_mb"] - few["resident_mb"]
    speed, own = (statistics.median(many[key]) for key in ("images_per_s", "images_per_cpu_s"))
    return {
        "images_per_s": speed,
        "images_per_cpu_s": own,
        "speed_ratio": speed / SPEED,
        "resident_growth_mb": growth,
        "memory_ratio": MEMORY / max(growth, 0.1),
        "packing_peak_growth_mb": many["packing"]["peak_mb"] - few["packing"]["peak_mb"],
        "runs": {str(count): result for count, result in zip(counts, results, strict=True)},
    }


def packing(folder: Path, count: int) -> dict[str, Any]:
    """Speed of packing small PNG files on one core."""
    from PIL import Image

    files = folder / "files"
    files.mkdir()
    for number, pixels in enumerate(photographs(count)):
        Image.fromarray(pixels).save(files / f"{number:06d}.png")
    one = run(PACK, files, folder / "one", 0)
    all_cores = run(PACK, files, folder / "all", os.cpu_count() or 1)
    speed = one["images"] / one["seconds"]
    return {
        "files_per_s": speed,
        "files_per_cpu_s": one["images"] / one["cpu_s"],
        "packing_ratio": speed / PACKING,
        "files_per_s_all_cores": all_cores["images"] / all_cores["seconds"],
        "found_again_s": one["again_s"],
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the results here too")
    parser.add_argument("--images", type=int, default=200_000, help="the larger number of images")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    chosen = parser.parse_args()
    share = 10 if chosen.quick else 1
    counts = 10_000 // share, chosen.images // share
    with tempfile.TemporaryDirectory() as folder:
        results = packing(Path(folder), 5000 // share)
        results |= batches(Path(folder), counts, 3000 // share)
    for what, unit, ratio in (
        ("images_per_s", "training images a second", "speed_ratio"),
        ("files_per_s", "small PNG files packed a second on one core", "packing_ratio"),
        ("resident_growth_mb", f"MB more for {counts[1]:,} images", "memory_ratio"),
    ):
        print(f"{results[what]:>10,.1f} {unit}: {results[ratio]:.2f} x the goal")
    text = json.dumps(results, indent=1)
    print(text)
    if chosen.json:
        chosen.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
