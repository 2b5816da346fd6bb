"""Pictures to test with."""

from __future__ import annotations

import io
import json
import tarfile
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator
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


# ------------------------------------------------------------------------------ object storage


def encoded(number: int, size: int = 8, seed: int = 0) -> bytes:
    """A PNG file of a picture that no other number has."""
    file = io.BytesIO()
    random = np.random.default_rng([seed, number])
    Image.fromarray(random.integers(0, 256, (size, size, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def tar(numbers: Iterable[int], **options: int) -> bytes:
    """A shard of pictures, each with a class beside it: its number modulo 3."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for number in numbers:
            files = {"png": encoded(number, **options), "cls": str(number % 3).encode()}
            for kind, content in files.items():
                member = tarfile.TarInfo(f"photos/{number:04d}.{kind}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def parquet(numbers: Iterable[int], **options: int) -> bytes:
    """A Parquet file of the same pictures, as ``datasets`` would write it, with named classes."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    numbers = list(numbers)
    features = {
        "picture_of": {"_type": "Image"},
        "kind": {"_type": "ClassLabel", "names": ["zebra", "ape", "bee"]},
    }
    table = pyarrow.table(
        {
            "kind": [number % 3 for number in numbers],
            "picture_of": [{"bytes": encoded(n, **options), "path": None} for n in numbers],
        },
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    file = io.BytesIO()
    files.write_table(table, file, row_group_size=10)
    return file.getvalue()


class Bucket:
    """A bucket of a server on this machine that speaks S3."""

    def __init__(self, url: str, name: str):
        self.url, self.name = url, name
        self.environment = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def write(self, name: str, content: bytes | None) -> str:
        """Stores an object, or makes the bucket itself, and returns the address."""
        self._ask("PUT", name, content)
        return f"s3://{self.name}/{name}"

    def remove(self, name: str) -> None:
        """Removes an object."""
        self._ask("DELETE", name, None)

    def _ask(self, method: str, name: str, content: bytes | None) -> None:
        address = f"{self.url}/{self.name}/{name}"
        request = urllib.request.Request(address, data=content, method=method)
        # the server takes any signature, but none would be an anonymous request
        key = "AWS4-HMAC-SHA256 Credential=somebody/20260101/us-east-1/s3/aws4_request"
        request.add_header("Content-Type", "application/octet-stream")
        request.add_header("Authorization", f"{key}, SignedHeaders=host, Signature=0")
        urllib.request.urlopen(request, timeout=30).close()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server that speaks S3."""
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket that this process has the credentials for."""
    import s3fs

    made = Bucket(server, f"photos-{uuid.uuid4().hex[:8]}")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    s3fs.S3FileSystem.clear_instance_cache()
    made.write("", None)
    yield made
    s3fs.S3FileSystem.clear_instance_cache()
