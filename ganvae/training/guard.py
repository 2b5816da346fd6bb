"""The policy for steps that are not finite, and alarms for trainings that fail."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Verdict = Literal["ok", "skip", "rollback", "stop"]


@dataclass
class Guard:
    """The policy for steps whose loss or gradient is not finite.

    Such a step is skipped; ``patience`` of them in a row send the run back to its last healthy
    checkpoint, at most ``rollbacks`` times, after which it stops.
    """

    patience: int = 3
    rollbacks: int = 2
    bad: int = 0
    """Skipped steps in a row, up to now."""
    gone_back: int = 0
    """Rollbacks so far."""

    def step(self, ok: bool) -> Verdict:
        """What to do after a step; ok: whether it was finite."""
        if ok:
            self.bad = 0
            return "ok"
        self.bad += 1
        if self.bad < self.patience:
            return "skip"
        if self.gone_back >= self.rollbacks:
            return "stop"
        self.bad = 0
        self.gone_back += 1
        return "rollback"

    def state(self) -> dict[str, int]:
        """The counts, for a checkpoint."""
        return {"bad": self.bad, "gone_back": self.gone_back}

    def load_state(self, state: Mapping[str, int]) -> None:
        """Puts :meth:`state` back."""
        self.bad, self.gone_back = state["bad"], state["gone_back"]


@dataclass
class _Condition:
    """A bad condition: reported once it has lasted ``patience`` steps, then not again until it has
    been away for as long."""

    patience: int
    since: int | None = None
    over: int | None = None
    reported: bool = False

    def see(self, step: int, bad: bool) -> int | None:
        """At the step where it becomes an alarm, how many steps it has lasted; else None."""
        if bad:
            self.over = None
            self.since = step if self.since is None else self.since
            if not self.reported and step - self.since >= self.patience:
                self.reported = True
                return step - self.since
        else:
            self.since = None
            self.over = step if self.over is None else self.over
            if step - self.over >= self.patience:
                self.reported = False
        return None


class Alarms:
    """Watches a stage's scalars and now and then some samples; make a new one for each stage.

    An alarm is a sentence, given once when its condition has lasted ``patience`` steps (a fifth of
    that where a loss explodes), and again only after the condition has been away for as long.
    Watched are losses far above where they started, a discriminator that is blind (prefers fakes,
    or tells nothing apart) or saturated (tells everything apart with ease) or has run away,
    networks that do not move, and samples that are all alike.

    reals: training images, shape (N, C, H, W) in [-1, 1], N at least 2: the diversity to compare
        with; None leaves samples unwatched
    """

    patience = 100
    """Steps a condition lasts before it is an alarm."""
    blind = 0.01
    """Mean of D(x) - D(x̂) below which D tells nothing apart; healthy ones measured .1 to 3."""
    saturated = 20.0
    """Mean of D(x) - D(x̂) above which D has nothing left to learn, or to teach."""
    loss = 10_000.0
    """Beyond this and a hundred times its start, a loss explodes; healthy ones measured to 170."""
    logits = 100.0
    """Mean logit beyond which D has run away; healthy ones measured up to 9."""
    collapsed = 0.02
    """Diversity relative to the reals' below which samples are all alike."""

    def __init__(self, reals: Tensor | None = None):
        self._diversity = None if reals is None else diversity(reals)
        self._start: dict[str, float] = {}
        self._prints: dict[str, float] = {}
        self._conditions: dict[str, _Condition] = {}

    def observe(
        self,
        step: int,
        scalars: Mapping[str, float],
        sample: Tensor | None = None,
        networks: Mapping[str, nn.Module] | None = None,
    ) -> list[str]:
        """The alarms after a step; call it at the stage's first step, then about every ten steps.

        scalars: ``loss/NETWORK`` for the networks that moved; ``real_logit`` and ``fake_logit``,
            D's mean logits, where the objective logs them; anything else is left alone
        sample: some generated images, shape (N, C, H, W); not needed at every call
        networks: the networks the stage moves; not needed at every call
        """
        alarms = [*self._losses(step, scalars), *self._discriminator(step, scalars)]
        if sample is not None and self._diversity:
            relative = diversity(sample) / self._diversity
            text = _COLLAPSED.format(relative=relative, n="{n}")
            alarms.append(self._see(step, "collapsed", relative < self.collapsed, text))
        for name, net in (networks or {}).items():
            now, before = fingerprint(net), self._prints.get(name)
            self._prints[name] = now
            alarms.append(self._see(step, f"unmoved {name}", now == before, _UNMOVED, name))
        return [text for text in alarms if text is not None]

    def _losses(self, step: int, scalars: Mapping[str, float]) -> Iterator[str | None]:
        for key, loss in scalars.items():
            kind, _, name = key.partition("/")
            if kind != "loss" or not math.isfinite(loss):
                continue
            start = abs(self._start.setdefault(name, loss))
            # a loss in D's features may rise a hundredfold in a healthy run, from next to nothing
            above = loss > 100 * start + self.loss
            yield self._see(step, f"above {name}", above, _DIVERGED, name, self.patience // 5)

    def _discriminator(self, step: int, scalars: Mapping[str, float]) -> Iterator[str | None]:
        if {"real_logit", "fake_logit"} <= scalars.keys():
            lead = scalars["real_logit"] - scalars["fake_logit"]
            yield self._see(step, "blind", lead < self.blind, _BLIND)
            yield self._see(step, "saturated", lead > self.saturated, _SATURATED)
            largest = max(abs(scalars["real_logit"]), abs(scalars["fake_logit"]))
            yield self._see(step, "logits", largest > self.logits, _LOGITS)

    def _see(
        self,
        step: int,
        key: str,
        bad: bool,
        text: str,
        name: str = "",
        patience: int | None = None,
    ) -> str | None:
        condition = self._conditions.setdefault(key, _Condition(patience or self.patience))
        lasted = condition.see(step, bad)
        return None if lasted is None else text.format(n=lasted, name=name)


_DIVERGED = (
    "the {name}'s loss has been far above its start for {n} steps: the run diverges; lower the "
    "learning rate (training.lr_scale)"
)
_BLIND = (
    "the discriminator has not told reals from fakes for {n} steps: it is dead or does not learn; "
    "lower the learning rate (training.lr_scale)"
)
_SATURATED = (
    "the discriminator has told every real from every fake for {n} steps and teaches nothing any "
    "more: raise adversary.gamma, or lower the learning rate (training.lr_scale)"
)
_LOGITS = (
    "the discriminator's logits have been huge for {n} steps: the run diverges; lower the "
    "learning rate (training.lr_scale)"
)
_COLLAPSED = (
    "samples have been nearly one and the same image for {n} steps (their diversity is "
    "{relative:.1%} of the images'): the generator has collapsed; lower the learning rate "
    "(training.lr_scale), or start again with another seed"
)
_UNMOVED = (
    "the {name} has not moved for {n} steps: its loss gives it no gradient, or its learning rate "
    "is zero"
)
ALARMS = (_DIVERGED, _BLIND, _SATURATED, _LOGITS, _COLLAPSED, _UNMOVED)
"""The sentences that :class:`Alarms` gives, with fields for what is measured."""


@torch.no_grad()
def diversity(images: Tensor) -> float:
    """The standard deviation of a pixel over the images (N, C, H, W), averaged over the pixels."""
    return float(images.detach().float().std(0).mean())


@torch.no_grad()
def fingerprint(net: nn.Module) -> float:
    """A number that changes whenever the parameters do; NaN where there are none."""
    exact = [p.detach() if p.is_mps else p.detach().double() for p in net.parameters()]
    squares = [p.square().sum() for p in exact]
    return float(torch.stack(squares).sum()) if squares else math.nan
