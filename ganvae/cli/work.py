"""What surrounds the work of a command: the threads, the model, the bar."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ganvae.cli.options import Machine
from ganvae.config import MAX_THREADS
from ganvae.errors import ConfigError

if TYPE_CHECKING:
    from ganvae.cli.live import Tracker
    from ganvae.models import Model


@contextmanager
def working(machine: Machine) -> Iterator[Tracker]:
    """What shows the progress of work with the threads that were asked for, in kept memory."""
    import torch

    from ganvae.cli.console import console
    from ganvae.cli.live import Tracker
    from ganvae.training.memory import keep_memory

    keep_memory()
    threads = machine.threads
    if threads is not None:
        if not 1 <= threads <= MAX_THREADS:
            raise ConfigError(f"--threads must be from 1 to {MAX_THREADS}, got {threads}")
        torch.set_num_threads(threads)
    with Tracker(console()) as progress:
        yield progress


@contextmanager
def loaded(model: str, machine: Machine) -> Iterator[tuple[Model, Tracker]]:
    """The model, and what shows the progress of its work."""
    from ganvae import api

    with working(machine) as progress:
        yield api.load(model, device=machine.device), progress
