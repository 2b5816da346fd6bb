"""The Hub without a network: its cache, its client with the connection replaced."""

import inspect
import shutil
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub import errors

from ganvae.errors import CheckpointError, ConfigError
from ganvae.models import Model, directory, hub, load

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cached(folder: Path, tmp_path: Path, monkeypatch) -> Path:
    """A hub cache in which someone/digits has been downloaded, as huggingface_hub lays it out."""
    cache = tmp_path / "hub"
    repo = cache / "models--someone--digits"
    snapshot = repo / "snapshots" / REVISION
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(REVISION)
    shutil.copytree(folder, repo / "blobs")
    snapshot.mkdir(parents=True)
    for path in (repo / "blobs").iterdir():
        (snapshot / path.name).symlink_to(path)
    monkeypatch.setattr(import_module("huggingface_hub.constants"), "HF_HUB_CACHE", str(cache))
    return snapshot


def test_a_downloaded_model_loads_by_its_id(model: Model, cached: Path):
    for identity in ("someone/digits", "someone/digits@main", f"someone/digits@{REVISION}"):
        assert torch.equal(load(identity).generate(2), model.generate(2))
    again = Model.from_pretrained("someone/digits", local_files_only=True, device="cpu")
    assert again.info == model.info
    assert Model.from_pretrained("someone/digits", revision=REVISION).info == model.info


def test_a_download_is_checked_like_any_model(cached: Path):
    (cached / directory.WEIGHTS).unlink()
    (cached / directory.WEIGHTS).write_bytes(b"\x80\x04.")
    with pytest.raises(CheckpointError, match="pickle"):
        load("someone/digits")
    (cached / directory.CONFIG).unlink()
    with pytest.raises(ConfigError, match="holds no ganvae model"):
        load("someone/digits")


def test_offline_is_one_clear_sentence_and_quick():
    start = time.perf_counter()
    with pytest.raises(ConfigError, match="someone/absent is no folder here, and the Hugging"):
        load("someone/absent")
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.RepositoryNotFoundError, "neither a folder here nor a model"),
        (errors.GatedRepoError, "conditions"),
        (errors.RevisionNotFoundError, "no revision 'v2'"),
        (errors.HfHubHTTPError, "could not be asked"),
        (ConnectionError, "could not be asked"),
        (TimeoutError, "could not be asked"),
        (errors.LocalEntryNotFoundError, "could not be asked"),
    ],
)
def test_answers_of_the_hub_are_one_sentence(monkeypatch, error, message: str):
    def refuse(*_, **__):
        hub_error = issubclass(error, errors.HfHubHTTPError)
        response = SimpleNamespace(request=None, headers={}, status_code=404)
        raise error("first line\nsecond", response=response) if hub_error else error("first line")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ConfigError, match=message) as caught:
        load("someone/digits@v2")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "path", ["runs", "runs/photos/x", "../photos", "/photos/x", "./runs/x", "~/x", "a b/c", "-"]
)
def test_mistyped_folders_never_ask_the_hub(tmp_path: Path, monkeypatch, path: str):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "download", lambda *_: pytest.fail("asked the Hub"))
    with pytest.raises(ConfigError, match="does not exist"):
        load(path)
    with pytest.raises(ConfigError, match="does not exist"):
        load(Path("runs/photos"))
    (tmp_path / "runs").mkdir()
    with pytest.raises(ConfigError, match="does not exist"):
        load("runs/photos")


def test_only_the_model_s_files_are_asked_for(monkeypatch, folder: Path):
    asked = {}

    def answer(repo_id, **options):
        asked.update(options, repo_id=repo_id)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", answer)
    load("someone/digits@v2")
    assert asked["repo_id"] == "someone/digits" and asked["revision"] == "v2"
    assert set(asked["allow_patterns"]) == {directory.CONFIG, directory.WEIGHTS, directory.CARD}


def test_push_uploads_a_directory_that_loads(model: Model, monkeypatch, tmp_path: Path):
    calls = {}

    class Api:
        def __init__(self, token=None):
            calls["token"] = token

        def create_repo(self, repo_id, private, exist_ok):
            calls.update(private=private, exist_ok=exist_ok)
            return SimpleNamespace(repo_id=f"someone/{repo_id}")

        def upload_folder(self, *, repo_id, folder_path, **options):
            calls.update(options, repo_id=repo_id)
            shutil.copytree(folder_path, tmp_path / "uploaded")
            return "https://hub/commit"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert model.push_to_hub("digits", token="t", private=True, branch="b") == "https://hub/commit"
    assert calls["repo_id"] == "someone/digits" and calls["revision"] == "b"
    assert calls["token"] == "t" and calls["private"] is True
    assert load(tmp_path / "uploaded").info == model.info
    shutil.rmtree(tmp_path / "uploaded")
    where = model.save_pretrained(tmp_path / "digits", push_to_hub=True, create_pr=True)
    assert where == "https://hub/commit" and calls["create_pr"] is True
    assert model.save_pretrained(tmp_path / "digits") is None
    assert Model.from_pretrained(tmp_path / "digits").info == model.info


@pytest.mark.parametrize("verb", ["save_pretrained", "from_pretrained", "push_to_hub"])
def test_the_verbs_are_those_of_the_library_s_mixin(verb: str):
    theirs = inspect.signature(getattr(huggingface_hub.ModelHubMixin, verb)).parameters
    ours = inspect.signature(getattr(Model, verb)).parameters
    named = {n for n, p in ours.items() if p.kind is not inspect.Parameter.VAR_KEYWORD}
    assert named <= set(theirs)
    assert list(ours)[0] == list(theirs)[0]


def test_the_hub_s_client_is_imported_only_when_asked():
    code = "import sys, ganvae.models; sys.exit('huggingface_hub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
