"""A trained model: encode, decode, generate, reconstruct, interpolate, translate, complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganvae import config
from ganvae.errors import ConfigError
from ganvae.models import card, checks, directory, draws, forward, hub, prior_names
from ganvae.models.checks import Label
from ganvae.models.info import ModelInfo
from ganvae.models.paths import Interpolation, linear, spherical, steps_between
from ganvae.models.plain import Plain
from ganvae.types import Noise, Posterior

__all__ = ["Interpolation", "Label", "Model", "linear", "spherical"]

FROM = "starts from images"


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
        required = [info.generator, "prior", info.prior]
        required += [info.decoder] if "encoder" in networks else []
        missing = [role for role in dict.fromkeys(required) if role not in self.networks]
        if missing:
            raise ConfigError(f"a model needs a network for {', '.join(missing)}")
        for module in self.networks.values():
            module.eval()
        self.device = forward.device_of(self.networks.values())

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
        return prior_names.available(self.networks)

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
        x, classes = self._encodable(x, label)
        return self._encode(x, classes, batch)

    @torch.inference_mode()
    def decode(self, z: Tensor, label: Label = None, *, batch: int = 256) -> Tensor:
        """The image that the decoder makes of each z: of shape (B, latent) to (B, C, H, W)."""
        return self._images_of(self.info.decoder, *self._decodable(z, label), batch)

    @torch.inference_mode()
    def render(self, z: Tensor, label: Label = None, *, batch: int = 256) -> Tensor:
        """The image that the generator makes of each z: of shape (B, latent) to (B, C, H, W)."""
        return self._images_of(self.info.generator, *self._decodable(z, label), batch)

    @torch.inference_mode()
    def log_likelihood(self, x: Tensor, z: Tensor, label: Label = None) -> Tensor | None:
        """log p(x|z) in nats, shape (B,), or None for a model that has no likelihood."""
        if "likelihood" not in self.networks:
            return None
        checks.shaped(x, self.shape)
        return self.networks["likelihood"](self.decode(z, label), forward.placed(x, self.device))

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
        n, start = checks.whole(n, "n"), checks.whole(start, "start")
        seed = checks.whole(seed, "seed")
        if label is not None or not self.info.classes:
            return checks.classes(self.info, label, n, self.device)
        return draws.classes(self.info.class_shares, n, seed, start).to(self.device)

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
        classes = self.labels(n, label, seed=seed, start=start)
        return self._draw(n, classes, prior, truncation, seed, temperature, start)

    @torch.inference_mode()
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
        checks.starts_from_nothing(self.info)
        classes = self.labels(n, label, seed=seed, start=start)
        z = self._draw(n, classes, prior, truncation, seed, temperature, start)
        return self._images_of(self.info.generator, z, classes, batch)

    def offer(self, fitted: Mapping[str, nn.Module], chosen: str | None = None) -> Model:
        """Takes priors by role, see :func:`ganvae.models.fitting.fit_priors`. Returns itself.

        chosen: the name of the prior that is sampled from now on where none is named
        """
        kinds = {
            role: prior_names.KINDS[name]
            for name, role in prior_names.ROLES.items()
            if role in fitted
        }
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
        x, classes = self._encodable(x, label)
        q = self._encode(x, classes, batch)
        z = q.mean
        if seed is not None:
            z = draws.posterior(q, checks.whole(seed, "seed"), checks.whole(start, "start"))
        return self._images_of(self.info.decoder, z, classes, batch)

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
        checks.tensors(a, b)
        if a.shape != b.shape or a.ndim not in (1, 2, 3, 4):
            raise ValueError(f"the ends have shapes {tuple(a.shape)} and {tuple(b.shape)}")
        if a.ndim in (1, 3):
            return self.interpolate(a[None], b[None], steps, label, path=path, batch=batch)[0]
        number = checks.classes(self.info, label, 1, self.device)

        def classes(n: int) -> Tensor | None:
            return None if number is None else number.expand(n)

        role = self.info.generator
        if a.ndim == 4:
            role, ends = self.info.decoder, (checks.images(x, self.shape) for x in (a, b))
            a, b = (self._encode(x, classes(len(x)), batch).mean for x in ends)
        checks.shaped(a, (self.latent,), "takes latents")
        a, b = (z.to(self.device, torch.float32) for z in (a, b))
        z = steps_between(a, b, steps, path or spherical).flatten(0, 1)
        return self._images_of(role, z, classes(len(z)), batch).unflatten(0, (len(a), steps))

    # -- from source images to images --------------------------------------------------------

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
        checks.trained_to(self.info, "translate")
        checks.has_direction(self.info, reverse)
        shape, G = self.info.shape, self.networks[self.info.generator]
        if self.info.paired:
            c = (checks.images(source, (shape.source, "H", "W"), FROM),)
            return forward.variants(
                G, self.prior.sample, c, variants, seed, batch, start, self.device, self.shape
            )
        channels = shape.channels if reverse else shape.source
        x = checks.images(source, (channels, shape.height, shape.width), FROM)
        encoder = partial(self._encoder("translate"), source=not reverse)
        posterior = forward.posteriors(encoder, x, None, batch, self.device, self.latent)
        q = (posterior.mean, posterior.std)

        def across(noise: Tensor, mean: Tensor, std: Tensor) -> Tensor:
            images: Tensor = G(mean + std * noise, source=reverse)
            return images

        def normal(noise: Noise) -> Tensor:
            return noise.normal(self.latent)

        return forward.variants(
            across, normal, q, variants, seed, batch, start, self.device, self.shape
        )

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
        checks.trained_to(self.info, "complete")
        hole, x = checks.hole(mask, x).to(self.device), x.to(self.device)
        pixels = checks.images(torch.where(hole, 0.0, x), (self.shape[0], "H", "W"), FROM)
        c = (torch.cat([pixels, hole.to(pixels)], 1),)
        G = self.networks[self.info.generator]
        images = forward.variants(
            G, self.prior.sample, c, variants, seed, batch, start, self.device, self.shape
        )
        return torch.where(hole[:, None], images, x[:, None])

    def of_sources(
        self, source: Tensor, variants: int = 1, *, seed: int = 0, start: int = 0
    ) -> Tensor:
        """What the model was trained to make of sources, by :meth:`complete` or :meth:`translate`.

        source: as in training, (B, S, H, W); to complete: the known pixels, and 1 in the hole as
            the last channel

        Shape (B, variants, C, H, W), in [-1, 1].
        """
        if self.info.verb == "complete":
            pixels, hole = source[:, :-1], source[:, -1:] > 0
            return self.complete(pixels, hole, variants, seed=seed, start=start)
        return self.translate(source, variants, seed=seed, start=start)

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

    def refuse_other_classes(self, names: Sequence[str]) -> None:
        """Raises ConfigError where class numbers of images mean something else to the model.

        names: of the images' classes by number; empty where they have none
        """
        checks.same_classes(self.info, names)

    # -- for exports ---------------------------------------------------------------------------

    def module(self, role: str, *, source: bool = False) -> nn.Module:
        """A network by itself, tensors in and out, as ONNX, TorchScript and torch.export take it.

        It is a copy in evaluation mode, whose weights keep no gradients.

        * ``encoder``: images (B, C, H, W) in [-1, 1] to the mean and the log-variance of q(z|x),
          each (B, latent). Where z is made of codes: to z, (B, latent), and the codes' numbers,
          int64 of shape (B, cells)
        * ``decoder``, ``generator``: z, (B, latent), to images (B, C, H, W) in [-1, 1]

        Of a class-conditional model each has a second argument, the classes, int64 of shape (B,).
        The generator of a model that learnt from pairs or completes has another: the source images
        (B, S, H, W) in [-1, 1]; to complete, these are images with 0 in their holes, and the holes
        as one more channel of 0 and 1.

        source: where the model learnt from unpaired sets: the encoder of source images, or the
            decoder of z to them

        Raises ConfigError for a role that the model does not have. A discriminator is left out of
        a model: that of a training, images (B, C, H, W) to logits (B,) or (B, h, w), is
        ``ganvae.models.plain.Plain(networks["discriminator"])``.
        """
        roles = [
            name
            for name in dict.fromkeys(("encoder", self.info.decoder, self.info.generator))
            if name in self.networks
        ]
        if role not in roles:
            raise ConfigError(f"this model has no {role!r} to export, but {', '.join(roles)}")
        if source and self.info.paired is not False:
            raise ConfigError("only a model of unpaired sets has networks of source images")
        return Plain(self.networks[role], **({"source": True} if source else {}))

    # -- inside --------------------------------------------------------------------------------

    def _prior(self, name: str | None) -> Any:
        """The network of a prior by its name."""
        if name is None:
            return self.prior
        roles = self.priors
        if name not in roles:
            raise ConfigError(
                f"this model has no prior {name!r}{config.suggest(name, list(roles))}"
            )
        return self.networks[roles[name]]

    def _encoder(self, verb: str) -> nn.Module:
        if "encoder" not in self.networks:
            raise ConfigError(
                f"this model was trained as {self.info.objective!r} and has no encoder, so it "
                f"cannot {verb} images; train one with --objective gan_vae, vae or vae_gan"
            )
        return self.networks["encoder"]

    def _encodable(self, x: Tensor, label: Label) -> tuple[Tensor, Tensor | None]:
        """Images and their classes, checked."""
        self._encoder("encode")
        checks.images(x, self.shape)
        return x, checks.classes(self.info, label, len(x), self.device)

    def _decodable(self, z: Tensor, label: Label) -> tuple[Tensor, Tensor | None]:
        """Latents and their classes, checked."""
        checks.shaped(z, (self.latent,), "takes latents")
        return z, checks.classes(self.info, label, len(z), self.device)

    def _encode(self, x: Tensor, classes: Tensor | None, batch: int) -> Posterior:
        """q(z|x) of checked images."""
        encoder = self._encoder("encode")
        return forward.posteriors(encoder, x, classes, batch, self.device, self.latent)

    def _draw(
        self,
        n: int,
        classes: Tensor | None,
        prior: str | None,
        truncation: float | None,
        seed: int,
        temperature: float,
        start: int,
    ) -> Tensor:
        """Samples of a prior, of checked classes."""
        network = self._prior(prior)
        checks.truncation(truncation, network)
        checks.temperature(temperature)
        parts = draws.latents(
            network, int(n), classes, int(seed), temperature=temperature, truncation=truncation,
            start=int(start), device=self.device,
        )  # fmt: skip
        return torch.cat(parts) if parts else torch.empty(0, self.latent, device=self.device)

    def _images_of(self, role: str, z: Tensor, classes: Tensor | None, batch: int) -> Tensor:
        """Images of the decoder or generator, from checked latents and classes."""
        if role not in self.networks:
            raise ConfigError(f"this model has no {role}")
        if self.info.paired:
            checks.starts_from_nothing(self.info)
        network = self.networks[role]
        return forward.images(network, z, classes, batch, self.device, self.shape, role)
