"""One training step: moves networks by the losses an objective yields, or not at all."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ganvae.training import convolution, precision
from ganvae.training.processes import Processes
from ganvae.types import Losses, Optim, Step


@dataclass(frozen=True)
class Outcome:
    """What came of a step.

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
    """One yield, differentiated: each network's loss and gradient norm, and if all is finite."""

    finite: bool
    losses: dict[str, Tensor]
    norms: dict[str, Tensor]


def keep_memory(most: int = 2**30) -> bool:
    """Lets glibc keep up to ``most`` bytes that were freed; returns whether it does.

    Left alone, it gives the memory of a step's tensors back to the system at the end of the step,
    and every page of it has to be cleared again in the next one. Nothing happens where the
    environment says something about it (``MALLOC_...``, ``GLIBC_TUNABLES``), or without glibc.
    """
    said = any(key.startswith("MALLOC_") or key == "GLIBC_TUNABLES" for key in os.environ)
    if not sys.platform.startswith("linux") or said:
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    trim, mapped = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    return mallopt is not None and bool(mallopt(trim, most)) and bool(mallopt(mapped, most))


class Engine:
    """The optimisers of a stage's networks, and how they move.

    A yield's losses are differentiated with respect to the networks they name and nothing else;
    the gradients of all of them are ready, averaged over the processes, before any network moves.

    simultaneous: every step makes one move; then there are no moved networks to take back, and
        no copies of them are made
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
        self.simultaneous = simultaneous
        self.nets, self.optim, self.processes = nets, optim, processes
        self.peak = optim.lr * lr_scale
        self.bf16 = bf16
        if bf16:
            precision.return_float32(nets.values())
        if processes.device.type == "cpu":
            keep_memory()
            if bf16:
                convolution.quicken(nets.values())
        fused = processes.device.type in ("cpu", "cuda")
        # walking through modules for what does not change would cost a few per cent of each step
        self._params: dict[str, list[Tensor]] = {n: list(m.parameters()) for n, m in nets.items()}
        self._modules = [module for net in nets.values() for module in net.modules()]
        self._lying = {n: [_lying(p.detach(), p) for p in ps] for n, ps in self._params.items()}
        self.optimisers = {
            name: torch.optim.Adam(
                lying, lr=self.peak, betas=(optim.beta1, optim.beta2), fused=fused
            )
            for name, lying in self._lying.items()
            if lying
        }
        self._undo = Undo()
        self._spared: tuple[str, ...] = ()

    def step(self, steps: Sequence[Step], rate: float = 1.0) -> Outcome:
        """Makes one step out of the steps of its micro-batches, which make their moves together.

        rate: the learning rate as a share of its peak
        """
        self._undo.remember(self._tensors())
        fresh = [optimiser for optimiser in self.optimisers.values() if not optimiser.state]
        losses: dict[str, Tensor] = {}
        norms: dict[str, Tensor] = {}
        logged: list[dict[str, Tensor]] = []
        while not logged:
            found = self._differentiate(steps, logged)
            if logged:
                assert len(logged) == len(steps), _ALIKE
            if not found:
                break
            move = self._move(found, rate)
            losses |= move.losses
            norms |= move.norms
            if not move.finite:
                self._undo.restore()
                for optimiser in fresh:
                    optimiser.state.clear()
                for step in steps:
                    step.close()
                return Outcome(False, (), losses, {}, norms)
        self._spared = tuple(losses) if self.simultaneous else ()
        return Outcome(True, tuple(losses), losses, _mean(logged), norms)

    def _differentiate(
        self, steps: Sequence[Step], logged: list[dict[str, Tensor]]
    ) -> dict[str, list[Tensor]]:
        """Adds up the gradients of the next move; each network's loss in every micro-batch.

        One micro-batch after the other: what one keeps for its backward pass is freed before the
        next one begins, unless a later move may need it. Nothing where the steps have ended.
        """
        found: dict[str, list[Tensor]] = {}
        for micro, step in enumerate(steps):
            losses = self._backward(self._advance(step, logged), micro, len(steps))
            for name, loss in losses.items():
                found.setdefault(name, []).append(loss)
            if losses and self.simultaneous:  # what the step holds is of no use any more
                losses = self._advance(step, logged)
                assert not losses, "a step of one move makes another"
        assert {len(each) for each in found.values()} <= {len(steps)}, _ALIKE
        return found

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
        """Whether a loss depends on the weights of no other networks than these.

        Then no later move can use its graph: they will have moved.
        """
        others = {id(p) for n, params in self._params.items() if n not in names for p in params}
        seen, left = set(), [loss.grad_fn]
        while left:
            node: Any = left.pop()
            if node is None or node in seen:
                continue
            if id(getattr(node, "variable", None)) in others:
                return False
            seen.add(node)
            left += [following for following, _ in node.next_functions]
        return True

    def _advance(self, step: Step, logged: list[dict[str, Tensor]]) -> Losses:
        device = self.processes.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.bf16):
            try:
                return next(step)
            except StopIteration as end:
                logged.append(end.value or {})
                return {}

    def _move(self, found: Mapping[str, Sequence[Tensor]], rate: float) -> Move:
        """Moves networks by the gradients they have if all is finite; found: their losses."""
        names = list(found)
        params = {name: self._params[name] for name in names}
        total = {name: torch.stack([*losses]).mean() for name, losses in found.items()}
        self._synchronise([p for name in names for p in params[name]], total)
        norms = {name: self._norm(params[name]) for name in names}
        watched = [*norms.values(), *(total[n].float() for n in names)]
        values = torch.stack(watched).tolist()  # the one time that a move waits for a GPU
        finite = all(map(math.isfinite, values))
        if finite:
            self._clip(params, norms, dict(zip(names, values)))
            for name in (n for n in names if n in self.optimisers):
                for group in self.optimisers[name].param_groups:
                    group["lr"] = self.peak * rate
                for mine, p in zip(self._lying[name], params[name]):
                    mine.grad = None if p.grad is None else _lying(p.grad, p).contiguous()
                self.optimisers[name].step()
                self.optimisers[name].zero_grad()  # else they would outlive those of the network
                self._mark(name)
        return Move(finite, total, norms)

    def _mark(self, name: str) -> None:
        """Tells torch that a network moved: fused Adam changes tensors behind its back."""
        moments = self.optimisers[name].state.values()
        changed = [value for entry in moments for value in entry.values()]
        torch.autograd.graph.increment_version([*self._params[name], *changed])

    def _synchronise(self, params: Iterable[Tensor], losses: dict[str, Tensor]) -> None:
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

    def _norm(self, params: list[Tensor]) -> Tensor:
        gradients = [p.grad for p in params if p.grad is not None]
        if not gradients:
            return torch.zeros((), device=self.processes.device)
        return torch.nn.utils.get_total_norm(gradients)

    def _clip(
        self,
        params: Mapping[str, list[Tensor]],
        norms: Mapping[str, Tensor],
        values: Mapping[str, float],
    ) -> None:
        """Scales the gradients of the networks whose norm is above the limit, or nearly so."""
        limit = self.optim.clip
        for name, norm in norms.items():
            if limit and values[name] + 1e-6 > 0.999 * limit:  # else the factor would be one
                torch.nn.utils.clip_grads_with_norm_(params[name], limit, norm)

    def _tensors(self) -> list[Tensor]:
        """Everything a step may change before its last move turns out to be finite."""
        kept = []
        for module in self._modules:
            kept += [buffer for buffer in module._buffers.values() if buffer is not None]
        for name, params in self._params.items():
            if name not in self._spared:  # an objective may set others itself: a scale
                kept += params
        if self.simultaneous:
            return kept
        for optimiser in self.optimisers.values():
            for state in optimiser.state.values():
                kept += [value for value in state.values() if torch.is_tensor(value)]
        return kept

    def state(self) -> dict[str, dict[str, Tensor]]:
        """The optimisers' tensors by network, for a checkpoint."""
        return {
            name: {
                f"{index}.{key}": _standing(value, self._params[name][index])
                for index, entry in _entries(optimiser)
                for key, value in entry.items()
            }
            for name, optimiser in self.optimisers.items()
        }

    def load_state(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Puts :meth:`state` back."""
        for name, optimiser in self.optimisers.items():
            entries: dict[int, dict[str, Tensor]] = {}
            for key, value in state.get(name, {}).items():
                place, _, kind = key.partition(".")
                entries.setdefault(int(place), {})[kind] = value
            # fused Adam takes it for granted that the moments lie in memory as the weights do
            for index, entry in entries.items():
                param, lying = self._params[name][index], self._lying[name][index]
                for kind, value in entry.items():
                    if value.shape == param.shape:
                        entry[kind] = torch.empty_like(lying).copy_(_lying(value, param))
            whole: dict[str, Any] = optimiser.state_dict()
            optimiser.load_state_dict({**whole, "state": entries})


class Undo:
    """Copies of tensors to go back to; only those that changed since are copied again."""

    def __init__(self) -> None:
        self._live: list[Tensor] = []
        self._places: list[int] = []
        self._copies: list[Tensor] = []
        self._versions: list[int] = []

    @torch.no_grad()
    def remember(self, tensors: list[Tensor]) -> None:
        """Keeps what these tensors hold now."""
        places = [tensor.data_ptr() for tensor in tensors]
        versions = [tensor._version for tensor in tensors]
        if places != self._places:
            self._copies = [tensor.clone() for tensor in tensors]
        else:
            changed = [i for i, v in enumerate(versions) if v != self._versions[i]]
            if changed:
                torch._foreach_copy_(
                    [self._copies[i] for i in changed], [tensors[i] for i in changed]
                )
        self._live, self._places, self._versions = tensors, places, versions

    @torch.no_grad()
    def restore(self) -> None:
        """Puts it back."""
        if self._live:
            torch._foreach_copy_(self._live, self._copies)
        self._versions = [tensor._version for tensor in self._live]


_ALIKE = "micro-batches must make the same moves"


def _lying(tensor: Tensor, param: Tensor) -> Tensor:
    """A tensor of a parameter's shape with its dimensions in the order they lie in memory.

    Fused Adam on a CPU copies what is not contiguous, which takes it twice as long.
    """
    return tensor.permute(0, 2, 3, 1) if _channels_last(param) else tensor


def _standing(tensor: Tensor, param: Tensor) -> Tensor:
    """What :func:`_lying` made, in the parameter's shape again."""
    return tensor.permute(0, 3, 1, 2) if _channels_last(param) and tensor.ndim == 4 else tensor


def _channels_last(param: Tensor) -> bool:
    last = param.ndim == 4 and param.is_contiguous(memory_format=torch.channels_last)
    return last and not param.is_contiguous()


def _entries(optimiser: torch.optim.Optimizer) -> Iterable[tuple[int, dict[str, Tensor]]]:
    whole: dict[str, Any] = optimiser.state_dict()
    return whole["state"].items()


def _by_loss(losses: Losses) -> list[tuple[Tensor, list[str]]]:
    groups: dict[int, tuple[Tensor, list[str]]] = {}
    for name, loss in losses.items():
        groups.setdefault(id(loss), (loss, []))[1].append(name)
    return list(groups.values())


def _mean(logged: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.stack([part[key] for part in logged]).mean() for key in logged[0]}
