"""Context managers around a command's work: threads, model, progress bar."""

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
    """Sets the number of threads, and yields a progress bar."""
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
    """The same with a loaded model: yields the model and a progress bar."""
    from ganvae import api

    with working(machine) as progress:
        yield api.load(model, device=machine.device), progress
