"""What a run keeps in its directory, and whether it may go on from there."""

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
from ganvae.foreign import gate
from ganvae.models.strict import parse
from ganvae.training import checkpoint, preflight
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
"""What a checkpoint says beside the position, and of which type."""
IMAGES = "images.npy"
"""The run's list of image digests, by which a resumed run tells what changed."""
WRITTEN = ("checkpoints", "metrics.jsonl", IMAGES, "model", "previews", "tensorboard")
"""What a training writes in its directory, never through a link."""


class Keeper:
    """Keeps a run in its directory: checkpoints, and the settings and images it goes on with.

    Of several processes the first one writes.

    saved: the step of the newest checkpoint; None: this process has neither read nor written one
    run: names the run; of one that goes on, the first start's
    changes: of settings and images since the run's first start, in words
    """

    def __init__(self, config: Config, data: Data, out: Path, processes: Processes):
        self.config, self.data, self.out, self.processes = config, data, out, processes
        self.folder = out / "checkpoints"
        self.saved: int | None = None
        self.run = uuid.uuid4().hex
        self.changes: list[str] = []

    def make_room(self, nets: Mapping[str, nn.Module]) -> None:
        """Removes what a kill left half-written. Raises CheckpointError where nothing fits."""
        if not self.processes.first:
            return
        for name in WRITTEN:
            files.refuse_link(self.out / name)
        preflight.space(self.config, self.out, nets)
        checkpoint.writable(self.out)
        checkpoint.clean(self.folder)
        files.clean(self.out, self.out / "previews")

    def unknown(self) -> list[str]:
        """A sentence for each file among the checkpoints that is not ours."""
        return [
            f"{self.folder / name} is no checkpoint of this run: it is left alone"
            for name in checkpoint.unknown(self.folder)
        ]

    def save(self, at: Position, state: checkpoint.State, **more: Any) -> None:
        """Writes a checkpoint; more: what a run goes on with beside position and settings."""
        known = {
            "run": self.run,
            "position": asdict(at),
            "config": configuration.as_dict(self.config),
            "configuration": configuration.digest(self.config),
            "fingerprint": self.data.fingerprint,
            "data": self.data.fingerprint,
            "changes": self.changes,
        }
        keep = max(2, self.config.training.keep)
        checkpoint.save(self.folder, at.step, state, known | more, keep=keep, best=at.best_step)
        self.saved = at.step

    def describe(self, *, settings: bool = False) -> None:
        """Writes down the run's images, with which those of a run that goes on are compared.

        settings: and its settings, where they are no longer those it was begun with
        """
        if self.processes.first:
            files.write(self.out / IMAGES, self.data.manifest().save)
            if settings:
                configuration.save(self.config, self.out / "config.yaml")

    def latest(self, say: Callable[[str], None]) -> Checkpoint | None:
        """The newest checkpoint. Raises ConfigError where processes do not find the same one.

        say: told why others cannot be used
        """
        found = checkpoint.latest(self.folder, say)
        step = -1.0 if found is None else float(found.step)
        newest, oldest = self.processes.agree(step, -step)
        if newest != -oldest:
            raise ConfigError(
                f"the processes find different checkpoints in {self.out} (steps {-oldest:.0f} and"
                f" {newest:.0f}): --out must be a directory that all machines share"
            )
        return found

    def changed(self, found: Checkpoint) -> bool:
        """Whether settings or images are others than a checkpoint's; they are then in ``changes``.

        Raises ConfigError where they may not be, CheckpointError where no trainer wrote it.
        """
        _refuse_foreign(found)
        before = configuration.parse(found.meta["config"])
        changes = configuration.difference(before, self.config)
        if found.meta["fingerprint"] != self.data.fingerprint:
            known = self.out / IMAGES
            what = difference(known, self.data.manifest()) if known.exists() else "other images"
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

    def go_on(self, found: Checkpoint) -> None:
        """Takes over the name and the changes of the run that a checkpoint is of."""
        self.run = found.meta["run"]
        self.changes = [*found.meta["changes"], *self.changes]

    def refuse_finished(self) -> None:
        """Raises ConfigError where a run without checkpoints has trained: it would begin anew."""
        begun = any(line["step"] > 0 for line in read(self.out / "metrics.jsonl"))
        if begun or (self.out / "model").exists():
            raise ConfigError(
                f"{self.out} holds a training and its checkpoints are gone, so it cannot go on: "
                f"put them back, or begin another one with another --out"
            )


def _refuse_foreign(found: Checkpoint) -> None:
    """Raises CheckpointError for what no trainer has written, however well it is signed."""
    with gate(f"the checkpoint {found.path}", CheckpointError):
        parse(Position, found.meta["position"], "position")
        wrong = [name for name, kind in META.items() if not isinstance(found.meta[name], kind)]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} are not what a trainer writes")
