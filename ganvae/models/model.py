"""A trained model: encode, decode, generate, reconstruct, interpolate, translate, complete."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ganvae import config
from ganvae.errors import ConfigError, RangeError
from ganvae.models import card, directory, hub, priors
from ganvae.models.info import ModelInfo
from ganvae.networks.code_prior import CodePrior
from ganvae.types import Condition, Noise, Posterior

Label = str | int | Tensor | None
"""A class by name or number, or the class number of every image, (B,)."""

BLOCK = 64
"""Random numbers are drawn for this many consecutive images at once."""


class Model(hub.HubMixin):
    """What is left after training: the networks that inference needs, and their description.

    networks: modules by role; those that inference does not need are left out. They are put into
        evaluation mode, and otherwise used as they are
    info: what they are

    Every result is a function of the arguments alone: how many images are asked for at once, and
    in which batches, changes no more than the last bits of a float. Nothing here keeps gradients.
    Raises ConfigError where the generator or the prior is missing.
    """

    def __init__(self, networks: Mapping[str, nn.Module], info: ModelInfo):
        roles = directory.roles_of(info)
        self.networks = {role: networks[role] for role in roles if role in networks}
        self.info = info
        needed = [info.generator, "prior", info.prior]
        needed += [info.decoder] if "encoder" in networks else []
        missing = [role for role in dict.fromkeys(needed) if role not in self.networks]
        if missing:
            raise ConfigError(f"a model needs a network for {', '.join(missing)}")
        for module in self.networks.values():
            module.eval()
        self.device = _device(self.networks.values())

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.shape))
        return f"Model({self.info.objective}, {shape}, latent {self.latent}, {self.device})"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        return self.info.shape.image

    @property
    def latent(self) -> int:
        """Dimensions of z."""
        return self.info.shape.latent

    @property
    def prior(self) -> Any:
        """The p(z) that is sampled: has ``sample(noise, *condition)`` and ``log_prob(z)``."""
        return self.networks[self.info.prior]

    @property
    def priors(self) -> dict[str, str]:
        """The roles of the priors that can be sampled, by name; the one trained with is first."""
        return priors.available(self.networks)

    @property
    def parameters(self) -> int:
        """Number of weights, buffers not counted."""
        return sum(p.numel() for net in self.networks.values() for p in net.parameters())

    def to(self, device: torch.device | str) -> Model:
        """Moves the networks to a device, their convolutions to channels-last. Returns itself."""
        for module in self.networks.values():
            module.to(device)
            for parameter in module.parameters():
                if parameter.ndim == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self.device = torch.device(device)
        return self

    # -- between images and latents ------------------------------------------------------------

    @torch.inference_mode()
    def encode(self, x: Tensor, label: Label = None, *, batch: int = 256) -> Posterior:
        """q(z|x) of images of shape (B, C, H, W) in [-1, 1].

        label: of a class-conditional model: the class of every image, see :meth:`labels`
        Raises ConfigError for a model without an encoder, ValueError for other images.
        """
        encoder = self._encoder("encode")
        x, c = self._images(x), self._told(label, len(x))
        parts = [encoder(self._placed(part), *told) for part, told in _split(x, batch, c)]
        wrong = [part for part in parts if not isinstance(part, Posterior)]
        if wrong:
            raise ConfigError(
                f"the encoder must return a ganvae.types.Posterior, got {type(wrong[0]).__name__}"
            )
        if not parts:
            empty = x.new_empty(0, self.latent, device=self.device)
            return Posterior(empty, empty.clone())
        return Posterior.cat(parts)

    @torch.inference_mode()
    def decode(self, z: Tensor, label: Label = None, *, batch: int = 256) -> Tensor:
        """The image that the decoder makes of each z: of shape (B, latent) to (B, C, H, W)."""
        return self._images_of(self.info.decoder, z, label, batch)

    @torch.inference_mode()
    def render(self, z: Tensor, label: Label = None, *, batch: int = 256) -> Tensor:
        """The image that the generator makes of each z: of shape (B, latent) to (B, C, H, W)."""
        return self._images_of(self.info.generator, z, label, batch)

    @torch.inference_mode()
    def log_likelihood(self, x: Tensor, z: Tensor, label: Label = None) -> Tensor | None:
        """log p(x|z) in nats, shape (B,), or None for a model that has no likelihood."""
        if "likelihood" not in self.networks:
            return None
        self._check_shape(x)
        return self.networks["likelihood"](self.decode(z, label), self._placed(x))

    # -- new images ----------------------------------------------------------------------------

    @torch.inference_mode()
    def labels(
        self, n: int, label: Label = None, *, seed: int = 0, start: int = 0
    ) -> Tensor | None:
        """The classes of new images ``start`` to ``start + n``: (n,), or None without classes.

        label: a class's name or number for all of them, a number for each, (n,); unset: each
            image's own by chance, as often as among the training images
        Raises ConfigError for a class that does not exist or a model that knows none.
        """
        if label is not None or not self.info.classes:
            return next(iter(self._told(label, n)), None)
        shares = torch.tensor(self.info.class_shares, dtype=torch.float64).cumsum(0)
        found = []
        for block, rows in _blocks(start, start + n):
            u = Noise(_whole(seed, "seed"), block, 1, total=BLOCK, rows=rows).uniform().double()
            found.append(torch.searchsorted(shares / shares[-1], u, right=True))
        whole = torch.cat(found) if found else torch.empty(0, dtype=torch.long)
        return whole.to(self.device)

    @torch.inference_mode()
    def latents(
        self,
        n: int,
        label: Label = None,
        *,
        seed: int = 0,
        temperature: float = 1.0,
        prior: str | None = None,
        truncation: float | None = None,
        start: int = 0,
    ) -> Tensor:
        """Samples ``start`` to ``start + n`` of the prior, shape (n, latent).

        Sample i of a seed is the same whatever n and start are: numbers are drawn for blocks of
        64 consecutive samples from (seed, block), and the samples asked for are cut out.

        label: see :meth:`labels`
        prior, truncation: see :meth:`generate`
        """
        p = self._prior(prior, truncation)
        n, start, seed = _whole(n, "n"), _whole(start, "start"), _whole(seed, "seed")
        classes = self.labels(n, label, seed=seed, start=start)
        if not (math.isfinite(temperature) and temperature >= 0):
            raise RangeError(f"temperature must be 0 or more, got {temperature}")
        parts: list[Tensor] = []
        for block, rows in _blocks(start, start + n):
            c: Condition = ()
            if classes is not None:  # whole blocks are drawn: those not asked for are of class 0
                c = (classes.new_zeros(BLOCK),)
                at = sum(map(len, parts))
                c[0][rows] = classes[at : at + rows.stop - rows.start]
            noise = self._noise(seed, block)
            if truncation is not None:
                noise = noise.truncated(truncation)
            parts.append(p.sample(noise, *c, temperature=temperature)[rows])
        return torch.cat(parts) if parts else torch.empty(0, self.latent, device=self.device)

    def generate(
        self,
        n: int,
        label: Label = None,
        *,
        seed: int = 0,
        temperature: float = 1.0,
        prior: str | None = None,
        truncation: float | None = None,
        batch: int = 256,
        start: int = 0,
    ) -> Tensor:
        """New images ``start`` to ``start + n`` of a seed: shape (n, C, H, W), in [-1, 1].

        Image i of a seed does not depend on n, start or batch, but for float rounding.

        label: of a class-conditional model: see :meth:`labels`
        temperature: scales the spread of the prior; below 1 more typical, less various images
        prior: "normal", "mixture" or "flow", of those in ``priors``; unset: that of ``info.prior``
        truncation: the normal numbers that z is made of stay within so many standard deviations;
            the smaller, the more typical and less various. Unset: they are not limited
        batch: images computed at once

        Raises ConfigError for a prior that the model does not have.
        """
        self._starts_from_nothing()
        classes = self.labels(n, label, seed=seed, start=start)
        z = self.latents(
            n, classes, seed=seed, temperature=temperature, prior=prior, truncation=truncation,
            start=start,
        )  # fmt: skip
        return self.render(z, classes, batch=batch)

    def offer(self, fitted: Mapping[str, nn.Module], chosen: str | None = None) -> Model:
        """Takes priors by role, see :func:`ganvae.models.priors.fit_priors`. Returns itself.

        chosen: the name of the prior that is sampled from now on where none is named
        """
        kinds = {role: priors.KINDS[name] for name, role in priors.ROLES.items() if role in fitted}
        self.networks |= {role: module.eval() for role, module in fitted.items()}
        self.info = replace(self.info, kinds=self.info.kinds | kinds)
        if chosen is not None:
            role: Any = self.priors[chosen]
            self.info = replace(self.info, prior=role)
        return self

    # -- from images to images -----------------------------------------------------------------

    @torch.inference_mode()
    def reconstruct(
        self,
        x: Tensor,
        label: Label = None,
        *,
        seed: int | None = None,
        batch: int = 256,
        start: int = 0,
    ) -> Tensor:
        """Images of shape (B, C, H, W) in [-1, 1] encoded and decoded again, the same shape.

        label: of a class-conditional model: the class of every image
        seed: unset: from the posterior's mean; else from a sample z ~ q(z|x), which for image i
            depends on (seed, start + i) alone
        """
        q = self.encode(x, label, batch=batch)
        z = q.mean if seed is None else self._sampled(q, seed, start)
        return self.decode(z, label, batch=batch)

    @torch.inference_mode()
    def interpolate(
        self,
        a: Tensor,
        b: Tensor,
        steps: int = 8,
        label: Label = None,
        *,
        path: Interpolation | None = None,
        batch: int = 256,
    ) -> Tensor:
        """Images on the way from ``a`` to ``b``, both included: shape (steps, C, H, W).

        a, b: one latent each, shape (latent,), rendered by the generator; or one image each, shape
            (C, H, W) in [-1, 1], encoded and then decoded by the decoder. Several at once, (B, …),
            give (B, steps, C, H, W)
        label: of a class-conditional model: one class for all
        path: a function of (a, b, t); unset: :func:`spherical`
        """
        if steps < 2:
            raise RangeError(f"an interpolation needs at least 2 steps, got {steps}")
        _refuse_others(a, b)
        if a.shape != b.shape or a.ndim not in (1, 2, 3, 4):
            raise ValueError(f"the ends have shapes {tuple(a.shape)} and {tuple(b.shape)}")
        if a.ndim in (1, 3):
            return self.interpolate(a[None], b[None], steps, label, path=path, batch=batch)[0]
        ask = self.render
        if a.ndim == 4:
            ask, a, b = self.decode, *(self.encode(x, label, batch=batch).mean for x in (a, b))
        a, b = self._latents(a), self._latents(b)
        way = torch.linspace(0, 1, steps, device=self.device)
        z = torch.stack([(path or spherical)(a, b, t) for t in way], 1)
        return ask(z.flatten(0, 1), label, batch=batch).unflatten(0, (len(a), steps))

    # -- from a source to images ---------------------------------------------------------------

    @torch.inference_mode()
    def translate(
        self,
        source: Tensor,
        variants: int = 1,
        *,
        seed: int = 0,
        reverse: bool = False,
        batch: int = 64,
        start: int = 0,
    ) -> Tensor:
        """The images that each source becomes: shape (B, variants, C, H, W), in [-1, 1].

        Variant v of source i depends on (seed, start + i, v) alone. Of pairs it has a z of its own
        from the prior; of unpaired sets it is a sample of q(z|source).

        source: shape (B, S, H, W) in [-1, 1]; H and W may be others than in training where the
            model learnt from pairs
        reverse: from images (B, C, H, W) to sources, where the model learnt from unpaired sets

        Raises ConfigError for a model of another task, ValueError for other images.
        """
        self._trained_to("translate")
        shape, G = self.info.shape, self.networks[self.info.generator]
        if self.info.paired:
            if reverse:
                raise ConfigError(
                    "this model learnt from pairs, which have one direction: train another one "
                    "with source/ and target/ exchanged"
                )
            given = (self._source(source, shape.source),)
            return self._variants(G, given, self.prior.sample, variants, seed, batch, start)
        size = (shape.height, shape.width)
        x = self._source(source, shape.channels if reverse else shape.source, size)
        E = self._encoder("translate")
        found = [E(self._placed(part), source=not reverse) for part, _ in _split(x, batch, ())]
        found = found or [Posterior(*[x.new_empty(0, self.latent)] * 2)]
        q = (torch.cat([q.mean for q in found]), torch.cat([q.std for q in found]))

        def across(noise: Tensor, mean: Tensor, std: Tensor) -> Tensor:
            made: Tensor = G(mean + std * noise, source=reverse)
            return made

        return self._variants(across, q, self._normal, variants, seed, batch, start)

    @torch.inference_mode()
    def complete(
        self,
        x: Tensor,
        mask: Tensor,
        variants: int = 1,
        *,
        seed: int = 0,
        batch: int = 64,
        start: int = 0,
    ) -> Tensor:
        """The images with their holes filled in: shape (B, variants, C, H, W), in [-1, 1].

        Known pixels come out as they went in, to the last bit. Variant v of image i depends on
        (seed, start + i, v) alone.

        x: shape (B, C, H, W), in [-1, 1] outside the holes, of any H and W
        mask: shape (B, 1, H, W), bool or 0 and 1; 1 is filled in

        Raises ConfigError for a model of another task; ValueError for other images, for a mask of
        another size, and for one that is empty or full.
        """
        self._trained_to("complete")
        hole, x = _hole(mask, x).to(self.device), x.to(self.device)
        known = self._source(torch.where(hole, 0.0, x), self.info.shape.channels)
        given = (torch.cat([known, hole.to(known)], 1),)
        G = self.networks[self.info.generator]
        made = self._variants(G, given, self.prior.sample, variants, seed, batch, start)
        return torch.where(hole[:, None], made, x[:, None])

    # -- files ---------------------------------------------------------------------------------

    def save(self, folder: str | Path, *, scores: Mapping[str, Any] | None = None) -> Path:
        """Write config.json, model.safetensors and README.md to a directory, whole or not at all.

        scores: what :func:`ganvae.metrics.evaluate` found, for the model card
        Raises ConfigError, CheckpointError or DivergedError, and leaves what was there.
        """
        folder = Path(folder)
        directory.write(folder, self.networks, self.info, self.card(scores))
        return folder

    def card(self, scores: Mapping[str, Any] | None = None) -> str:
        """The model card as Markdown with the Hub's front matter."""
        encodes = "encoder" in self.networks
        return card.text(self.info, encodes=encodes, parameters=self.parameters, scores=scores)

    @classmethod
    def load(
        cls,
        path: str | Path,
        networks: Mapping[str, nn.Module] | None = None,
        device: torch.device | str = "cpu",
    ) -> Model:
        """A model from its directory, a run's directory, or the Hub ("owner/name[@revision]").

        networks: the modules for roles that were the user's own (``info.custom``); the weights
            are loaded into these very modules
        Raises ConfigError where there is no model or it is not understood, CheckpointError where
        it is damaged. Nothing in a file is ever executed.
        """
        return cls(*directory.read(hub.locate(path), networks)).to(device)

    # -- inside --------------------------------------------------------------------------------

    def _prior(self, name: str | None, truncation: float | None) -> Any:
        """The network of a prior by its name."""
        known = self.priors
        if name is not None and name not in known:
            raise ConfigError(
                f"this model has no prior {name!r}{config.suggest(name, list(known))}"
            )
        found = self.networks[self.info.prior if name is None else known[name]]
        if truncation is None:
            return found
        if not 0 < truncation < math.inf:
            raise RangeError(f"truncation must be above 0, got {truncation}")
        if isinstance(found, CodePrior):
            raise ConfigError(
                "this model's prior draws codes, not normal numbers, so there is nothing to "
                "truncate; a temperature below 1 makes more typical images"
            )
        return found

    def _encoder(self, verb: str) -> nn.Module:
        if "encoder" not in self.networks:
            raise ConfigError(
                f"this model was trained as {self.info.objective!r} and has no encoder, so it "
                f"cannot {verb} images; train one with --objective gan_vae, vae or vae_gan"
            )
        return self.networks["encoder"]

    def _trained_to(self, task: str) -> None:
        if self.info.task != task:
            raise ConfigError(
                f"this model was trained to {self.info.task} images and cannot {task} them: train "
                f"one with --task {task}"
            )

    def _starts_from_nothing(self) -> None:
        if self.info.task != "generate":
            raise ConfigError(
                f"this model was trained to {self.info.task} images and needs one to start from: "
                f"`ganvae {self.info.task}` does that; or train one with --task generate"
            )

    def _source(self, x: Tensor, channels: int, size: tuple[int, int] | None = None) -> Tensor:
        _refuse_others(x)
        if x.ndim != 4 or x.shape[1] != channels or size not in (None, tuple(x.shape[2:])):
            wanted = ", ".join(map(str, size or ("H", "W")))
            raise ValueError(
                f"this model starts from images of shape (B, {channels}, {wanted}), got "
                f"{tuple(x.shape)}"
            )
        return _in_range(x)

    def _normal(self, noise: Noise) -> Tensor:
        return noise.normal(self.latent)

    def _variants(
        self,
        make: Callable[..., Tensor],
        given: tuple[Tensor, ...],
        draw: Callable[[Noise], Tensor],
        variants: int,
        seed: int,
        batch: int,
        start: int,
    ) -> Tensor:
        """make(z, *given) for ``variants`` drawn z: (B, variants, C, H, W)."""
        seed, start = _whole(seed, "seed"), _whole(start, "start")
        if _whole(variants, "variants") < 1:
            raise RangeError("variants must be 1 or more, got 0")
        made: list[Tensor] = []
        for first, rest in _split(given[0], batch, given[1:]):
            parts = [self._placed(part) for part in (first, *rest)]
            several = []
            for v in range(variants):
                z = [
                    draw(Noise(seed, block, v, 2, total=BLOCK, device=self.device))[rows]
                    for block, rows in _blocks(start, start + len(first))
                ]
                several.append(make(torch.cat(z), *parts))
            made.append(torch.stack(several, 1))
            start += len(first)
        if not made:
            return torch.empty(0, variants, *self.shape, device=self.device)
        return torch.cat(made)

    def _check_shape(self, x: Tensor) -> None:
        _refuse_others(x)
        if x.ndim != 4 or tuple(x.shape[1:]) != self.shape:
            raise ValueError(
                f"this model takes images of shape (B, {', '.join(map(str, self.shape))}), got "
                f"{tuple(x.shape)}"
            )

    def _images(self, x: Tensor) -> Tensor:
        self._check_shape(x)
        return _in_range(x)

    def _latents(self, z: Tensor) -> Tensor:
        _refuse_others(z)
        if z.ndim != 2 or z.shape[1] != self.latent:
            raise ValueError(
                f"this model takes latents of shape (B, {self.latent}), got {tuple(z.shape)}"
            )
        return z.to(self.device, torch.float32)

    def _placed(self, x: Tensor) -> Tensor:
        x = x.to(self.device, torch.float32)
        return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x

    def refuse_other_classes(self, met: Sequence[str]) -> None:
        """Raises ConfigError where class numbers of images mean something else to the model.

        met: the names of the images' classes by number; empty where they have none
        """
        known = list(self.info.classes)
        if known and list(met) != known:
            raise ConfigError(
                f"the model's classes are {', '.join(known)}, those of the images "
                f"{', '.join(met) or 'unknown'}: give images of the same classes"
            )

    def _told(self, label: Label, n: int) -> Condition:
        """What the networks are told of the classes of n images."""
        names = self.info.classes
        if label is None and not names:
            return ()
        if not names:
            raise ConfigError("this model knows no classes: train one with --data.labels")
        learnt = self.info.learnt_classes
        if label is None:
            raise ConfigError(f"this model needs to know the class: one of {', '.join(learnt)}")
        if isinstance(label, str):
            number = names.index(label) if label in names else None
            named = any(name.isdecimal() for name in names)  # then a number is a name
            if number is None and label.isdecimal() and int(label) < len(names) and not named:
                number = int(label)
            if number is None:
                raise ConfigError(f"no class {label!r}{config.suggest(label, list(learnt))}")
            label = number
        numbers = torch.as_tensor(label, device=self.device).long().expand(n)
        if n and not 0 <= int(numbers.min()) <= int(numbers.max()) < len(names):
            raise ConfigError(f"classes are numbered 0 to {len(names) - 1}, got {numbers.max()}")
        if len(learnt) < len(names):
            self._refuse_unlearnt(numbers)
        return (numbers,)

    def _refuse_unlearnt(self, numbers: Tensor) -> None:
        """Raises ConfigError for classes that had no training image."""
        shares = torch.tensor(self.info.class_shares, device=numbers.device)
        if (wrong := numbers[shares[numbers] == 0]).numel():
            name = self.info.classes[int(wrong[0])]
            raise ConfigError(
                f"the class {name!r} was never learnt, as it had no training image: choose one of "
                f"{', '.join(self.info.learnt_classes)}"
            )

    def _images_of(self, role: str, z: Tensor, label: Label, batch: int) -> Tensor:
        if role not in self.networks:
            raise ConfigError(f"this model has no {role}")
        if self.info.paired:
            self._starts_from_nothing()
        net, z = self.networks[role], self._latents(z)
        parts = [net(part, *told) for part, told in _split(z, batch, self._told(label, len(z)))]
        for part in parts:
            if tuple(part.shape[1:]) != self.shape:
                raise ConfigError(
                    f"the {role} made images of shape {tuple(part.shape)}, should be "
                    f"(B, {', '.join(map(str, self.shape))})"
                )
        return torch.cat(parts) if parts else torch.empty(0, *self.shape, device=self.device)

    def _noise(self, seed: int, block: int, rows: slice | None = None) -> Noise:
        return Noise(seed, block, total=BLOCK, rows=rows, device=self.device)

    def _sampled(self, q: Posterior, seed: int, start: int) -> Tensor:
        seed, start = _whole(seed, "seed"), _whole(start, "start")
        parts, at = [], 0
        for block, rows in _blocks(start, start + len(q.mean)):
            own = slice(at, at + rows.stop - rows.start)
            noise = self._noise(seed, block, rows)
            parts.append(q.rows(own).rsample(noise))
            at = own.stop
        return torch.cat(parts) if parts else q.mean


Interpolation = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From (a, b, t), two latents of shape (B, d) and t in [0, 1], to the point on the way."""


def linear(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """(1 − t) a + t b."""
    return (1 - t) * a + t * b


def spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Along the arc between the directions of ``a`` and ``b``, while the length changes linearly.

    Where there is no one arc (parallel, opposite or zero vectors): along the straight line.

    | Sampling Generative Networks (White, 2016) | https://arxiv.org/abs/1609.04468
    """
    length_a, length_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    unit_a, unit_b = a / length_a.clamp(min=1e-12), b / length_b.clamp(min=1e-12)
    # the angle by 2 atan2(|u − v|, |u + v|): exact for small and for large ones, unlike acos
    angle = 2 * torch.atan2((unit_a - unit_b).norm(dim=1), (unit_a + unit_b).norm(dim=1))[:, None]
    sine = angle.sin()
    direction = (((1 - t) * angle).sin() * unit_a + (t * angle).sin() * unit_b) / sine
    arc = direction * linear(length_a, length_b, t)
    none = (sine.abs() < 1e-4) | (length_a == 0) | (length_b == 0)
    return torch.where(none, linear(a, b, t), arc)


def _device(modules: Any) -> torch.device:
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            return tensor.device
    return torch.device("cpu")


def _refuse_others(*given: object) -> None:
    """Raises ConfigError for what is no tensor: paths, pictures, arrays."""
    for value in given:
        if not isinstance(value, Tensor):
            raise ConfigError(
                f"a model takes tensors, got {type(value).__name__}: ganvae.tasks has the same "
                "verbs for files, and ganvae.models.images.to_tensor makes images in [-1, 1] of "
                "8-bit arrays (B, H, W, C)"
            )


def _in_range(x: Tensor) -> Tensor:
    if not x.is_floating_point():
        raise ValueError(f"images must be floating point in [-1, 1], got {x.dtype}")
    if x.numel() and not float(x.abs().amax()) <= 1.001:  # NaN is refused, too
        raise ValueError(
            f"images must be in [-1, 1], got values from {float(x.amin()):.4g} to "
            f"{float(x.amax()):.4g}"
        )
    return x


def _hole(mask: Tensor, x: Tensor) -> Tensor:
    """The mask as booleans. Raises ValueError where it does not fit the images or is all alike."""
    _refuse_others(mask, x)
    wanted = (len(x), 1, *x.shape[2:])
    if x.ndim != 4 or tuple(mask.shape) != wanted:
        raise ValueError(
            f"images of shape {tuple(x.shape)} need a mask of shape (B, 1, H, W) of the same "
            f"size, got {tuple(mask.shape)}"
        )
    if mask.dtype != torch.bool and not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError("a mask holds 0 where a pixel is known and 1 where it is to be filled in")
    hole = mask.bool()
    for i, marked in enumerate(hole.flatten(1)):
        if not bool(marked.any()):
            raise ValueError(f"the mask of image {i} is empty: it must mark what to fill in")
        if bool(marked.all()):
            raise ValueError(f"the mask of image {i} is full: some pixels must be known")
    return hole


def _split(x: Tensor, batch: int, c: Condition) -> Iterator[tuple[Tensor, Condition]]:
    """Batches, and what belongs to each."""
    if batch < 1:
        raise RangeError(f"batch must be positive, got {batch}")
    for start in range(0, len(x), batch):
        rows = slice(start, start + batch)
        yield x[rows], tuple(told[rows] for told in c)


def _blocks(start: int, stop: int) -> Iterator[tuple[int, slice]]:
    """The blocks that cover samples ``start`` to ``stop``, and each one's rows."""
    while start < stop:
        block, first = divmod(start, BLOCK)
        last = min(BLOCK, first + stop - start)
        yield block, slice(first, last)
        start += last - first


def _whole(value: int, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise RangeError(f"{name} must be a whole number, 0 or more, got {value!r}")
    return int(value)
