"""The games a generator and a discriminator play. D gives logits, never probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from ganvae.losses.penalty import zero_centred
from ganvae.types import Clock, Condition, Seen, Verdict, join, look

Logits = Tensor | Verdict


class Game(NamedTuple):
    """Two losses of logits, (B,) or (B, ...) of an image's parts, and minimised.

    Each part plays for itself; the loss is the mean over the parts of a sample and the batch.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    """Of D(x) and D(x̂)."""
    generator: Callable[[Tensor, Tensor], Tensor]
    """Of D(x̂) and D(x)."""


nonsaturating = Game(
    lambda real, fake: (softplus(-real) + softplus(fake)).mean(),
    lambda fake, real: softplus(-fake).mean(),
)
"""| Generative Adversarial Nets (Goodfellow et al., 2014), section 3
| https://arxiv.org/abs/1406.2661"""

hinge = Game(
    lambda real, fake: (relu(1 - real) + relu(1 + fake)).mean(),
    lambda fake, real: -fake.mean(),
)
"""| Geometric GAN (Lim and Ye, 2017) | https://arxiv.org/abs/1705.02894"""

relativistic = Game(
    lambda real, fake: softplus(fake - real).mean(),
    lambda fake, real: softplus(real - fake).mean(),
)
"""Each real is paired with one fake.

| The GAN is dead; long live the GAN! (Huang et al., 2024), eq. 2 | https://arxiv.org/abs/2501.05441
"""

least_squares = Game(
    lambda real, fake: 0.25 * ((real - 1).square() + (fake + 1).square()).mean(),
    lambda fake, real: 0.25 * (fake - 1).square().mean(),
)
"""(D − 1)² and D² of D = (1 + logit) / 2, so that logits are above 0 for reals as everywhere;
without the paper's halves.

| Least Squares Generative Adversarial Networks (Mao et al., 2017), eq. 9
| https://arxiv.org/abs/1611.04076
"""

games = {
    "nonsaturating": nonsaturating,
    "hinge": hinge,
    "relativistic": relativistic,
    "least_squares": least_squares,
}


class Judgement(NamedTuple):
    """A discriminator's loss, its logits on the reals, and its mean logits to watch."""

    loss: Tensor
    real: Logits
    logged: dict[str, Tensor]
    x: Tensor | Seen
    """The reals as D sees them, see :func:`ganvae.types.look`."""
    x_hat: Tensor | Seen
    """The fakes as D sees them; gradients reach whoever has made them."""


class Played(NamedTuple):
    """Both players' losses, and what D saw in the images that they are of."""

    critic: Judgement
    generator: Tensor
    real: Tensor
    """D's features of the reals, (B, F), constant."""
    fakes: list[Tensor]
    """Those of each batch of fakes."""


@dataclass(frozen=True, kw_only=True)
class Adversary:
    """A game, and how D's gradient is held small."""

    game: Literal["nonsaturating", "hinge", "relativistic", "least_squares"] = "relativistic"
    """Which losses the two players minimise."""
    gamma: float = 0.5
    """Weight γ of the zero-centred gradient penalties γ/2 (R1 + R2)."""
    every: int = 8
    """The penalties are computed at every k-th step, with k times their weight."""
    eyes: float = 1.0
    """Weight of the hinge game of what ``networks.eyes`` see, beside that of pixels."""

    def discriminator(
        self,
        D: Callable[..., Any],
        real: Tensor,
        fake: Tensor,
        now: Clock,
        c: Condition = (),
    ) -> Judgement:
        """D's loss on images ``real`` and ``fake``, both (B, C, H, W); ``fake`` moves nobody.

        D may look at anything else of one row a sample, too, and give logits of parts, (B, ...);
        the penalties are on a sample's mean logit. Where D has eyes, they look once, for both
        players. c: what both belong to
        """
        x, x_hat = look(D, real), look(D, fake)
        images, both = (real, fake.detach()), join(c, c)
        sizes = list(map(len, images))
        logits: Sequence[Logits]
        if isinstance(x, Seen) and isinstance(x_hat, Seen):
            told = D(Seen.cat([x, x_hat.detach()]), *both)
            logits = [Verdict(*pair) for pair in zip(*(part.split(sizes) for part in told))]
        else:
            logits = D(torch.cat(images), *both).split(sizes)
        judgement = self._judge(D, logits, [(image, c) for image in images], now)
        return judgement._replace(x=x, x_hat=x_hat)

    def _judge(
        self,
        D: Callable[..., Any],
        logits: Sequence[Logits],
        images: Sequence[tuple[Tensor, Condition]],
        now: Clock,
    ) -> Judgement:
        """Of logits on reals and on fakes, and of the images where they are penalised."""
        on_real, on_fake = logits
        loss = self._loss(0, on_real, on_fake)
        shown = (_pixels(on_real).detach().mean(), _pixels(on_fake).detach().mean())
        logged = dict(zip(("real_logit", "fake_logit"), shown, strict=True))
        if self.gamma and now.step % self.every == 0:
            judge = _by_sample(D)
            steepness = torch.stack([zero_centred(judge, x, c) for x, c in images]).sum()
            loss = loss + self.every * self.gamma / 2 * steepness
        return Judgement(loss, on_real.detach(), logged, *(x for x, _ in images))

    def _loss(self, player: int, a: Logits, b: Logits) -> Tensor:
        """Of D (0) or G (1), with the game of the eyes where there is one."""
        loss = games[self.game][player](_pixels(a), _pixels(b))
        if isinstance(a, Verdict) and isinstance(b, Verdict):
            loss = loss + self.eyes * hinge[player](a.eyes, b.eyes)
        return loss

    def generator(self, fake: Logits, real: Logits) -> Tensor:
        """G's loss, of the logits D(x̂) and D(x), each of shape (B,), or (B, ...) of parts."""
        return self._loss(1, fake, real)

    def answer(self, D: Callable[..., Any], critic: Judgement, c: Condition = ()) -> Tensor:
        """G's loss on the fakes that D has judged, by the D of now, held still by ``frozen``."""
        return self.generator(D(critic.x_hat, *c), critic.real)

    def play(
        self,
        D: Callable[..., Any],
        real: Tensor,
        fakes: Sequence[Tensor],
        now: Clock,
        c: Condition = (),
    ) -> Played:
        """Both players' losses on images (B, C, H, W) against several such batches of fakes.

        For a simultaneous move: D sees every batch once, and the losses of both players are of
        what it says. Each is differentiated with respect to its own player alone, which is what
        the engine does with the losses of a yield. c: what each of the batches belongs to
        """
        (on_real, f_real), *seen = [D(look(D, x), *c, features=True) for x in (real, *fakes)]
        on_fakes, f_fakes = zip(*seen)
        logits = _cat([on_real] * len(fakes)), _cat(on_fakes)
        fake = torch.cat([*fakes]).detach()
        images = [(real, c), (fake, join(*[c] * len(fakes)))]
        critic = self._judge(D, logits, images, now)
        generator = self.generator(logits[1], critic.real)
        return Played(critic, generator, f_real.detach(), [*f_fakes])


def _pixels(logits: Logits) -> Tensor:
    return logits.pixels if isinstance(logits, Verdict) else logits


def _cat(parts: Sequence[Any]) -> Any:
    """Logits of several batches as those of one."""
    if isinstance(parts[0], Verdict):
        return Verdict(*map(torch.cat, zip(*parts, strict=True)))
    return torch.cat([*parts])


def _by_sample(D: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """D with one logit a sample, (B,): the mean over its parts."""

    def mean(*args: Tensor) -> Tensor:
        logits = D(*args)
        return logits.flatten(1).mean(1) if logits.ndim > 1 else logits

    return mean
