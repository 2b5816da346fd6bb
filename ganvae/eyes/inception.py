"""FID's InceptionV3: the TensorFlow network of 2015, whose pooled 2048 features define the FID.

It differs from later InceptionV3s: average pooling leaves the border's padding out, the last block
pools by the maximum, and its classifier has 1008 outputs. Module names are those of the published
PyTorch weights file, which is read where the user has put it; nothing is downloaded from here.

| GANs Trained by a Two Time-Scale Update Rule (Heusel et al., 2017)
| https://arxiv.org/abs/1706.08500
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d, relu

from ganvae.errors import ConfigError

VARIABLE = "GANVAE_INCEPTION"
FILES = (
    "pt_inception-2015-12-05-6726825d.pth",
    "weights-inception-2015-12-05-6726825d.pth",
)
DIGEST = "6726825d"
"""First digits of the published file's sha256."""
URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{FILES[0]}"

Size = int | tuple[int, int]


class Conv(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, before: int, after: int, kernel: Size, stride: int = 1, padding: Size = 0):
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(after, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) to (B, after, h, w)."""
        return relu(self.bn(self.conv(x)), inplace=not torch.is_grad_enabled())


def _average(x: Tensor) -> Tensor:
    return avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _maximum(x: Tensor) -> Tensor:
    return max_pool2d(x, 3, 1, 1)


class MixedA(nn.Module):
    """Mixed_5b to 5d: 1×1, 5×5, double 3×3 and pooled branches."""

    def __init__(self, before: int, pooled: int):
        super().__init__()
        self.branch1x1 = Conv(before, 64, 1)
        self.branch5x5_1 = Conv(before, 48, 1)
        self.branch5x5_2 = Conv(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Conv(before, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, padding=1)
        self.branch_pool = Conv(before, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) to (B, 224 + pooled, H, W)."""
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat((self.branch1x1(x), five, three, self.branch_pool(_average(x))), 1)


class MixedB(nn.Module):
    """Mixed_6a: halves the resolution."""

    def __init__(self, before: int):
        super().__init__()
        self.branch3x3 = Conv(before, 384, 3, 2)
        self.branch3x3dbl_1 = Conv(before, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) to (B, 480 + before, h, w)."""
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat((self.branch3x3(x), three, max_pool2d(x, 3, 2)), 1)


class MixedC(nn.Module):
    """Mixed_6b to 6e: 7×7 convolutions as 1×7 and 7×1."""

    def __init__(self, before: int, inner: int):
        super().__init__()
        self.branch1x1 = Conv(before, 192, 1)
        self.branch7x7_1 = Conv(before, inner, 1)
        self.branch7x7_2 = Conv(inner, inner, (1, 7), padding=(0, 3))
        self.branch7x7_3 = Conv(inner, 192, (7, 1), padding=(3, 0))
        self.branch7x7dbl_1 = Conv(before, inner, 1)
        self.branch7x7dbl_2 = Conv(inner, inner, (7, 1), padding=(3, 0))
        self.branch7x7dbl_3 = Conv(inner, inner, (1, 7), padding=(0, 3))
        self.branch7x7dbl_4 = Conv(inner, inner, (7, 1), padding=(3, 0))
        self.branch7x7dbl_5 = Conv(inner, 192, (1, 7), padding=(0, 3))
        self.branch_pool = Conv(before, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) to (B, 768, H, W)."""
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat((self.branch1x1(x), seven, double, self.branch_pool(_average(x))), 1)


class MixedD(nn.Module):
    """Mixed_7a: halves the resolution."""

    def __init__(self, before: int):
        super().__init__()
        self.branch3x3_1 = Conv(before, 192, 1)
        self.branch3x3_2 = Conv(192, 320, 3, 2)
        self.branch7x7x3_1 = Conv(before, 192, 1)
        self.branch7x7x3_2 = Conv(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = Conv(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = Conv(192, 192, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) to (B, 512 + before, h, w)."""
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_2(self.branch7x7x3_1(x))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(seven))
        return torch.cat((three, seven, max_pool2d(x, 3, 2)), 1)


class MixedE(nn.Module):
    """Mixed_7b and 7c: the widest blocks; 7c pools by the maximum, as FID's network does."""

    def __init__(self, before: int, maximum: bool):
        super().__init__()
        self.pool = _maximum if maximum else _average
        self.branch1x1 = Conv(before, 320, 1)
        self.branch3x3_1 = Conv(before, 384, 1)
        self.branch3x3_2a = Conv(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = Conv(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = Conv(before, 448, 1)
        self.branch3x3dbl_2 = Conv(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Conv(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = Conv(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = Conv(before, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) to (B, 2048, H, W)."""
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        branches = (
            self.branch1x1(x),
            self.branch3x3_2a(three),
            self.branch3x3_2b(three),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
            self.branch_pool(self.pool(x)),
        )
        return torch.cat(branches, 1)


class InceptionV3(nn.Module):
    """Images to FID's 2048 pooled features; weights are random until :func:`load` brings them."""

    dim = 2048

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3)
        self.Mixed_5b = MixedA(192, 32)
        self.Mixed_5c = MixedA(256, 64)
        self.Mixed_5d = MixedA(288, 64)
        self.Mixed_6a = MixedB(288)
        self.Mixed_6b = MixedC(768, 128)
        self.Mixed_6c = MixedC(768, 160)
        self.Mixed_6d = MixedC(768, 160)
        self.Mixed_6e = MixedC(768, 192)
        self.Mixed_7a = MixedD(768)
        self.Mixed_7b = MixedE(1280, maximum=False)
        self.Mixed_7c = MixedE(2048, maximum=True)
        self.fc = nn.Linear(self.dim, 1008)

    def forward(self, x: Tensor) -> Tensor:
        """Pooled features (B, 2048) of x: (B, 3, 299, 299), RGB, in [-1, 1]."""
        h = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        h = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(max_pool2d(h, 3, 2)))
        h = max_pool2d(h, 3, 2)
        h = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(h)))
        h = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(h)))
        h = self.Mixed_6e(self.Mixed_6d(h))
        return self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(h))).mean((2, 3))


def _candidates() -> Iterator[Path]:
    """Where the weights may lie: torch hub's cache, then every snapshot in the Hub's cache."""
    for name in FILES:
        yield Path(torch.hub.get_dir()) / "checkpoints" / name
    from huggingface_hub.constants import HF_HUB_CACHE

    for name in FILES:
        yield from sorted(Path(HF_HUB_CACHE).glob(f"models--*/snapshots/*/**/{name}"))


def weights() -> Path:
    """The weights file: $GANVAE_INCEPTION, else torch hub's cache, else the Hugging Face cache.

    Raises ConfigError where it is nowhere, or is not the published file.
    """
    told = os.environ.get(VARIABLE)
    if told and not Path(told).is_file():
        raise ConfigError(f"${VARIABLE} names {told}, which is not a file: correct or unset it.")
    path = Path(told) if told else next((p for p in _candidates() if p.is_file()), None)
    if path is None:
        raise ConfigError(
            f"The inception judge needs {FILES[0]}, which is not on this machine: download {URL} "
            f"and set {VARIABLE} to its path, or use the judge efficientnet-lite0."
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if not digest.startswith(DIGEST):
        raise ConfigError(
            f"{path} is not FID's published Inception (sha256 {digest[:8]}…, not {DIGEST}…): "
            f"download {URL} again."
        )
    return path


def load() -> InceptionV3:
    """The network with FID's weights, in eval mode, without gradients.

    Raises ConfigError where the weights are missing or are not this network's.
    """
    path = weights()
    state = torch.load(path, map_location="cpu", weights_only=True)
    net = InceptionV3()
    missing, unexpected = net.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        names = ", ".join((missing + unexpected)[:4])
        raise ConfigError(f"{path} is not FID's Inception: missing or extra tensors ({names}, …).")
    net.eval().requires_grad_(False)
    return net
