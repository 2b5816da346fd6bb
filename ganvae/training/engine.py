"""One training step: moves networks by the losses an objective yields, or not at all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ganvae.training import convolution, precision
from ganvae.training.adam import Adam
from ganvae.training.memory import keep_memory
from ganvae.training.processes import Processes
from ganvae.training.undo import Undo
from ganvae.types import Losses, Optim, Step


@dataclass(frozen=True)
class Outcome:
    """The result of one training step.

    ok: whether everything was finite; if not, nothing has changed
    moved: the networks that were moved
    losses: each moved network's loss
    logged: what the objective returned
    norms: each moved network's gradient norm before clipping
    """

    ok: bool
    moved: tuple[str, ...]
    losses: dict[str, Tensor]
    logged: dict[str, Tensor]
    norms: dict[str, Tensor]


class Move(NamedTuple):
    """The result of one yield: each network's loss and gradient norm, and if all is finite."""

    finite: bool
    losses: dict[str, Tensor]
    norms: dict[str, Tensor]


class Engine:
    """Moves a stage's networks by the losses that its objective yields.

    A yield's losses are differentiated with respect to the networks they name and nothing else;
    the gradients of all of them are ready, averaged over the processes, before any network moves.

    simultaneous: every step makes one move, so that there never is an earlier move to undo, and
        the networks are not copied
    """

    def __init__(
        self,
        nets: Mapping[str, nn.Module],
        optim: Optim,
        processes: Processes,
        *,
        lr_scale: float = 1.0,
        bf16: bool = False,
        simultaneous: bool = False,
    ):
        self.nets, self.optim, self.processes = nets, optim, processes
        self.bf16, self.simultaneous = bf16, simultaneous
        if bf16:
            precision.return_float32(nets.values())
        if processes.device.type == "cpu":
            keep_memory()
            if bf16:
                convolution.quicken(nets.values())
        # listed once: walking through the modules would take a few per cent of each step
        self._params: dict[str, list[Tensor]] = {n: list(m.parameters()) for n, m in nets.items()}
        self._modules = [module for net in nets.values() for module in net.modules()]
        self.optimisers = {
            name: Adam(params, optim, optim.lr * lr_scale)
            for name, params in self._params.items()
            if params
        }
        self.undo = Undo()
        self._moved_at_once: tuple[str, ...] = ()  # the networks of a simultaneous objective

    def step(self, steps: Sequence[Step], rate: float = 1.0) -> Outcome:
        """Makes one training step of the objective's steps on all micro-batches.

        rate: the learning rate as a share of its peak
        """
        self.undo.remember(self._tensors())
        fresh = [adam for adam in self.optimisers.values() if not adam.moments()]
        losses: dict[str, Tensor] = {}
        norms: dict[str, Tensor] = {}
        logged: list[dict[str, Tensor]] = []
        while not logged:
            by_micro, logged = self._differentiate(steps)
            if not by_micro:
                break
            move = self._move(by_micro, rate)
            losses |= move.losses
            norms |= move.norms
            if not move.finite:
                self.undo.restore()
                for adam in fresh:
                    adam.forget()
                for step in steps:
                    step.close()
                return Outcome(False, (), losses, {}, norms)
        self._moved_at_once = tuple(losses) if self.simultaneous else ()
        return Outcome(True, tuple(losses), losses, _mean(logged), norms)

    def _differentiate(
        self, steps: Sequence[Step]
    ) -> tuple[dict[str, list[Tensor]], list[dict[str, Tensor]]]:
        """Adds up the gradients of the next move over the micro-batches.

        One micro-batch after the other: what one keeps for its backward pass is freed before the
        next one begins, unless a later move may need it.

        Returns each network's loss in every micro-batch, and what the steps log that have ended.
        """
        by_micro: dict[str, list[Tensor]] = {}
        logged: list[dict[str, Tensor]] = []
        for micro, step in enumerate(steps):
            losses, end = self._advance(step)
            losses = self._backward(losses, micro, len(steps))  # frees the graphs
            for name, loss in losses.items():
                by_micro.setdefault(name, []).append(loss)
            if losses and self.simultaneous:  # ends the step here, so that its tensors are freed
                losses, end = self._advance(step)
                assert not losses, "a step of one move makes another"
            logged += [] if end is None else [end]
        alike = {len(each) for each in by_micro.values()} <= {len(steps)}
        assert alike and len(logged) in (0, len(steps)), "micro-batches must make the same moves"
        return by_micro, logged

    def _advance(self, step: Step) -> tuple[Losses, dict[str, Tensor] | None]:
        """The losses of a step's next move; at its end none, and what it logs."""
        device = self.processes.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.bf16):
            try:
                return next(step), None
            except StopIteration as end:
                return {}, end.value or {}

    def _backward(self, losses: Losses, micro: int, micros: int) -> Losses:
        """Adds one micro-batch's share to the gradients; the losses without their graphs."""
        if not micro:
            for parameter in (p for name in losses for p in self._params[name]):
                parameter.grad = None
        for loss, heads in _by_loss(losses):
            inputs = [p for name in heads for p in self._params[name] if p.requires_grad]
            if inputs:  # a network of the user's own may have nothing to train
                last = micros > 1 and self._is_of(loss, heads)
                (loss / micros).backward(inputs=inputs, retain_graph=not last)
        return {name: loss.detach() for name, loss in losses.items()}

    def _is_of(self, loss: Tensor, names: Sequence[str]) -> bool:
        """Whether a loss depends on the weights of these networks only.

        Then no later move can use its graph, since these weights will have changed.
        """
        others = {id(p) for n, params in self._params.items() if n not in names for p in params}
        seen, stack = set(), [loss.grad_fn]
        while stack:
            node: Any = stack.pop()
            if node is None or node in seen:
                continue
            if id(getattr(node, "variable", None)) in others:
                return False
            seen.add(node)
            stack += [following for following, _ in node.next_functions]
        return True

    def _move(self, by_micro: Mapping[str, Sequence[Tensor]], rate: float) -> Move:
        """Moves networks by the gradients they have if all is finite; by_micro: their losses."""
        params = {name: self._params[name] for name in by_micro}
        losses = {name: torch.stack([*parts]).mean() for name, parts in by_micro.items()}
        self._average([p for some in params.values() for p in some], losses)
        norms = {name: self.norm(some) for name, some in params.items()}
        watched = [*norms.values(), *(loss.float() for loss in losses.values())]
        values = torch.stack(watched).tolist()  # the one time that a move waits for a GPU
        finite = all(map(math.isfinite, values))
        if finite:
            self.clip(params, norms, dict(zip(params, values)))
            for name in (n for n in params if n in self.optimisers):
                self.optimisers[name].step(rate)
        return Move(finite, losses, norms)

    def _average(self, params: Iterable[Tensor], losses: dict[str, Tensor]) -> None:
        """Averages gradients and losses over the processes, in place."""
        if self.processes.world == 1:
            return
        gradients = []
        for p in params:
            if p.requires_grad:
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad
                gradients.append(p.grad)
        names = list(losses)
        parts = [g.flatten() for g in gradients] + [losses[n].reshape(1) for n in names]
        flat = self.processes.average(torch.cat(parts))
        pieces = flat.split([part.numel() for part in parts])
        for gradient, piece in zip(gradients, pieces):
            gradient.copy_(piece.view(gradient.shape))
        losses.update({n: piece[0] for n, piece in zip(names, pieces[len(gradients) :])})

    def norm(self, params: list[Tensor]) -> Tensor:
        """The norm of all gradients of some parameters together."""
        gradients = [p.grad for p in params if p.grad is not None]
        if not gradients:
            return torch.zeros((), device=self.processes.device)
        return torch.nn.utils.get_total_norm(gradients)

    def clip(
        self,
        params: Mapping[str, list[Tensor]],
        norms: Mapping[str, Tensor],
        values: Mapping[str, float],
    ) -> None:
        """Scales down the gradients of networks whose norm is above ``optim.clip``."""
        limit = self.optim.clip
        for name, norm in norms.items():
            if limit and values[name] + 1e-6 > 0.999 * limit:  # else the factor would be one
                torch.nn.utils.clip_grads_with_norm_(params[name], limit, norm)

    def _tensors(self) -> list[Tensor]:
        """Everything a step may change before its last move turns out to be finite."""
        tensors = []
        for module in self._modules:
            tensors += [buffer for buffer in module._buffers.values() if buffer is not None]
        for name, params in self._params.items():
            if name not in self._moved_at_once:  # an objective may change these itself: a scale
                tensors += params
        if not self.simultaneous:
            tensors += [moment for adam in self.optimisers.values() for moment in adam.moments()]
        return tensors

    def state(self) -> dict[str, dict[str, Tensor]]:
        """The optimisers' tensors by network, for a checkpoint."""
        return {name: adam.state() for name, adam in self.optimisers.items()}

    def load_state(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Puts :meth:`state` back."""
        for name, adam in self.optimisers.items():
            adam.load_state(state.get(name, {}))


def _by_loss(losses: Losses) -> list[tuple[Tensor, list[str]]]:
    """Each loss with the networks that it moves: one backward pass is enough for them."""
    groups: dict[int, tuple[Tensor, list[str]]] = {}
    for name, loss in losses.items():
        groups.setdefault(id(loss), (loss, []))[1].append(name)
    return list(groups.values())


def _mean(logged: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.stack([part[key] for part in logged]).mean() for key in logged[0]}
