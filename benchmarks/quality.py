"""Quality after equal time: ``gan_vae`` and ``vae_gan`` against pythae's VAEGAN, by KID and MSE.

``python -m benchmarks quality`` needs pythae (``pip install ganvae[benchmark]``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import claim, ours
from benchmarks.fetch import fetch
from benchmarks.ours import Plan
from benchmarks.race import Args, Cell, Race, Result, by_name, goal, known, measure
from benchmarks.sections import Pictures, shown, table
from ganvae import config as configuration
from ganvae.data import Data, open_data
from ganvae.metrics import judge as judges
from ganvae.networks import zoo
from ganvae.types import Shape, mix

KID, MSE, TIME = 0.1, 0.2, 0.05
"""The goals, as shares of the peer's."""
DATA = ("fashion-mnist", "cifar10")
OURS = ("gan_vae", "vae_gan")
OWN, WRAPPED = ("mlp", "conv"), "ours"
"""The peer's networks, and those of ours that it gets."""
MARKS = (1 / 20, 1 / 8, 1 / 4, 1 / 2)
SHORT = 21
"""``gan_vae`` is also trained for this part of the budget, so that its last step ends within a
twentieth: can that pass the peer's final KID?"""
RATES = (1e-4, 3e-4, 1e-3)
SCALES = (0.5, 0.2, 0.8)
"""Learning rates and loss scales of the search; pythae's defaults are first."""
FEATURES = {"mlp": 1, "conv": 4}
"""The last layer of its own discriminators before the probability that is its default."""
FIT = 10_000
"""Training images whose latents its mixture is fitted to: as many as ours."""


@dataclass(frozen=True)
class Chosen:
    """Settings of the peer.

    networks: "mlp", "conv" or "ours"
    layer: that is reconstructed; None: the default of these networks
    """

    networks: str
    rate: float = RATES[0]
    adversarial: float = SCALES[0]
    layer: int | None = None

    def build(self, data: Data, seed: int) -> Any:
        """A peer for these images, with fresh weights."""
        from benchmarks.peer import ROLES, Peer

        c, h, w = data.shape
        latent = zoo.latent({}, configuration.Networks(), data.shape)
        shape, nets = Shape(channels=c, height=h, width=w, latent=latent), self.networks
        torch.manual_seed(mix(seed))
        if nets == WRAPPED:
            nets = {role: zoo.build(role, configuration.Networks(), shape) for role in ROLES}
        options = {"rate": self.rate, "adversarial": self.adversarial, "layer": self.layer}
        return Peer(shape, nets, **options)


def cell(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Trains and judges one of ours, or the peer."""
    return train_peer(settings) if "peer" in settings else ours.train(settings)


def train_peer(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Trains and judges the peer; where its numbers break, ``failed`` says how.

    Its samples come from N(0, I), and from its mixture where that can be fitted: the better count.

    settings: ``data``, ``budget``, ``seed``, ``samples`` and ``peer``, fields of :class:`Chosen`
    """
    data = open_data(configuration.Data(path=str(fetch(settings["data"]))))
    seed, seconds = settings["seed"], ours.seconds(settings["budget"])
    config = configuration.override(configuration.Config(), {
        "training.seed": seed, "evaluation.samples": settings["samples"],
        "evaluation.importance": 1,
    })  # fmt: skip
    peer = Chosen(**settings["peer"]).build(data, seed)
    images = data.train.take(np.arange(len(data.train))).numpy()

    def scores() -> dict[str, Any]:
        judge = judges.load(config.evaluation.judge, config.evaluation.size)
        return {"strip": ours.strip(peer), **ours.judged(peer, data, config, judge)}

    try:
        steps = peer.train(images, seconds, seed=seed)
        by_sampler = {"normal": scores()}
        with suppress(ValueError):
            peer.fit(images[: settings["fit"]])
            by_sampler["mixture"] = scores()
    except (ArithmeticError, ValueError) as error:
        return {"failed": str(error), "kid": None}
    best = min(by_sampler, key=lambda name: by_sampler[name]["kid"])
    at = {"share": 1.0, "seconds": seconds, "step": steps, **by_sampler[best]}
    return {
        "steps": steps, "seconds": seconds, "parameters": peer.parameters, "sampler": best,
        "kid_by_sampler": {name: one["kid"] for name, one in by_sampler.items()},
        "course": [at], **by_sampler[best],
    }  # fmt: skip


def theirs(data: str, plan: Plan, budget: str, seed: int, peer: Chosen, label: str) -> Cell:
    """The cell of one training of the peer."""
    settings = {
        "data": data, "budget": budget, "seed": seed, "peer": asdict(peer),
        "samples": plan.samples, "threads": plan.threads, "fit": plan.fit or FIT,
    }  # fmt: skip
    return Cell("quality", f"{data}-{label}", settings)


def search(
    data: str, networks: str, plan: Plan, budget: str, folder: Path | None, quick: bool
) -> tuple[Chosen, list[dict[str, Any]]]:
    """The peer's best settings with these networks, and what was tried.

    The learning rate first, then the loss scale, then the layer, each by the KID after ``budget``.
    """
    tried: dict[Chosen, dict[str, Any]] = {}

    def best_of(options: Sequence[Chosen]) -> Chosen:
        new = [one for one in dict.fromkeys(options) if one not in tried]
        cells = [
            theirs(data, plan, budget, 0, one, f"search-{networks}-{len(tried) + n}")
            for n, one in enumerate(new)
        ]
        tried.update(zip(new, measure(cells, folder)))
        sound = [one for one in tried if tried[one]["kid"] is not None]
        return min(sound, key=lambda one: tried[one]["kid"]) if sound else options[0]

    start = Chosen(networks)
    best = best_of([start] if quick else [replace(start, rate=rate) for rate in RATES])
    if not quick:
        best = best_of([replace(best, adversarial=scale) for scale in SCALES])
        if networks in FEATURES:
            best = best_of([best, replace(best, layer=FEATURES[networks])])
    keys = ("kid", "mse", "coverage", "sampler", "steps", "failed")
    return best, [
        {**asdict(one), **{key: tried[one][key] for key in keys if key in tried[one]}}
        for one in tried
    ]


def left_out(data: str, args: Args) -> list[str]:
    """The peer's own networks that are left out on a data set."""
    return [one.partition(":")[2] for one in args.leave_out if one.partition(":")[0] == data]


def searched(
    data: str, plan: Plan, args: Args, folder: Path | None
) -> tuple[dict[str, Chosen], list[dict[str, Any]]]:
    """The best settings with its own networks and with ours, and everything tried."""
    short = replace(plan, samples=min(plan.samples, 2000))
    own_kinds = OWN[:1] if args.quick else [k for k in OWN if k not in left_out(data, args)]
    best, kids, log = {}, {}, []
    for kind in (*own_kinds, WRAPPED):
        best[kind], lines = search(data, kind, short, args.search, folder, args.quick)
        finite = [line["kid"] for line in lines if line["kid"] is not None]
        kids[kind] = min(finite, default=float("inf"))
        log += lines
    return {
        "peer_own": best[min(own_kinds, key=kids.__getitem__)],
        "peer_ours": best[WRAPPED],
    }, log


def grid(data: str, plan: Plan, peers: Mapping[str, Chosen]) -> dict[tuple[str, int], Cell]:
    """All cells of a data set by contestant and seed, seed by seed."""
    short = replace(plan, budget=f"{ours.seconds(plan.budget) / SHORT:g}s", marks=())
    cells: dict[tuple[str, int], Cell] = {}
    for seed in range(plan.seeds):
        for name in OURS:
            label = f"{data}-{name}-{plan.budget}-{seed}"
            cells[name, seed] = ours.cell("quality", name, data, {}, plan, seed, label)
        for name, settings in peers.items():
            label = f"{name}-{plan.budget}-{seed}"
            cells[name, seed] = theirs(data, plan, plan.budget, seed, settings, label)
        label = f"{data}-short-{short.budget}-{seed}"
        cells["short", seed] = ours.cell("quality", "gan_vae", data, {}, short, seed, label)
    return cells


def contest(results: Mapping[str, Sequence[Result]]) -> dict[str, Any]:
    """The figures of one data set.

    results: by contestant, those of its seeds; of the peer's, those that did not fail count
    """
    sound = {name: [r for r in runs if "failed" not in r] for name, runs in results.items()}
    typical = {name: claim.typical(runs) for name, runs in sound.items() if runs}
    peers = [typical[name] for name in ("peer_own", "peer_ours") if name in typical]
    if not peers:
        raise SystemExit("the peer failed with every seed: there is nothing to compare with")
    mine, best = typical["gan_vae"], min(peers, key=lambda one: one["kid"])
    course = [*mine["course"], *(typical["short"]["course"] if "short" in typical else ())]
    seconds = claim.reached(course, "kid", best["kid"])
    shares = {
        f"{score}_share": round(max(mine[score], 0) / min(one[score] for one in peers), 4)
        for score in ("kid", "mse", "perceptual")
    }
    return {
        **shares,
        "vae_gan_kid_share": round(max(typical["vae_gan"]["kid"], 0) / best["kid"], 4),
        "time_share": None if seconds is None else round(seconds / best["seconds"], 4),
        "failed": sum(len(results[name]) - len(sound[name]) for name in results),
        "contestants": typical,
    }


def goals(data: str, figures: Result) -> list[Result]:
    """The goals on one data set."""
    lines = (
        ("KID of gan_vae over the peer's best", "kid_share", KID),
        ("MSE of its reconstructions over the peer's least", "mse_share", MSE),
        ("share of the time in which it reaches the peer's final KID", "time_share", TIME),
    )
    return [goal(f"{data}: {what}", figures[key], share, "lower") for what, key, share in lines]


def summary(by_data: Mapping[str, Result]) -> dict[str, Any]:
    """The race's result from those of its data sets."""
    ratio = max(one["kid_share"] for one in by_data.values())
    lines = [line for data, one in by_data.items() for line in goals(data, one)]
    return {"ratio": ratio, "goal": KID, "goals": lines, "data": dict(by_data)}


def compete(args: Args) -> Result:
    """Searches, trains and judges everybody on each data set."""
    plan = claim.planned(args, MARKS)
    by_data = {} if args.results is None else known("quality").get("data", {})  # as they were
    for data in args.data:
        peers, log = searched(data, plan, args, args.results)
        cells = grid(data, plan, peers)
        cells = {at: one for at, one in cells.items() if not args.quick or at[0] != "short"}
        results, runs = by_name(cells, args.results), dict[str, list[Any]]()
        for (name, _), one in results.items():
            runs.setdefault(name, []).append(one)
        by_data[data] = contest(runs) | {
            "search": log, "left_out": left_out(data, args), "search_budget": args.search,
            "peer": {name: asdict(one) for name, one in peers.items()},
            **claim.about(plan, list(results.values())),
        }  # fmt: skip
        strips = [runs[name][0].get("strip") for name in runs if name != "short"]
        claim.sheet(f"quality-{data}", [one for one in strips if one], args.results)
    return summary(by_data)


NAMES = {
    "peer_own": "pythae VAEGAN, own networks", "peer_ours": "pythae VAEGAN, our networks",
    "short": "gan_vae, a twentieth of the time",
}  # fmt: skip
KINDS = {"mlp": "its MLPs", "conv": "its convolutions", "ours": "our networks"}
PEER = """\
* {}: best in its search, {}, a learning rate of {:g}, an `adversarial_loss_scale` of {:g}, \
features of {} reconstructed.
"""


def section(result: Result, pictures: Pictures) -> str:
    """For each data set the scores, the peer's search, a chart and the samples."""
    text = ""
    for data, one in result["data"].items():
        scores = one["contestants"]
        text += f"#### {data}\n\n" + claim.conditions(one) + claim.scores(scores, NAMES) + "\n"
        text += peers(one, one["search_budget"]) + "\n"
        lines = {name: run for name, run in scores.items() if name != "short"}
        chart = claim.curves(lines, NAMES, "kid", f"KID on {data} (lower is better)")
        text += pictures.chart(f"quality-{data}", chart) + "\n"
        order = ", ".join(NAMES.get(name, name) for name in lines)
        text += pictures.copy(f"quality-{data}", f"Samples, row by row: {order}.") + "\n"
    return text


def peers(one: Result, budget: str) -> str:
    """The peer's settings, and the table of its search."""
    text = ""
    for name, it in one["peer"].items():
        layer = f"layer {it['layer']}" if it["layer"] else "its default layer"
        networks = KINDS[it["networks"]]
        text += PEER.format(NAMES[name], networks, it["rate"], it["adversarial"], layer)
    if one["failed"]:
        text += f"* {one['failed']} run(s) of the peer broke off with numbers not finite.\n"
    for networks in one.get("left_out", ()):
        text += f"* {KINDS[networks]} were left out: judging one takes too long here.\n"
    rows = [
        [KINDS[line["networks"]], f"{line['rate']:g}", f"{line['adversarial']:g}",
         str(line["layer"] or "default"), shown(line.get("kid")), line.get("sampler") or "-",
         shown(line.get("steps"))]
        for line in one["search"]
    ]  # fmt: skip
    head = ["networks", "learning rate", "loss scale", "layer", "KID", "better sampler", "steps"]
    return f"{text}\nThe search, {budget} each, seed 0:\n\n{table(head, rows)}"


LEFT_OUT = {
    "nargs": "+", "choices": [f"{data}:{kind}" for data in DATA for kind in OWN[1:]],
    "default": [], "help": "networks of the peer's own that would take too long; the page says so",
}  # fmt: skip
RACE = Race(
    measure=compete,
    options=claim.OPTIONS | {
        "--data": {"nargs": "+", "choices": DATA, "default": list(DATA)},
        "--search": ("2m", "time of a cell of the peer's search"), "--leave-out": LEFT_OUT,
    },
    quick=claim.QUICK | {"data": [DATA[0]], "search": "1s"}, section=section,
    title="Against pythae at equal time",
)  # fmt: skip
