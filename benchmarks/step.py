"""A step of vae_gan against one of pythae's VAEGAN on the same networks; goal: 3 times.

``python -m benchmarks step``: images a second. Needs pythae (``pip install ganvae[benchmark]``).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.flops import Recorder
from benchmarks.race import Args, Cell, Race, Result, by_name, goal
from benchmarks.timing import both, median, turns
from ganvae import objectives
from ganvae.networks.prior import NormalPrior
from ganvae.objectives.vae_gan import VAEGAN
from ganvae.training import precision
from ganvae.training.engine import Engine
from ganvae.training.processes import Processes
from ganvae.types import Batch, Clock, Noise, Posterior, Shape

GOAL, BATCH, TURN, WIDTH, LATENT = 3.0, 64, 8, 64, 64


class Down(nn.Module):
    """DCGAN's discriminator, with a head for ``out`` numbers."""

    def __init__(self, shape: Shape, out: int, normalise: bool):
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise([shape.channels, *_widths(shape)]):
            normed = normalise and before != shape.channels  # DCGAN: not after the first one
            layers.append(nn.Conv2d(before, after, 4, 2, 1, bias=not normed))
            layers += [nn.BatchNorm2d(after)] if normed else []
            layers.append(nn.LeakyReLU(0.2))
        self.trunk, self.head = nn.Sequential(*layers), nn.LazyLinear(out)


class Encoder(Down):
    """Its head gives the mean and log σ², clamped as in our encoders."""

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
        for before, after in pairwise([*channels, shape.channels]):
            last = before == WIDTH
            layers += [nn.BatchNorm2d(before), nn.ReLU()]
            layers.append(nn.ConvTranspose2d(before, after, 4, 2, 1, bias=last))
        self.body = nn.Sequential(*layers, nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """The image of each z."""
        return self.body(self.head(z))


class Discriminator(Down):
    """Without batch normalisation, since the two contestants batch its inputs differently."""

    def forward(self, x: Tensor, features: bool = False) -> Any:
        """Logits (B,); with ``features`` also the last convolution's output, flattened."""
        h = self.trunk(x).flatten(1)
        logit = self.head(h).squeeze(1)
        return (logit, h) if features else logit


def _widths(shape: Shape) -> list[int]:
    """Channels after each halving, down to 4 px."""
    return [WIDTH << level for level in range((shape.height // 4).bit_length() - 1)]


def networks(size: int) -> tuple[Shape, dict[str, nn.Module]]:
    """New networks for size × size × 3."""
    torch.manual_seed(0)
    shape = Shape(channels=3, height=size, width=size, latent=LATENT)
    nets: dict[str, nn.Module] = {
        "encoder": Encoder(shape, 2 * LATENT, True), "decoder": Decoder(shape),
        "discriminator": Discriminator(shape, 1, False),
    }  # fmt: skip
    x = torch.zeros(2, *shape.image)
    nets["encoder"](x), nets["discriminator"](x)  # heads that learn their size
    for name, parameter in nn.ModuleDict(nets).named_parameters():
        if parameter.ndim > 1 and "head" not in name:
            nn.init.normal_(parameter, std=0.02)  # as DCGAN has it
    return shape, nets


class Ours:
    """Our objective and engine, called as the trainer calls them."""

    def __init__(
        self, objective: VAEGAN, shape: Shape, nets: Mapping[str, nn.Module], bf16: bool = False
    ):
        self.objective, self.count = objective, 0
        self.nets = {**copy.deepcopy(dict(nets)), "prior": NormalPrior(shape.latent)}
        for net in self.nets.values():
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        how = {"bf16": bf16, "simultaneous": objective.simultaneous}
        self.engine = Engine(self.nets, objective.optim, Processes("cpu"), **how)

    def steps(self, images: list[Tensor]) -> None:
        """A step for each batch of images."""
        for x in images:
            batch = Batch(image=x, noise=Noise(1, self.count, total=len(x)))
            step = self.objective.step(self.nets, batch, Clock(step=self.count))
            outcome = self.engine.step([step], rate=0.5)
            assert outcome.ok, outcome.losses
            self.count += 1


def sides(size: int) -> dict[str, Callable[[], object]]:
    """A turn of each contestant at one size, on the same images."""
    from benchmarks.peer import Peer

    shape, nets = networks(size)
    images = [Noise(0, i, total=BATCH).uniform(*shape.image) * 2 - 1 for i in range(TURN)]
    last = [x.contiguous(memory_format=torch.channels_last) for x in images]
    theirs = Peer(shape, nets, margin=1e9)  # no move is left out
    calls: dict[str, Callable[[], object]] = {
        "peer": lambda: theirs.steps([theirs.batch(x) for x in images])
    }
    pays = precision.pays(torch.device("cpu"), nets.values())
    contestants = {"ours": {"gamma": 0}, "ours_float32": {"gamma": 0}, "ours_penalised": {}}
    for name, options in contestants.items():
        objective = objectives.build("vae_gan", {"adversary": options})
        assert isinstance(objective, VAEGAN)
        mine = Ours(objective, shape, nets, bf16=pays and name != "ours_float32")
        calls[name] = partial(mine.steps, last)
    return calls


def cell(settings: Mapping[str, Any]) -> dict[str, Any]:
    """All contestants at one ``size``, in so many ``rounds``, with ``threads``."""
    torch.set_num_threads(settings["threads"])
    contestants, images, matrix = sides(settings["size"]), BATCH * TURN, torch.ones(1024, 1024)
    flop = {}
    for name, turn in contestants.items():  # which warms up, too
        with Recorder() as recorder:
            turn()
        flop[name] = recorder.total / images

    def products() -> None:
        for _ in range(TURN):
            matrix @ matrix

    times = turns({"product": products, **contestants}, settings["rounds"], warm=0)
    product = TURN * 2 * 1024**3 / median(times["product"]) / 1e9
    figures: dict[str, Any] = {"product_gflop_per_second": round(product, 1)}
    for name in contestants:
        speed = images / median(times[name])
        figures[name] = {
            "images_per_second": round(speed, 1),
            "images_per_cpu_second": round(images / median(times[name], "cpu"), 1),
            "mflop_per_image": round(flop[name] / 1e6, 1),
            "gflop_per_second": round(speed * flop[name] / 1e9, 1),
        }
        if name != "peer":
            figures[name] |= both("ratio", times["peer"], times[name], digits=3)
            fastest = product * 1e9 / flop[name]
            figures[name]["bound"] = round(fastest * median(times["peer"]) / images, 3)
    return figures


def measure(args: Args) -> Result:
    """A cell for each size; quickly 32 px alone."""
    settings = {"rounds": args.rounds, "threads": args.threads}
    sizes = (32,) if args.quick else (32, 64)
    cells = {size: Cell("step", f"{size} px", {"size": size, **settings}) for size in sizes}
    results = by_name(cells, args.results)
    ratios = {size: one["ours"]["ratio"] for size, one in results.items()}
    what = "images/s of vae_gan at {} px, as a multiple of pythae's VAEGAN"
    return {
        "ratio": ratios[32], "goal": GOAL, "batch": BATCH,
        **{f"ratio_{size}": ratio for size, ratio in ratios.items() if size != 32},
        "goals": [goal(what.format(size), ratio, GOAL) for size, ratio in ratios.items()],
        "sizes": {str(size): one for size, one in results.items()},
    }  # fmt: skip


RACE = Race(measure=measure, options={"--threads": 2, "--rounds": 5}, quick={"rounds": 2})
