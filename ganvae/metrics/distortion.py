"""How near a reconstruction is to its image: per image, by pixels, structure and features."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, normalize

from ganvae.metrics.judge import Judge

PEAK = 100.0
"""dB at which PSNR ends (a mean squared error of 1e-10), so that equal images stay finite."""


def _pair(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    if x.shape != y.shape or x.ndim != 4:
        raise ValueError(
            f"Images must be of one shape (B, C, H, W), got {tuple(x.shape)} and {tuple(y.shape)}."
        )
    return (x.float() + 1) / 2, (y.float() + 1) / 2


def mse(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared error (B,) of images (B, C, H, W) in [-1, 1], of values taken to [0, 1]."""
    x, y = _pair(x, y)
    return (x - y).square().flatten(1).mean(1)


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio (B,) in dB of images (B, C, H, W) in [-1, 1]; at most 100."""
    return -10 * mse(x, y).clamp(min=10 ** (-PEAK / 10)).log10()


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity (B,), at most 1 (equal), of images (B, C, H, W) in [-1, 1].

    Gaussian window of 11 pixels with σ = 1.5 (the largest odd side that fits smaller images),
    only where it lies wholly inside; mean over channels.

    | Image Quality Assessment: From Error Visibility to Structural Similarity (Wang et al., 2004)
    | https://doi.org/10.1109/TIP.2003.819861
    """
    x, y = _pair(x, y)
    b, c, h, w = x.shape
    side = min(11, h - (h + 1) % 2, w - (w + 1) % 2)
    offset = torch.arange(side, device=x.device, dtype=torch.float64) - side // 2
    line = torch.exp(-offset.square() / (2 * 1.5**2))
    line = (line / line.sum())[None, None]

    # in float64 because variances are differences of near-equal squares
    p, q = x.double().reshape(b * c, 1, h, w), y.double().reshape(b * c, 1, h, w)
    means = [
        conv2d(conv2d(part, line[..., None]), line[:, :, None])
        for part in (p, q, p * p, q * q, p * q)
    ]
    p_mean, q_mean, pp, qq, pq = means
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * p_mean * q_mean + c1) / (p_mean**2 + q_mean**2 + c1)
    spread = pp - p_mean**2 + qq - q_mean**2
    structure = (2 * (pq - p_mean * q_mean) + c2) / (spread + c2)
    return (luminance * structure).view(b, -1).mean(1).float()


def perceptual(x: Tensor, y: Tensor, judge: Judge) -> Tensor:
    """Feature distance (B,), in [0, 4], of images (B, C, H, W) in [-1, 1]; 0 if equal.

    At each depth of the judge's network the channels at every place are scaled to unit length;
    squared differences are summed over channels and averaged over places and depths, unweighted.
    It resembles LPIPS but has no weights fitted to people's judgements, so it is not LPIPS.
    """
    _pair(x, y)
    distances = []
    for a, b in zip(judge.taps(x), judge.taps(y), strict=True):
        difference = normalize(a, dim=1) - normalize(b, dim=1)
        distances.append(difference.square().sum(1).flatten(1).mean(1))
    return torch.stack(distances).mean(0)
