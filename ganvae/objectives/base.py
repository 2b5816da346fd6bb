"""What an objective is, and how a network is held still."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NoReturn, TypeVar

import torch
from torch import nn
from torch.func import functional_call

from ganvae.errors import ConfigError, RangeError
from ganvae.task import TaskName
from ganvae.types import Batch, Clock, Condition, Networks, Optim, Step, join

_O = TypeVar("_O", bound="Objective")


@dataclass(frozen=True, kw_only=True)
class Objective(ABC):
    """One paper's training step. Frozen and stateless: what persists is a network with buffers."""

    networks: ClassVar[tuple[str, ...]] = ()
    """The roles this objective trains or uses, as :mod:`ganvae.networks.zoo` names them."""
    decoder: ClassVar[str] = "decoder"
    """The role that turns the encoder's z back into the image it came from."""
    generator: ClassVar[str] = "decoder"
    """The role that turns the prior's z into a new image."""

    kinds: ClassVar[Mapping[str, str]] = {}
    """Roles whose network :mod:`ganvae.networks.zoo` builds as another kind than their name."""
    classes: ClassVar[bool] = True
    """Whether it can be conditioned on classes."""
    needs_classes: ClassVar[bool] = False
    """Whether it cannot do without them."""
    paired: ClassVar[bool | None] = None
    """Whether it translates sources into images that belong to them; None: makes images alone."""
    task: ClassVar[TaskName] = "generate"
    """What the trained model is for: a row of :data:`ganvae.task.TASKS`."""
    halved: ClassVar[bool] = False
    """Whether a step parts its rows (``Batch.halves``), so that micro-batches must be even."""
    simultaneous: ClassVar[bool] = False
    """Whether every step is a single move and looks at no network after its yield; saying so saves
    the copies to take a first move back, and the memory of all micro-batches but one."""

    unset: ClassVar[Mapping[str, tuple[Any, Any]]] = {}
    """What fields that are None are for images of up to 32 px, and for larger ones."""

    optim: Optim = Optim()
    """Adam and its schedule."""

    @abstractmethod
    def step(self, nets: Networks, batch: Batch, now: Clock) -> Step:
        """One training step: yields ``{network: loss}`` for every move, returns what to log.

        The trainer moves exactly the networks that a yield names, each by the gradient of its own
        loss; losses that are one tensor share one backward pass.
        """

    @property
    def fits_prior(self) -> bool:
        """Whether :meth:`conclude` fits the prior, which has a field ``fit`` then: until that p(z)
        is nothing to judge the training by."""
        return hasattr(self, "fit")

    def stages(self) -> list[Stage]:
        """The run as a list of stages; by default a single one."""
        return [Stage(self, 1.0)]

    def suited(self: _O, side: int = 32) -> _O:
        """With fields that are None set for images of this height or width, see :attr:`unset`."""
        large = side > 32
        defaults = {k: v[large] for k, v in self.unset.items() if getattr(self, k) is None}
        return replace(self, **defaults) if defaults else self

    def prepare(self, nets: Networks, batches: Iterator[Batch]) -> None:
        """Called once before the stage's first step. ``batches`` are training batches."""
        return None

    def conclude(self, nets: Networks, batches: Iterator[Batch]) -> None:
        """Called once after the stage's last step, on the averaged (EMA) networks."""
        return None


@dataclass(frozen=True)
class Stage:
    """An objective and its share of the run's budget; RangeError where it has none."""

    objective: Objective
    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise RangeError(
                f"share must leave every stage some of the budget, got {self.share:g}"
            )


def after(first: Objective, share: float, whole: Objective) -> list[Stage]:
    """Two stages: ``first`` for this share of the run (0 leaves it out), then ``whole``."""
    return [*([Stage(first, share)] if share else []), Stage(whole, 1 - share)]


def before_the_game(whole: Any, share: float, pace: float) -> list[Stage]:
    """First without the adversaries, which is cheap, then ``whole`` at ``pace`` of the rate.

    whole: an objective that makes no move of a discriminator where its ``adversarial`` is 0
    share: of the first in the run; 0 leaves the game alone, at its own rate

    Raises RangeError for a pace that is not above 0.
    """
    if not share:
        return [Stage(whole, 1.0)]
    if not 0 < pace < math.inf:
        raise RangeError(f"pace must be above 0, got {pace}")
    slower = replace(whole.optim, lr=pace * whole.optim.lr)
    first = Stage(replace(whole, adversarial=0.0), share)
    return [first, Stage(replace(whole, optim=slower), 1 - share)]


def frozen(net: nn.Module) -> Callable[..., Any]:
    """A view of ``net`` that gradients pass through but that cannot be moved.

    Its parameters are detached, so backward computes no gradients for its weights (cheaper), while
    the gradient with respect to its input is exact. Nothing about ``net`` itself changes.
    """
    weights = {name: value.detach() for name, value in net.named_parameters()}

    def call(*args: Any, **kwargs: Any) -> Any:
        return functional_call(net, weights, args, kwargs)

    return call


def start_as(net: nn.Module, other: nn.Module) -> None:
    """Gives ``net`` the weights of ``other`` where the two are built alike, else nothing."""
    mine, theirs = net.state_dict(), other.state_dict()
    if {k: v.shape for k, v in mine.items()} == {k: v.shape for k, v in theirs.items()}:
        net.load_state_dict(theirs)


def enough(batches: Iterator[Batch], images: int) -> Iterator[Batch]:
    """Batches until they hold ``images`` images, or a few more."""
    count = 0
    for batch in batches:
        yield batch
        count += len(batch.image)
        if count >= images:
            return


@torch.no_grad()
def fit_prior(nets: Networks, batches: Iterator[Batch], samples: int) -> None:
    """Fit ``nets["prior"]`` to ``samples`` draws of z ~ q(z|x) over training images."""
    latents: list[torch.Tensor] = []
    conditions: list[Condition] = []
    for batch in enough(batches, samples):
        latents.append(nets["encoder"](batch.image, *batch.condition).rsample(batch.noise))
        conditions.append(batch.condition)
    c = tuple(tensor[:samples] for tensor in join(*conditions))
    nets["prior"].fit(torch.cat(latents)[:samples], *c)


def refuse_classes(name: str) -> NoReturn:
    """Raises ConfigError: images with classes came to an objective that knows none."""
    raise ConfigError(
        f"{name} knows no classes: leave out --data.labels, or choose another --objective"
    )
