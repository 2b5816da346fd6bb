"""Networks with plain tensors in and out, as ONNX, TorchScript and torch.export take them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from ganvae.errors import ConfigError
from ganvae.networks.quantizer import Quantised
from ganvae.types import Posterior


class Plain(nn.Module):
    """A copy of a network whose results are tensors; see :meth:`ganvae.models.Model.module`.

    What is done to it (``half``, ``to``) leaves the network as it is. Its weights keep no
    gradients.

    network: an encoder, a decoder or generator, or a discriminator
    options: keywords of its calls, such as ``source=True``
    """

    def __init__(self, network: nn.Module, **options: Any):
        super().__init__()
        self.network, self.options = deepcopy(network), options
        self.eval().requires_grad_(False)

    def forward(
        self, x: Tensor, condition: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Of images (B, C, H, W) or latents (B, d), and classes (B,) or a source (B, S, H, W)."""
        inputs = [
            tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
            for tensor in (x, condition)
            if tensor is not None
        ]
        result = self.network(*inputs, **self.options)
        if isinstance(result, Quantised):
            return result.mean, result.codes
        if isinstance(result, Posterior):
            return result.mean, result.logvar
        if isinstance(result, Tensor):
            return result
        raise ConfigError(
            f"a network must return tensors or a ganvae.types.Posterior, got "
            f"{type(result).__name__}"
        )
