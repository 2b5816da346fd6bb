"""A run's files: its checkpoints and image list, and whether it may be resumed from them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from ganvae import config as configuration
from ganvae import files
from ganvae.config import Config
from ganvae.data import Data, difference
from ganvae.errors import CheckpointError, ConfigError
from ganvae.eyes import eyes
from ganvae.foreign import gate
from ganvae.models.strict import parse
from ganvae.training import checkpoint as checkpoints
from ganvae.training import preflight
from ganvae.training.checkpoint import Checkpoint
from ganvae.training.log import read
from ganvae.training.processes import Processes
from ganvae.training.schedule import Position

META = {
    "run": str,
    "config": dict,
    "fingerprint": str,
    "changes": list,
    "world": int,
    "guard": dict,
}
"""The entries of a checkpoint's meta.json beside the position, and their types."""
IMAGES = "images.npy"
"""The run's list of image digests, by which a resumed run tells what changed."""
WRITTEN = ("checkpoints", "metrics.jsonl", IMAGES, "model", "previews", "tensorboard")
"""Everything that a training writes in its directory; none of it may be a link."""


class Keeper:
    """Writes and reads a run's checkpoints, its image list and its settings.

    Of several processes the first one writes.

    saved: the step of the newest checkpoint; None: this process has neither read nor written one
    run: a random id of the run, kept when it is resumed
    changes: of settings and images since the run's first start, as sentences
    """

    def __init__(self, config: Config, data: Data, out: Path, processes: Processes):
        self.config, self.data, self.out, self.processes = config, data, out, processes
        self.folder = out / "checkpoints"
        self.saved: int | None = None
        self.run = uuid.uuid4().hex
        self.changes: list[str] = []

    def make_room(self, nets: Mapping[str, nn.Module]) -> None:
        """Removes unfinished files of a killed run. Raises CheckpointError if the disk is full."""
        if not self.processes.first:
            return
        for name in WRITTEN:
            files.refuse_link(self.out / name)
        preflight.space(self.config, self.out, nets)
        checkpoints.writable(self.out)
        checkpoints.clean(self.folder)
        files.clean(self.out, self.out / "previews")

    def unknown(self) -> list[str]:
        """A sentence for each file among the checkpoints that is not ours."""
        return [
            f"{self.folder / name} is no checkpoint of this run: it is left alone"
            for name in checkpoints.unknown(self.folder)
        ]

    def save(self, at: Position, state: checkpoints.State, **more: Any) -> None:
        """Writes a checkpoint; more: further entries of its meta.json."""
        meta = {
            "run": self.run,
            "position": asdict(at),
            "config": configuration.as_dict(self.config),
            "configuration": configuration.digest(self.config),
            "fingerprint": self.data.fingerprint,
            "data": self.data.fingerprint,
            "changes": self.changes,
            **({"eyes": seen} if (seen := eyes.digest(self.config.networks.eyes)) else {}),
        }
        keep = max(2, self.config.training.keep)
        checkpoints.save(self.folder, at.step, state, meta | more, keep=keep, best=at.best_step)
        self.saved = at.step

    def write_images(self, *, settings: bool = False) -> None:
        """Writes the list of images that a resumed run compares its own with.

        settings: also write the settings, which have changed since the run began
        """
        if self.processes.first:
            files.write(self.out / IMAGES, self.data.manifest().save)
            if settings:
                configuration.save(self.config, self.out / "config.yaml")

    def latest(self, say: Callable[[str], None]) -> Checkpoint | None:
        """The newest checkpoint. Raises ConfigError where processes do not find the same one.

        say: called with the reason why a newer one cannot be used
        """
        checkpoint = checkpoints.latest(self.folder, say)
        step = -1.0 if checkpoint is None else float(checkpoint.step)
        newest, oldest = self.processes.agree(step, -step)
        if newest != -oldest:
            raise ConfigError(
                f"the processes find different checkpoints in {self.out} (steps {-oldest:.0f} and"
                f" {newest:.0f}): --out must be a directory that all machines share"
            )
        return checkpoint

    def changed(self, checkpoint: Checkpoint) -> bool:
        """Whether settings or images differ from a checkpoint's; adds how to ``changes``.

        Raises ConfigError where that is not allowed, CheckpointError where no trainer wrote it.
        """
        _refuse_foreign(checkpoint)
        before = configuration.parse(checkpoint.meta["config"])
        name = self.config.networks.eyes
        if before.networks.eyes == name and checkpoint.meta.get("eyes") != eyes.digest(name):
            raise ConfigError(
                f"the weights of {name} are others than those that {self.out} was trained with: "
                f"install the package of then again"
            )
        changes = configuration.difference(before, self.config)
        if checkpoint.meta["fingerprint"] != self.data.fingerprint:
            images = self.out / IMAGES
            what = difference(images, self.data.manifest()) if images.exists() else "other images"
            changes = "\n".join(filter(None, [changes, str(what)]))
        if not changes:
            return False
        if not self.config.training.allow_changes:
            raise ConfigError(
                f"{self.out} was trained with other settings or images: go back to them, or "
                f"resume with --training.allow-changes\n{changes}"
            )
        self.changes.append(changes)
        return True

    def adopt(self, checkpoint: Checkpoint) -> None:
        """Takes over the id and the earlier changes of a checkpoint's run."""
        self.run = checkpoint.meta["run"]
        self.changes = [*checkpoint.meta["changes"], *self.changes]

    def refuse_finished(self) -> None:
        """Raises ConfigError where a run has trained but its checkpoints are gone."""
        has_trained = any(line["step"] > 0 for line in read(self.out / "metrics.jsonl"))
        if has_trained or (self.out / "model").exists():
            raise ConfigError(
                f"{self.out} holds a training and its checkpoints are gone, so it cannot go on: "
                f"put them back, or begin another one with another --out"
            )


def _refuse_foreign(checkpoint: Checkpoint) -> None:
    """Raises CheckpointError where a checkpoint's meta.json is not as a trainer writes it."""
    with gate(f"the checkpoint {checkpoint.path}", CheckpointError):
        meta = checkpoint.meta
        parse(Position, meta["position"], "position")
        wrong = [name for name, kind in META.items() if not isinstance(meta[name], kind)]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} are not what a trainer writes")
