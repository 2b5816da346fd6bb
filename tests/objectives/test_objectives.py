"""What must hold for every objective there is; a new one is tested by being there."""

import ast
import copy
import inspect
import socket
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch._functorch.config as functorch
import torch.multiprocessing as multiprocessing
from torch.testing import assert_close

from ganvae import objectives
from ganvae.config import Networks
from ganvae.errors import ConfigError
from ganvae.networks import zoo
from ganvae.objectives.base import Objective, frozen
from ganvae.training.engine import Engine
from ganvae.training.processes import Processes
from ganvae.types import Batch, Clock, Noise, Optim, Shape

NAMES = objectives.names()
SHAPE = Shape(channels=1, height=16, width=16, latent=6)
TOTAL, CLASSES = 8, 3
SOURCES = {  # channels by task and whether it is paired
    ("generate", None): 0,
    ("translate", True): 2,
    ("translate", False): 1,
    ("complete", True): SHAPE.channels + 1,
}
LATE = Clock(progress=0.9)
"""When every network has entered the game."""


@dataclass(frozen=True)
class Variant:
    """A stage of an objective, and what its images are told."""

    objective: Objective
    classes: int = 0

    def __getattr__(self, name):
        return getattr(self.objective, name)


BY_BATCH = "vae-by_batch"


def variants():
    """Each stage of each objective, with and without classes, and some that are set otherwise."""
    made = [(name, stage.objective) for name in NAMES for stage in objectives.build(name).stages()]
    made.append(("gan_vae-joint", objectives.build("gan_vae", {"share": 0, "feature": 0.1})))
    made.append(("aux_vae-sdgm", objectives.build("aux_vae", {"variant": "sdgm"})))
    told = [
        (f"{name}-{type(o).__name__}", o, k)
        for name, o in made
        for k in [*([] if o.needs_classes else [0]), *([CLASSES] if o.classes else [])]
    ]
    by_batch = objectives.build("vae", {"scale": "optimal", "free_bits": 0.1})
    told.append(("vae-learned", objectives.build("vae", {"scale": "learned"}), 0))
    told.append((BY_BATCH, by_batch, 0))
    return [pytest.param(Variant(o, k), id=n + ("-classes" if k else "")) for n, o, k in told]


def averaging():
    """The variants whose loss is a mean over samples."""
    return [variant for variant in variants() if variant.id != BY_BATCH]


def build_nets(objective, family="residual"):
    torch.manual_seed(3)
    config = Networks(family=family, width=8, prior="normal", latent=6)
    kinds = objective.kinds
    shape = replace(
        SHAPE,
        classes=getattr(objective, "classes", 0) if isinstance(objective, Variant) else 0,
        latent=zoo.latent(kinds, config, SHAPE.image),
        source=SOURCES[objective.task, objective.paired],
    )
    nets = {r: zoo.build(kinds.get(r, r), config, shape).double() for r in objective.networks}
    for net in nets.values():
        for parameter in net.parameters():  # nothing may hide behind a zero
            with torch.no_grad():
                parameter.add_(0.01 * torch.randn_like(parameter))
    return nets


def batch_of(step, objective=None, rows=slice(0, TOTAL)):
    pixels = Noise(1, step, total=TOTAL, dtype=torch.float64).uniform(1, 16, 16)
    noise = Noise(2, step, total=TOTAL, rows=rows, dtype=torch.float64)
    told = isinstance(objective, Variant) and objective.classes
    label = (torch.arange(TOTAL) * (step + 3) % CLASSES)[rows] if told else None
    source = source_of(step, objective, rows)
    return Batch(image=2 * pixels[rows] - 1, noise=noise, label=label, source=source)


def source_of(step, objective, rows):
    """Another picture; where the task is to complete, what is known of the batch's own."""
    channels = SOURCES[objective.task, objective.paired] if objective else 0
    if not channels:
        return None
    whole = 2 * Noise(4, step, total=TOTAL, dtype=torch.float64).uniform(channels, 16, 16) - 1
    if objective.task == "complete":
        x = 2 * Noise(1, step, total=TOTAL, dtype=torch.float64).uniform(1, 16, 16) - 1
        hole = (whole[:, :1] > 0.2).double()
        whole = torch.cat([x * (1 - hole), hole], 1)
    return whole[rows]


def engine_of(nets, objective, processes=None):
    how = {"simultaneous": objective.simultaneous}
    return Engine(nets, objective.optim, processes or Processes("cpu"), **how)


def train(nets, objective, steps=3, micros=1, processes=None, seen=None):
    processes = processes or Processes("cpu")
    engine = engine_of(nets, objective, processes)
    parts = processes.world * micros
    size = TOTAL // parts
    logged = None
    for step in range(steps):
        now = Clock(step=step, progress=step / steps)
        rows = [
            slice(size * (processes.rank * micros + m), size * (processes.rank * micros + m + 1))
            for m in range(micros)
        ]
        made = [objective.step(seen or nets, batch_of(step, objective, r), now) for r in rows]
        outcome = engine.step(made)
        assert outcome.ok
        logged = outcome.logged
    return logged


def weights(nets):
    return {f"{n}.{k}": v.clone() for n, net in nets.items() for k, v in net.state_dict().items()}


@pytest.mark.parametrize("objective", variants())
def test_a_loss_moves_the_networks_it_names_and_no_other(objective):
    nets = build_nets(objective)
    steps = objective.step(nets, batch_of(0, objective), LATE)
    moved = set()
    for losses in steps:
        for net in nets.values():
            net.zero_grad(set_to_none=True)
        for loss in dict.fromkeys(losses.values()):
            heads = [name for name, other in losses.items() if other is loss]
            inputs = [p for name in heads for p in nets[name].parameters()]
            loss.backward(inputs=inputs, retain_graph=True)
        for name, net in nets.items():
            for key, parameter in net.named_parameters():
                if name in losses:
                    assert parameter.grad is not None, f"{name}.{key} is not reached"
                    assert parameter.grad.isfinite().all()
                else:
                    assert parameter.grad is None, f"{name}.{key} must not be reached"
        moved |= set(losses)
    assert moved <= set(objective.networks)


@pytest.mark.parametrize("objective", variants())
def test_the_engine_changes_moved_networks_only(objective):
    nets = build_nets(objective)
    before = weights(nets)
    engine = engine_of(nets, objective)
    outcome = engine.step([objective.step(nets, batch_of(0, objective), LATE)])
    after = weights(nets)
    changed = {k.split(".")[0] for k in before if not torch.equal(before[k], after[k])}
    fitted = {"likelihood"} if getattr(objective, "scale", "") == "optimal" else set()
    assert changed == set(outcome.moved) | fitted
    assert set(outcome.losses) == set(outcome.moved)
    assert all(value.ndim == 0 and not value.requires_grad for value in outcome.logged.values())


@pytest.mark.parametrize("objective", variants())
def test_losses_in_bfloat16_are_nearly_those_of_float32(objective):
    found = []
    for bf16 in (False, True):
        nets = {name: net.float() for name, net in build_nets(objective).items()}
        batch = batch_of(0, objective)
        noise = Noise(2, 0, total=TOTAL)
        source = None if batch.source is None else batch.source.float()
        batch = replace(batch, image=batch.image.float(), noise=noise, source=source)
        how = {"bf16": bf16, "simultaneous": objective.simultaneous}
        engine = Engine(nets, objective.optim, Processes("cpu"), **how)
        found.append(engine.step([objective.step(nets, batch, LATE)]))
        assert found[-1].ok
    exact, near = (outcome.losses for outcome in found)
    assert exact.keys() == near.keys()
    assert {loss.dtype for loss in near.values()} == {torch.float32}
    assert any(not torch.equal(near[name], exact[name]) for name in near)  # it was bfloat16
    for name in near:
        assert_close(near[name], exact[name], rtol=0.02, atol=0.02, msg=name)


@pytest.mark.parametrize("objective", averaging())
def test_micro_batches_make_the_step_of_the_whole_batch(objective):
    whole, parts = build_nets(objective), build_nets(objective)
    logged = train(whole, objective)
    also = train(parts, objective, micros=4)
    expected = weights(whole)
    for key, value in weights(parts).items():
        assert_close(value, expected[key], rtol=1e-7, atol=1e-9, msg=key)
    for key, value in logged.items():
        assert_close(also[key], value, rtol=1e-6, atol=1e-8)


class Kept:
    """Bytes that graphs keep for their backward passes, weights not counted: now, and at most."""

    def __init__(self, nets):
        held = [t for net in nets.values() for t in net.state_dict().values()]
        self.places = dict.fromkeys((t.untyped_storage().data_ptr() for t in held), 1)
        self.now = self.most = 0

    def __enter__(self):
        self.hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: Saved(self, tensor), lambda saved: saved.tensor
        )
        self.hooks.__enter__()
        return self

    def __exit__(self, *error):
        self.hooks.__exit__(*error)

    def add(self, storage, count):
        place = storage.data_ptr()
        before = self.places.get(place, 0)
        self.places[place] = before + count
        if 0 in (before, before + count):  # the first to keep it, or the last
            self.now += count * storage.nbytes()
            self.most = max(self.most, self.now)


class Saved:
    def __init__(self, kept, tensor):
        self.kept, self.tensor = kept, tensor.detach()
        kept.add(tensor.untyped_storage(), 1)

    def __del__(self):
        self.kept.add(self.tensor.untyped_storage(), -1)


def kept(objective, micros, rows=TOTAL, clock=LATE):
    """The most bytes that a step of these rows keeps at once."""
    nets, size = build_nets(objective), rows // micros
    batches = [batch_of(0, objective, slice(size * m, size * (m + 1))) for m in range(micros)]
    with Kept(nets) as found:
        steps = [objective.step(nets, batch, clock) for batch in batches]
        assert engine_of(nets, objective).step(steps).ok
    assert found.now == 0
    return found.most


def plain():
    """The variants without classes, but for those that need them."""
    return [v for v in variants() if v.values[0].needs_classes or not v.values[0].classes]


@pytest.mark.parametrize("objective", plain())
def test_accumulation_keeps_what_later_moves_need_and_no_more(objective):
    whole, cut = kept(objective, 1), kept(objective, 4)
    moves = len(list(objective.step(build_nets(objective), batch_of(0, objective), LATE)))
    if moves == 1:
        assert cut <= 1.01 * kept(objective, 1, rows=TOTAL // 4)
    else:
        assert cut < 0.75 * whole


def test_accumulating_a_vae_keeps_a_share_of_its_memory():
    vae = Variant(objectives.build("vae"))
    assert kept(vae, 4) < 0.27 * kept(vae, 1)


def one_of_two(rank, port, folder):
    import os

    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= address | {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    with Processes("cpu") as processes:
        for index, variant in enumerate(averaging()):
            objective = variant.values[0]
            nets = build_nets(objective)
            train(nets, objective, processes=processes)
            torch.save(weights(nets), Path(folder) / f"{index}-{rank}.pt")


def test_two_processes_make_the_step_of_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.start_processes(
        one_of_two, args=(port, str(tmp_path)), nprocs=2, start_method="spawn"
    )
    for index, variant in enumerate(averaging()):
        objective = variant.values[0]
        nets = build_nets(objective)
        train(nets, objective)
        expected = weights(nets)
        for rank in (0, 1):
            saved = torch.load(tmp_path / f"{index}-{rank}.pt", weights_only=True)
            for key, value in saved.items():
                message = f"{variant.id} rank {rank} {key}"
                assert_close(value, expected[key], rtol=1e-7, atol=1e-9, msg=message)


def compiled_equals_eager(objective, backend):
    torch.compiler.reset()
    eager, compiled = build_nets(objective), build_nets(objective)
    train(eager, objective)
    for net in compiled.values():
        functorch.donated_buffer = False
        net.compile(backend=backend)
    train(compiled, objective)
    expected = weights(eager)
    for key, value in weights(compiled).items():
        assert_close(value, expected[key], rtol=1e-6, atol=1e-8, msg=key)


def some_first():
    """The variants; all but a game, codes and two sets of images are marked slow."""
    first = ("gan_vae-GANVAE", "vqgan", "unit")
    return [
        pytest.param(*v.values, id=v.id, marks=() if v.id.startswith(first) else pytest.mark.slow)
        for v in variants()
    ]


@pytest.mark.parametrize("objective", some_first())
def test_compiled_makes_the_step_of_eager(objective):
    compiled_equals_eager(objective, "aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("objective", variants())
def test_compiled_to_kernels_makes_the_step_of_eager(objective):
    compiled_equals_eager(objective, "inductor")


@pytest.mark.parametrize("objective", variants())
def test_a_step_that_is_not_finite_changes_nothing(objective):
    nets = build_nets(objective)
    engine = engine_of(nets, objective)
    for step in range(2):
        good = copy.deepcopy((weights(nets), engine.state()))
        batch = batch_of(step, objective)
        batch.image[0, 0, 0, 0] = torch.nan
        outcome = engine.step([objective.step(nets, batch, Clock(step=step))])
        assert not outcome.ok and not outcome.moved
        for key, value in weights(nets).items():
            assert torch.equal(value, good[0][key]), key
        for name, state in engine.state().items():
            assert state.keys() == good[1][name].keys()
            assert all(torch.equal(value, good[1][name][key]) for key, value in state.items())
        now = Clock(step=step)
        assert engine.step([objective.step(nets, batch_of(step, objective), now)]).ok


@pytest.mark.parametrize("objective", variants())
def test_the_last_move_can_undo_the_first(objective):
    variant, objective = objective, objective.objective

    class Poisoned(type(objective)):
        def step(self, nets, batch, now):
            *_, last = (losses.keys() for losses in super().step(nets, batch, now))
            for losses in super().step(nets, batch, now):
                wrong = losses.keys() == last
                yield {n: v * (torch.nan if wrong else 1) for n, v in losses.items()}
            return {}

    poisoned = Poisoned(**{f.name: getattr(objective, f.name) for f in fields(objective)})
    nets = build_nets(variant)
    before = weights(nets)
    batch = batch_of(0, variant)
    assert not engine_of(nets, objective).step([poisoned.step(nets, batch, LATE)]).ok
    assert all(torch.equal(value, before[key]) for key, value in weights(nets).items())


@pytest.mark.parametrize("name", NAMES)
def test_what_says_it_is_simultaneous_makes_one_move_and_what_does_not_makes_more(name):
    made = [variant.values[0] for variant in variants()]
    every = [v for v in made if type(v.objective) is objectives.get(name)]
    steps = [
        variant.objective.step(build_nets(variant), batch_of(0, variant), now)
        for variant in every
        for now in (Clock(step=0), LATE)
    ]
    assert objectives.get(name).simultaneous == all(len(list(moves)) == 1 for moves in steps)


@pytest.mark.parametrize("name", NAMES)
def test_objectives_are_short_frozen_documented_and_cited(name):
    cls = objectives.get(name)
    source = Path(inspect.getsourcefile(cls))
    assert "https://" in cls.__doc__ and "http" in inspect.getsource(cls)
    made = objectives.build(name)
    with pytest.raises(AttributeError):
        made.optim = None
    tree = next(n for n in ast.parse(source.read_text()).body if isinstance(n, ast.ClassDef))
    for node, after in pairwise(tree.body):
        if isinstance(node, ast.AnnAssign) and "ClassVar" not in ast.unparse(node.annotation):
            assert isinstance(after, ast.Expr), f"{name}.{ast.unparse(node.target)} says nothing"


def test_options_are_checked_with_a_hint():
    with pytest.raises(ConfigError, match="did you mean 'gan_vae'"):
        objectives.build("gan_vea")
    with pytest.raises(ConfigError, match="did you mean 'beta'"):
        objectives.build("vae", {"betta": 1})
    with pytest.raises(ConfigError, match="must be a finite number"):
        objectives.build("vae", {"beta": "much"})
    with pytest.raises(ConfigError, match="relativistic"):
        objectives.build("gan", {"adversary": {"game": "chess"}})


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"lr": 0}, "lr must be above 0, got 0.0"),
        ({"lr": "-1e-3"}, "lr must be above 0, got -0.001"),
        ({"lr": "nan"}, "lr must be a finite number, got 'nan'"),
        ({"beta1": 1}, "beta1 must be 0 or more and below 1, got 1.0"),
        ({"beta2": -0.1}, "beta2 must be 0 or more and below 1, got -0.1"),
        ({"warmup": 1.1}, "warmup must be from 0 to 1, got 1.1"),
        ({"final": 2}, "final must be from 0 to 1, got 2.0"),
        ({"clip": -1}, "clip must be 0 or more, got -1.0"),
    ],
)
def test_numbers_that_no_optimiser_can_use_are_refused(option, said):
    with pytest.raises(ConfigError) as error:
        objectives.build("gan_vae", {"representation": {"optim": option}})
    assert str(error.value) == f"objective gan_vae.representation.optim.{said}"
    with pytest.raises(ValueError, match="lr must be above 0, got nan"):
        Optim(lr=float("nan"))


@pytest.mark.parametrize(
    ("name", "option", "said"),
    [
        ("gan_vae", {"share": 1}, "share must leave every stage some of the budget, got 0"),
        ("vqgan", {"share": 1.5}, "share must leave every stage some of the budget, got 1.5"),
        ("bicycle", {"pace": 0}, "pace must be above 0, got 0.0"),
        ("unit", {"shift": 1}, "shift must be 0 or more and below 1, got 1"),
    ],
)
def test_stages_that_cannot_be_are_refused(name, option, said):
    with pytest.raises(ConfigError) as error:
        objectives.build(name, option)
    assert str(error.value) == f"objective {name}.{said}"


def test_nested_options_keep_the_other_defaults():
    default = objectives.build("gan_vae")
    made = objectives.build("gan_vae", {"representation": {"optim": {"lr": "1e-4"}}})
    assert made.representation.optim.lr == 1e-4
    assert made.representation.optim.beta1 == default.representation.optim.beta1
    assert made.optim == default.optim


def test_a_frozen_network_passes_gradients_and_takes_none():
    net = torch.nn.Linear(3, 1).double()
    x = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    frozen(net)(x).sum().backward()
    assert_close(x.grad, net.weight.detach().expand(2, 3))
    assert net.weight.grad is None and net.weight.requires_grad


def test_a_network_that_moves_between_uses_is_seen_moved():
    net = torch.nn.Linear(3, 1)
    view, x = frozen(net), torch.ones(2, 3)
    with torch.no_grad():
        net.weight += 1
    assert_close(view(x), net(x))


def test_base_is_abstract():
    with pytest.raises(TypeError):
        Objective()
