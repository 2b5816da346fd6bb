"""Checks whether a change of the code changed a single bit of the results.

    python tools/same.py            records where nothing is recorded yet, else compares
    python tools/same.py --record   records anew
    python tools/same.py --only vae,help

Recordings hold for one machine and one version of torch, and are not committed. They only use what
users see: the verbs, the commands and the files of a run.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import hashlib
import io
import json
import platform
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

import ganvae
from ganvae import objectives

ROOT = Path(__file__).resolve().parent.parent
RECORDING = ROOT / ".same.json"
STEPS = 24
SIDE = 16
TIMED = {"seconds", "environment", "created", "date", "images_per_s"}
"""Keys of JSON files that differ from one run to the next."""
SETTINGS: dict[str, Any] = {
    "training.budget": f"{STEPS}steps", "training.batch": 8, "training.threads": 1,
    "training.bf16": False, "training.compile": False, "training.previews": 1,
    "training.evaluations": 1, "training.tensorboard": False, "training.device": "cpu",
    "training.checkpoint_every": "8steps", "networks.width": 8, "networks.latent": 8,
    "networks.components": 3, "networks.codes": 16, "evaluation.size": 32,
    "evaluation.samples": 12, "evaluation.importance": 2, "evaluation.priors": False,
}  # fmt: skip

Digests = dict[str, str]
Case = Callable[[Path], Digests]


# -- digests -------------------------------------------------------------------------------------


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]


def of_tensor(tensor: torch.Tensor) -> str:
    plain = tensor.detach().cpu().contiguous()
    return sha(f"{plain.dtype} {tuple(plain.shape)}".encode() + plain.numpy().tobytes())


def of_tensors(files: list[Path]) -> str:
    """Name, dtype, shape and bytes of every tensor in safetensors files."""
    facts = [
        f"{path.name}/{name} {of_tensor(tensor)}"
        for path in sorted(files)
        for name, tensor in sorted(load_file(path).items())
    ]
    return sha("\n".join(facts).encode())


def of_json(path: Path) -> str:
    """A JSON file without what differs each time."""

    def stripped(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: stripped(item) for key, item in value.items() if key not in TIMED}
        return [stripped(item) for item in value] if isinstance(value, list) else value

    return sha(json.dumps(stripped(json.loads(path.read_text())), sort_keys=True).encode())


def of_run(run: Path) -> Digests:
    """The last checkpoint, the model, the scores."""
    newest = max((run / "checkpoints").glob("step-*[0-9]"))
    return {
        "step": newest.name,
        "checkpoint": of_tensors(list(newest.glob("*.safetensors"))),
        "model": of_tensors([run / "model" / "model.safetensors"]),
        "description": of_json(run / "model" / "config.json"),
        "evaluation": of_json(run / "evaluation.json"),
    }


def of_verbs(run: Path) -> Digests:
    """The model's outputs for fixed inputs."""
    model = ganvae.load(run, device="cpu")
    wave = torch.linspace(-1, 1, SIDE)
    x = (wave[:, None] * wave[None] * torch.tensor([1.0, -1.0, 0.5])[:, None, None]).repeat(
        4, 1, 1, 1
    )[:, : model.shape[0]]
    if model.info.task == "translate":
        source = x[:, : model.info.shape.source]
        return {"translate": of_tensor(model.translate(source, 2, seed=0))}
    if model.info.task == "complete":
        mask = torch.zeros(4, 1, SIDE, SIDE, dtype=torch.bool)
        mask[..., :5, 3:9] = True
        return {"complete": of_tensor(model.complete(x, mask, 2, seed=0))}
    digests = {"generate": of_tensor(model.generate(16, seed=0))}
    if "encoder" in model.networks:
        label = torch.zeros(4, dtype=torch.int64) if model.info.classes else None
        digests["reconstruct"] = of_tensor(model.reconstruct(x, label))
    return digests


# -- images --------------------------------------------------------------------------------------


def pictures(count: int, seed: int) -> np.ndarray:
    """Smooth coloured images: uint8 (count, SIDE, SIDE, 3)."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    waves = random.uniform(0, 6, (count, 3, 3, 1, 1))
    images = np.sin(waves[:, 0] * x + waves[:, 1] * y + waves[:, 2])
    return ((images + 1) * 127).astype(np.uint8).transpose(0, 2, 3, 1)


def make_sets(home: Path) -> None:
    """An array with classes, a folder of pairs, tar shards."""
    images = pictures(72, 0)
    np.savez(home / "array.npz", images=images, labels=np.arange(72) % 3)
    for side, factor in (("source", 1), ("target", -1)):
        (home / "pairs" / side).mkdir(parents=True)
        for number, image in enumerate(images[:48]):
            picture = Image.fromarray(image[:, ::factor])
            picture.save(home / "pairs" / side / f"{number:03}.png")
    (home / "shards").mkdir()
    for shard in range(3):
        with tarfile.open(home / "shards" / f"s-{shard}.tar", "w") as archive:
            for number, image in enumerate(images[shard::3]):
                content = io.BytesIO()
                Image.fromarray(image).save(content, "png")
                member = tarfile.TarInfo(f"{number:03}.png")
                member.size = content.tell()
                content.seek(0)
                archive.addfile(member, content)


# -- cases ---------------------------------------------------------------------------------------


def settings_of(objective: str, home: Path) -> dict[str, Any]:
    """The settings of a short training."""
    kind = objectives.get(objective)
    data = home / ("pairs" if kind.task == "translate" else "array.npz")
    settings = SETTINGS | {"objective": objective, "data.path": str(data), "data.size": SIDE}
    settings |= {"data.cache": str(home / "cache"), "data.task": kind.task}
    if kind.needs_classes:
        settings["data.labels"] = True
    return settings


def trained(objective: str, home: Path, **changes: Any) -> Path:
    """A run of this objective; ``__`` in a name stands for the dot."""
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    names = [f"{key}={value}" for key, value in changes.items()]
    out = home / "runs" / "-".join([objective, *names]).replace(os.sep, "_")
    ganvae.train(out=out, settings=settings_of(objective, home) | changes)
    return out


def one(objective: str, home: Path, **changes: Any) -> Digests:
    run = trained(objective, home, **changes)
    return of_run(run) | of_verbs(run)


def stopped(objective: str, home: Path) -> Digests:
    """SIGTERM in the ninth step, then resumed."""
    kind, calls = objectives.get(objective), [0]
    step, out = kind.step, home / "runs" / f"{objective}-stopped"

    def ninth(self: Any, nets: Any, batch: Any, now: Any) -> Any:
        calls[0] += 1
        if calls[0] == 9:
            os.kill(os.getpid(), signal.SIGTERM)
        return (yield from step(self, nets, batch, now))

    kind.step = ninth  # type: ignore[method-assign]
    try:
        halted = ganvae.train(out=out, settings=settings_of(objective, home))
    finally:
        kind.step = step  # type: ignore[method-assign]
    assert halted.status == "SIGTERM", halted.status
    ganvae.train(out=out, resume=True)
    return of_run(out)


def two_processes(objective: str, home: Path) -> Digests:
    out = home / "runs" / f"{objective}-two"
    options = [f"--{key}={value}" for key, value in settings_of(objective, home).items()]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(
        [*launch, "-m", "ganvae", "train", f"--out={out}", *options],
        check=True, capture_output=True, cwd=home, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return of_run(out)


def streamed(home: Path) -> Digests:
    """Shards read while training; they are known by their times, which the description holds."""
    digests = one("vae", home, data__path=str(home / "shards"), data__stream=True)
    dated = ("description", "evaluation")
    return {key: value for key, value in digests.items() if key not in dated}


def store(home: Path) -> Digests:
    """The packed images, as they lie in the cache."""
    ganvae.check(home / "array.npz", settings={"data.cache": str(home / "cache-of-store")})
    files = sorted(
        path
        for path in (home / "cache-of-store").rglob("*")
        if path.is_file() and path.suffix in (".u8", ".npy", ".jsonl") and path.stem != "stats"
    )
    assert files
    return {path.name: sha(path.read_bytes()) for path in files}


def helps(home: Path) -> Digests:
    """Every page of help."""
    from ganvae.cli import COMMANDS

    def said(*words: str) -> str:
        command = [sys.executable, "-m", "ganvae", *words, "--help"]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, cwd=home,
            env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"},
        ).stdout  # fmt: skip

    return {name: sha(said(*name.split()).encode()) for name in ("", *COMMANDS)}


def cases() -> dict[str, Case]:
    by_name: dict[str, Case] = {name: partial(one, name) for name in objectives.names()}
    by_name["vae priors"] = partial(one, "vae", evaluation__priors=True)
    by_name["gan_vae share 0"] = partial(one, "gan_vae", objective__share=0.0)
    by_name["vae accumulate 2"] = partial(one, "vae", training__accumulate=2)
    by_name["vae_gan accumulate 2"] = partial(one, "vae_gan", training__accumulate=2)
    by_name["gan_vae stopped"] = partial(stopped, "gan_vae")
    by_name["gan_vae two processes"] = partial(two_processes, "gan_vae")
    by_name["vae streamed"] = streamed
    return by_name | {"store": store, "help": helps}


# -- recording and comparing ---------------------------------------------------------------------


def machine() -> dict[str, str]:
    return {"node": platform.node(), "torch": torch.__version__, "numpy": np.__version__}


def differences(before: dict[str, Digests], now: dict[str, Digests]) -> Iterator[str]:
    for case, digests in now.items():
        if case not in before:
            yield f"{case}: not recorded"
            continue
        names = {**before[case], **digests}
        changed = [name for name in names if before[case].get(name) != digests.get(name)]
        if changed:
            yield f"{case}: {', '.join(changed)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="record anew")
    parser.add_argument("--only", help="names of cases, with commas")
    options = parser.parse_args()
    selection = cases()
    if options.only:
        selection = {name: selection[name] for name in options.only.split(",")}
    torch.set_num_threads(1)
    digests: dict[str, Digests] = {}
    with tempfile.TemporaryDirectory(prefix="same-") as folder:
        home = Path(folder)
        os.environ["XDG_CACHE_HOME"] = str(home / "features")
        make_sets(home)
        for name, case in selection.items():
            start = time.perf_counter()
            digests[name] = case(home)
            print(f"{name}: {time.perf_counter() - start:.1f} s", flush=True)
    recording = {"machine": machine(), "cases": digests}
    if options.record or not RECORDING.exists():
        RECORDING.write_text(json.dumps(recording, indent=1))
        print(f"recorded {len(digests)} cases in {RECORDING}")
        return 0
    before = json.loads(RECORDING.read_text())
    if before["machine"] != recording["machine"]:
        print(f"recorded on another machine or torch: {before['machine']}; use --record")
        return 2
    changed = list(differences(before["cases"], digests))
    print("\n".join(["changed:", *changed]) if changed else f"the same: {len(digests)} cases")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
