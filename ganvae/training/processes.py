"""One process or many: torchrun's processes train one model together."""

from __future__ import annotations

from datetime import timedelta
from types import TracebackType

import torch
import torch.distributed as dist
from torch import Tensor

from ganvae.data.workers import cores
from ganvae.errors import ConfigError
from ganvae.foreign import from_environment


class Processes:
    """This process among those that train together; alone where torchrun did not start it.

    device: "auto", "cpu", "cuda" or "mps"
    threads: CPU threads of this process; None: its share of the machine's cores

    Gradients are averaged over nccl on CUDA and gloo elsewhere; decisions (stop, progress) go over
    gloo, so that they never wait for the device.
    """

    def __init__(self, device: str = "auto", threads: int | None = None):
        self.rank = from_environment("RANK", 0)
        self.world = from_environment("WORLD_SIZE", 1)
        self.device = _device(device, from_environment("LOCAL_RANK", 0))
        local = from_environment("LOCAL_WORLD_SIZE", 1)
        if threads or local > 1:
            torch.set_num_threads(threads or max(1, cores() // local))
        self._control: dist.ProcessGroup | None = None

    def __enter__(self) -> Processes:
        if self.world > 1:
            patience = timedelta(minutes=10)
            backend = "nccl" if self.device.type == "cuda" else "gloo"
            dist.init_process_group(backend, timeout=patience)
            self._control = dist.new_group(backend="gloo", timeout=patience)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.world > 1 and error is None:
            dist.destroy_process_group()

    @property
    def first(self) -> bool:
        """Whether this is the one process that writes files and prints."""
        return self.rank == 0

    def average(self, flat: Tensor) -> Tensor:
        """The mean of a tensor over the processes, in place."""
        if self.world > 1:
            dist.all_reduce(flat)
            flat /= self.world
        return flat

    def broadcast(self, tensors: list[Tensor]) -> None:
        """Gives every process the first one's tensors, in place."""
        if self.world > 1:
            for tensor in tensors:
                values = tensor.detach().contiguous()
                dist.broadcast(values, 0)
                tensor.detach().copy_(values)

    def agree(self, *numbers: float) -> list[float]:
        """The largest of each number over the processes."""
        if self.world == 1:
            return list(numbers)
        shared = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(shared, dist.ReduceOp.MAX, group=self._control)
        return shared.tolist()

    def stopped_by(self, signal: str | None) -> str | None:
        """The signal that any process got, the same on all: "SIGINT", "SIGTERM" or None."""
        codes = {None: 0.0, "SIGINT": 1.0, "SIGTERM": 2.0}
        code = self.agree(codes[signal])[0]
        return {value: name for name, value in codes.items()}[code]

    def follow(self, *numbers: float) -> list[float]:
        """The first process's numbers."""
        if self.world == 1:
            return list(numbers)
        shared = torch.tensor(numbers, dtype=torch.float64)
        dist.broadcast(shared, 0, group=self._control)
        return shared.tolist()


def _device(name: str, local_rank: int) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu" and torch.backends.mps.is_available():
            name = "mps"
    available = {"cpu": True, "cuda": torch.cuda.is_available()}
    available["mps"] = torch.backends.mps.is_available()
    if not available.get(name):
        raise ConfigError(f"there is no device {name!r} here; use training.device auto or cpu")
    if name == "cuda":
        torch.cuda.set_device(local_rank)
        return torch.device("cuda", local_rank)
    return torch.device(name)
