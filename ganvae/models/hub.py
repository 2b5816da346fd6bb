"""Models on the Hugging Face Hub: the verbs of ``huggingface_hub.ModelHubMixin``.

Its own mixin is not inherited: it guesses a configuration from constructor arguments and reads
config.json unchecked before our loader sees it. The verbs, their arguments and the files are the
same.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any, TypeVar

from ganvae.errors import ConfigError
from ganvae.models import directory

M = TypeVar("M")
HUB_ID = re.compile(r"([\w-][\w.-]{0,95}/[\w-][\w.-]{0,95})(?:@([\w./-]{1,200}))?", re.ASCII)


def locate(path: str | Path) -> Path:
    """The model directory for a local path, or for a Hub id after downloading it."""
    place = Path(path).expanduser()
    match = HUB_ID.fullmatch(str(path))
    local = place.exists() or directory.replaced(place).exists() or isinstance(path, Path)
    if local or match is None or Path(match[1].split("/")[0]).is_dir():
        return directory.find(place)
    return download(match[1], match[2])


def download(repo_id: str, revision: str | None = None, **options: Any) -> Path:
    """The files of a model on the Hub, in its local cache.

    options: token, cache_dir, force_download, local_files_only as huggingface_hub has them
    Raises ConfigError where they cannot be had.
    """
    from huggingface_hub import errors, snapshot_download

    try:
        folder = snapshot_download(
            repo_id,
            revision=revision,
            allow_patterns=[directory.CONFIG, directory.WEIGHTS, directory.CARD],
            **options,
        )
    except errors.GatedRepoError:
        raise ConfigError(
            f"{repo_id} on the Hub asks for its conditions to be accepted: do so on its page, "
            f"then log in with hf auth login"
        ) from None
    except errors.RepositoryNotFoundError:
        raise ConfigError(
            f"{repo_id} is neither a folder here nor a model on the Hugging Face Hub (for a "
            f"private one, log in with hf auth login)"
        ) from None
    except errors.RevisionNotFoundError:
        raise ConfigError(f"{repo_id} on the Hub has no revision {revision!r}") from None
    except Exception as error:  # its exceptions share no base and change between versions
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(
            f"{repo_id} is no folder here, and the Hugging Face Hub could not be asked for it "
            f"({reason[0][:200]}); check the path, or the network"
        ) from None
    if not (Path(folder) / directory.CONFIG).is_file():
        raise ConfigError(
            f"{repo_id} on the Hub holds no ganvae model: it has no {directory.CONFIG}"
        )
    return Path(folder)


class HubMixin:
    """``save_pretrained``, ``from_pretrained`` and ``push_to_hub``."""

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        **push: Any,
    ) -> str | None:
        """Save a model directory; with ``push_to_hub`` also upload it, which gives its address."""
        self.save(save_directory)  # type: ignore[attr-defined]
        if not push_to_hub:
            return None
        return self.push_to_hub(repo_id or Path(save_directory).name, **push)

    @classmethod
    def from_pretrained(
        cls: type[M],
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        **options: Any,
    ) -> M:
        """A model from a directory or the Hub. ``options``: networks and device, as ``load``."""
        path = str(pretrained_model_name_or_path)
        if not Path(path).exists() and HUB_ID.fullmatch(path):
            path = str(
                download(
                    path.partition("@")[0],
                    revision or path.partition("@")[2] or None,
                    token=token,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    local_files_only=local_files_only,
                )
            )
        return cls.load(Path(path), **options)  # type: ignore[attr-defined]

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = "Push a model made with ganvae",
        private: bool | None = None,
        token: str | None = None,
        branch: str | None = None,
        create_pr: bool | None = None,
    ) -> str:
        """Upload the model directory in one commit and return the commit's address.

        A model card that is already on the Hub is replaced. Needs a login (``hf auth login``).
        """
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        name = api.create_repo(repo_id=repo_id, private=private, exist_ok=True).repo_id
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            self.save(folder)  # type: ignore[attr-defined]
            return str(
                api.upload_folder(
                    repo_id=name,
                    repo_type="model",
                    folder_path=folder,
                    commit_message=commit_message,
                    revision=branch,
                    create_pr=create_pr,
                )
            )
