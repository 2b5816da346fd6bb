"""A training step of vae_gan against one of pythae's VAEGAN on the same networks; goal: 3 times.

Both get copies of the same DCGAN-like encoder, decoder and discriminator, the same images and the
same number of threads, and take turns of eight steps in one process. Each computes as it does by
default: the peer in float32, ours in bfloat16 where the processor has instructions for it (AMX);
``ours_float32`` is without. Ours is ``vae_gan``
through the training engine (clipping, the check that all is finite, the copy to go back to), the
peer its own trainer's loop. Both compute the KL divergence, the distance of D's features, and the
game of both players, and move all three networks at every step: the peer's rule for leaving out
moves is switched off. Ours also plays the game with reconstructions, as the paper has it; the peer
does not. ``ours`` is without gradient penalties, as the peer is, ``ours_penalised`` with the
default ones (R1 and R2 at every eighth step).

``ratio`` is ours/peer in images a second at 32 px, ``ratio_64`` at 64 px: medians over rounds.
``bound`` is what it would be if each of our convolutions were as fast as a large matrix product.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks import RESULTS, machine, peer
from benchmarks.cells import Cell, finish, measure, missed
from ganvae import objectives
from ganvae.networks.prior import NormalPrior
from ganvae.objectives.vae_gan import VAEGAN
from ganvae.training import precision
from ganvae.training.engine import Engine
from ganvae.training.processes import Processes
from ganvae.types import Batch, Clock, Noise, Posterior, Shape

GOAL, BATCH, TURN, WIDTH, LATENT = 3.0, 64, 8, 64, 64


class Encoder(nn.Module):
    """DCGAN's discriminator with two vectors as its head, log σ² within ours' usual bounds."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.trunk = _down(shape, normalise=True)
        self.head = nn.LazyLinear(2 * shape.latent)

    def forward(self, x: Tensor) -> Posterior:
        """q(z|x)."""
        mean, logvar = self.head(self.trunk(x).flatten(1)).chunk(2, 1)
        return Posterior(mean, logvar.clamp(-12, 6))


class Decoder(nn.Module):
    """DCGAN's generator."""

    def __init__(self, shape: Shape):
        super().__init__()
        channels = _widths(shape)[::-1]
        self.head = nn.Linear(shape.latent, channels[0] * 16)
        layers: list[nn.Module] = [nn.Unflatten(1, (channels[0], 4, 4))]
        for before, after in pairwise(channels):
            layers += [nn.BatchNorm2d(before), nn.ReLU()]
            layers.append(nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False))
        layers += [nn.BatchNorm2d(WIDTH), nn.ReLU()]
        layers += [nn.ConvTranspose2d(WIDTH, shape.channels, 4, 2, 1), nn.Tanh()]
        self.body = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """The image of each z."""
        return self.body(self.head(z))


class Discriminator(nn.Module):
    """DCGAN's discriminator without normalisation: the two sides batch its inputs otherwise."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.trunk = _down(shape, normalise=False)
        self.head = nn.LazyLinear(1)

    def forward(self, x: Tensor, features: bool = False) -> Any:
        """Logits (B,); with ``features`` also the last convolution's output, flattened."""
        h = self.trunk(x).flatten(1)
        logit = self.head(h).squeeze(1)
        return (logit, h) if features else logit


def _widths(shape: Shape) -> list[int]:
    """Channels after each halving, down to 4 px."""
    return [WIDTH << level for level in range((shape.height // 4).bit_length() - 1)]


def _down(shape: Shape, normalise: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    before = shape.channels
    for after in _widths(shape):
        normed = normalise and before != shape.channels  # DCGAN: not after the first one
        layers.append(nn.Conv2d(before, after, 4, 2, 1, bias=not normed))
        layers += [nn.BatchNorm2d(after)] if normed else []
        layers.append(nn.LeakyReLU(0.2))
        before = after
    return nn.Sequential(*layers)


def networks(size: int) -> tuple[Shape, dict[str, nn.Module]]:
    """New networks for size × size × 3."""
    torch.manual_seed(0)
    shape = Shape(channels=3, height=size, width=size, latent=LATENT)
    nets = {
        "encoder": Encoder(shape),
        "decoder": Decoder(shape),
        "discriminator": Discriminator(shape),
    }
    x = torch.zeros(2, *shape.image)
    nets["encoder"](x), nets["discriminator"](x)  # heads that learn their size
    for name, parameter in ((n, p) for net in nets.values() for n, p in net.named_parameters()):
        if parameter.ndim > 1 and "head" not in name:
            nn.init.normal_(parameter, std=0.02)  # as DCGAN has it
    return shape, nets


class Ours:
    """The objective through the engine, as the trainer does it."""

    def __init__(
        self,
        objective: VAEGAN,
        shape: Shape,
        nets: Mapping[str, nn.Module],
        bf16: bool = False,
    ):
        self.objective, self.done = objective, 0
        self.nets = {**copy.deepcopy(dict(nets)), "prior": NormalPrior(shape.latent)}
        for net in self.nets.values():
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        how = {"bf16": bf16, "simultaneous": objective.simultaneous}
        self.engine = Engine(self.nets, objective.optim, Processes("cpu"), **how)

    def steps(self, images: list[Tensor]) -> None:
        """A step for each batch of images."""
        for x in images:
            noise = Noise(1, self.done, total=len(x))
            batch = Batch(image=x, noise=noise)
            clock = Clock(step=self.done)
            outcome = self.engine.step([self.objective.step(self.nets, batch, clock)], rate=0.5)
            assert outcome.ok, outcome.losses
            self.done += 1


class Counter(TorchDispatchMode):
    """Counts as FlopCounterMode does, which stumbles over the gradients of gradient penalties."""

    total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


@dataclass
class Side:
    """One contestant and what it took."""

    steps: Callable[[list[Tensor]], Any]
    images: list[Tensor]

    def __post_init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def turn(self) -> None:
        """Eight steps."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.steps(self.images)
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)

    def flops(self) -> float:
        """Floating-point operations of its convolutions and matrix products, an image."""
        with Counter() as counter:
            self.steps(self.images)
        return counter.total / (BATCH * len(self.images))


def sides(size: int) -> dict[str, Side]:
    """The contestants at one size, on the same images."""
    shape, nets = networks(size)
    images = [Noise(0, i, total=BATCH).uniform(*shape.image) * 2 - 1 for i in range(TURN)]
    last = [x.contiguous(memory_format=torch.channels_last) for x in images]
    settings = peer.Settings(layer=peer.FEATURES, margin=1e9)  # no move is left out
    theirs = peer.wrapped(shape, nets, settings)
    made = {"peer": Side(lambda xs: theirs.steps([theirs.batch(x) for x in xs]), images)}
    pays = precision.pays(torch.device("cpu"), nets.values())
    contestants = {"ours": {"gamma": 0}, "ours_float32": {"gamma": 0}, "ours_penalised": {}}
    for name, options in contestants.items():
        objective = objectives.build("vae_gan", {"adversary": options})
        assert isinstance(objective, VAEGAN)
        mine = Ours(objective, shape, nets, bf16=pays and name != "ours_float32")
        made[name] = Side(mine.steps, last)
    return made


def product() -> float:
    """Billions of operations a second of a matrix product of 1024 × 1024."""
    a = torch.ones(1024, 1024)
    start = time.perf_counter()
    torch.mm(a, a)
    return 2 * 1024**3 / 1e9 / (time.perf_counter() - start)


def cell(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What each side does at one size, and ours as a multiple of the peer.

    settings: ``size`` of the images, ``rounds`` and ``threads``
    """
    torch.set_num_threads(settings["threads"])
    made = sides(settings["size"])
    counts = {name: side.flops() for name, side in made.items()}  # warms up, too
    products = []
    for _ in range(settings["rounds"]):
        products += [product() for _ in range(TURN)]
        for side in made.values():
            side.turn()
    found: dict[str, Any] = {"product_gflop_per_second": round(statistics.median(products), 1)}
    for name, side in made.items():
        speed = BATCH * TURN / statistics.median(side.wall)
        found[name] = {
            "images_per_second": round(speed, 1),
            "images_per_cpu_second": round(BATCH * TURN / statistics.median(side.cpu), 1),
            "mflop_per_image": round(counts[name] / 1e6, 1),
            "gflop_per_second": round(speed * counts[name] / 1e9, 1),
        }
        if name != "peer":
            found[name] |= against(made["peer"], side)
            peers = found["peer"]["images_per_second"]
            bound = statistics.median(products) * 1e9 / counts[name] / peers
            found[name]["bound"] = round(bound, 3)
    return found


def against(other: Side, side: Side) -> dict[str, float]:
    """How many times as fast a side is as another: medians over rounds."""
    clocks = {"ratio": (other.wall, side.wall), "ratio_cpu": (other.cpu, side.cpu)}
    return {
        name: round(statistics.median(a / b for a, b in zip(*turns)), 3)
        for name, turns in clocks.items()
    }


def summary(found: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """The result, of what every size's cell gave."""
    ratios = {size: cell["ours"]["ratio"] for size, cell in found.items()}
    goals = [
        {"what": f"images/s of vae_gan at {size} px, as a multiple of pythae's VAEGAN",
         "measured": ratio, "goal": GOAL, "better": "higher"}
        for size, ratio in ratios.items()
    ]  # fmt: skip
    others = {f"ratio_{size}": ratio for size, ratio in ratios.items() if size != 32}
    sizes = {str(size): cell for size, cell in found.items()}
    result = {"name": "step", "ratio": ratios[32], "goal": GOAL, **others, "goals": goals}
    return {**result, "batch": BATCH, "sizes": sizes, "machine": machine()}


def main() -> int:
    """Prints and keeps the result; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="32 px alone, two rounds; not kept")
    args = parser.parse_args()
    sizes, rounds = ([32], 2) if args.quick else ([32, 64], args.rounds)
    cells = [
        Cell("step", f"{size} px", {"size": size, "rounds": rounds, "threads": args.threads})
        for size in sizes
    ]
    found = measure(cells, None if args.quick else RESULTS)
    result = summary(dict(zip(sizes, found)))
    finish(result, args.quick)
    return int(not args.quick and any(missed(goal) for goal in result["goals"]))


if __name__ == "__main__":
    sys.exit(main())
