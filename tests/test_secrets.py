"""What gives access to somebody's images is told to nobody and kept nowhere."""

from __future__ import annotations

import functools
import http.server
import io
import json
import pickle
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganvae import api, bulk, cli, config
from ganvae.data import open_data
from ganvae.errors import ConfigError, DataError
from ganvae.models import Model, ModelInfo
from ganvae.networks import zoo
from ganvae.telling import Address, whole
from ganvae.types import Shape

SECRET = "SECRET123"
TINY = [
    "--objective=vae", "--size=8", "--networks.family=mlp", "--networks.latent=2",
    "--networks.components=1", "--training.batch=8", "--training.previews=1",
    "--training.evaluations=0", "--evaluation.samples=8", "--evaluation.importance=2",
    "--evaluation.priors=false", "--objective.fit=16", "--budget=2steps",
]  # fmt: skip


class _Site(http.server.SimpleHTTPRequestHandler):
    asked: list[str] = []

    def log_message(self, *_: Any) -> None:
        self.asked.append(self.requestline)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str]]]:
    """A web server with ``s.tar``: its host, and what it was asked for."""
    pytest.importorskip("aiohttp")
    folder = tmp_path_factory.mktemp("site")
    random = np.random.default_rng(0)
    with tarfile.open(folder / "s.tar", "w") as archive:
        for number in range(30):
            png = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)).save(png, format="PNG")
            member = tarfile.TarInfo(f"{number:03d}.png")
            member.size = len(png.getvalue())
            archive.addfile(member, io.BytesIO(png.getvalue()))
    _Site.asked = []
    serve = functools.partial(_Site, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{web.server_port}", _Site.asked
        web.shutdown()


def holding(secret: str, *folders: Path) -> list[str]:
    """Files that have a secret in them or in their names."""
    return [
        str(path)
        for folder in folders
        for path in folder.rglob("*")
        if secret in path.name or (path.is_file() and secret.encode() in path.read_bytes())
    ]


def test_no_secret_of_an_address_is_kept_or_told(
    site: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    host, asked = site
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    address = f"http://user:{SECRET}@{host}/s.tar?X-Amz-Signature={SECRET}&part=7"
    assert cli.run(["train", address, *TINY]) == 0
    run = tmp_path / "runs" / "vae-s.tar-1"
    assert config.load(run / "config.yaml").data.path == f"http://{host}/s.tar?part=7"
    assert any(f"X-Amz-Signature={SECRET}" in line for line in asked)
    assert cli.run(["train", "--resume", "--out", str(run)]) == 0  # this one is public as well
    renewed = address.replace(SECRET, f"{SECRET}9")  # the same images
    assert cli.run(["check", renewed, "--size=8"]) == 0
    assert cli.run(["check", address.replace("s.tar", "t.tar")]) == 65
    assert cli.run(["check", address, "--data.size=nine", "--debug"]) == 78
    assert len(list((tmp_path / "cache" / "ganvae" / "packed").glob("*/*/meta.json"))) == 1
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err and f"http://{host}/s.tar" in said.out
    assert not holding(SECRET, tmp_path)
    assert len(list(run.rglob("*"))) > 20


def test_another_resource_is_another_address() -> None:
    one, other = (Address(f"https://h/get?token=a&file={name}") for name in ("a.tar", "b.tar"))
    assert one == "https://h/get?file=a.tar" and one.identity != other.identity
    hidden, again = (Address(f"https://h/get?id=x{n}&sig=y{n}") for n in (1, 2))
    assert hidden == again == "https://h/get?id=…" and hidden.identity != again.identity
    assert hidden.whole == "https://h/get?id=x1&sig=y1" and not hidden.lacks
    with pytest.raises(DataError, match="give the whole address again"):
        open_data(config.Data(path=hidden + ""))  # as a configuration has kept it
    azure = Address("https://a.blob.net/c/s.tar?sv=2022&sp=r&se=2026-01-01T00:00:00Z&sig=abc%3D")
    assert azure == "https://a.blob.net/c/s.tar"
    assert Address("abfs://box@a.net/s.tar") == "abfs://box@a.net/s.tar"
    assert Address("zip://x.tar::https://u:p@h/a.zip") == "zip://x.tar::https://h/a.zip"
    assert Address("s3://KEY:SE/C?RET@b/x.tar") == "s3://b/x.tar"
    assert Address("photos of mine?") == "photos of mine?"
    with pytest.raises(DataError, match="braces") as refused:
        open_data(config.Data(path=f"https://u:{SECRET}@h/{{a.tar?sig={SECRET}"))
    assert SECRET not in str(refused.value)


def test_a_copy_of_an_address_opens_the_same() -> None:
    chosen = config.override(config.Config(), {"data.path": f"https://h/s.tar?sig={SECRET}"})
    for copy in (pickle.loads(pickle.dumps(chosen)), replace(chosen, objective="vae")):
        assert whole(copy.data.path) == f"https://h/s.tar?sig={SECRET}"
    assert SECRET not in f"{chosen}{config.dump(chosen)}{json.dumps(config.as_dict(chosen))}"
    assert not config.difference(chosen, config.parse(config.as_dict(chosen)), incidental=True)


def test_a_run_of_a_stranger_does_not_say_what_is_asked_for(
    site: tuple[str, list[str]], tmp_path: Path
) -> None:
    host, asked = site
    run = tmp_path / "run"
    shape = Shape(channels=1, height=8, width=8, latent=2)
    info = ModelInfo.of(
        config.override(config.Config(), {"networks.family": "mlp", "networks.latent": 2}),
        shape, decoder="decoder", generator="decoder",
    )  # fmt: skip
    nets = {role: zoo.build(role, info.networks, shape) for role in ("decoder", "prior")}
    Model(nets, info).save(run / "model")
    before = len(asked)
    for settings, said in (
        ({"data.path": f"http://{host}/s.tar"}, "not on this machine"),
        ({"data.path": "owner/name"}, "not on this machine"),
        ({"data.cache": str(tmp_path / "elsewhere")}, "--data.cache"),
    ):
        config.save(config.override(config.Config(), settings), run / "config.yaml")
        for judge in (
            lambda: api.evaluate(run),
            lambda: bulk.evaluate(run, None, tmp_path / "out", actors=0),
        ):
            with pytest.raises(ConfigError, match=said):
                judge()
    assert len(asked) == before and not (tmp_path / "elsewhere").exists()
