import math

import pytest
import torch
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from ganvae.errors import ConfigError
from ganvae.metrics import distortion, judge


@pytest.fixture
def pair(kit):
    x = kit.pictures(6, 1, side=32, channels=3)
    g = torch.Generator().manual_seed(0)
    return x, (x + 0.2 * torch.randn(x.shape, generator=g)).clamp(-1, 1)


def test_equal_images(pair, lite0):
    x, _ = pair
    assert (distortion.mse(x, x) == 0).all()
    assert (distortion.psnr(x, x) == distortion.PEAK).all()
    assert torch.allclose(distortion.ssim(x, x), torch.ones(6))
    assert (distortion.perceptual(x, x, lite0) == 0).all()


def test_mse_and_psnr_by_hand():
    black, white = torch.full((2, 1, 4, 4), -1.0), torch.full((2, 1, 4, 4), 1.0)
    assert torch.equal(distortion.mse(black, white), torch.ones(2))
    assert torch.allclose(distortion.psnr(black, white), torch.zeros(2), atol=1e-5)
    # a tenth of the range off everywhere: MSE .01, 20 dB
    assert torch.allclose(distortion.psnr(black, black + 0.2), torch.full((2,), 20.0))


def test_psnr_and_ssim_agree_with_torchmetrics(pair):
    x, y = pair
    u, v = (x + 1) / 2, (y + 1) / 2
    for i in range(len(x)):
        psnr = peak_signal_noise_ratio(v[i : i + 1], u[i : i + 1], data_range=1.0)
        assert float(distortion.psnr(x, y)[i]) == pytest.approx(float(psnr), rel=1e-4)
    # theirs averages over reflected borders too; the paper's window stays inside
    _, places = structural_similarity_index_measure(
        v, u, data_range=1.0, reduction="none", return_full_image=True
    )
    theirs = places[..., 5:-5, 5:-5].flatten(1).mean(1)
    assert torch.allclose(distortion.ssim(x, y), theirs, atol=1e-4)
    assert theirs.max() < 0.9


def test_ssim_of_constant_images_is_the_luminance_term():
    x, y = torch.full((1, 1, 16, 16), 0.0), torch.full((1, 1, 16, 16), 0.5)
    a, b = 0.5, 0.75
    expected = (2 * a * b + 1e-4) / (a**2 + b**2 + 1e-4)
    assert float(distortion.ssim(x, y)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("side", [(1, 1), (2, 5), (8, 8), (10, 30)])
def test_ssim_of_images_smaller_than_the_window(side):
    g = torch.Generator().manual_seed(0)
    x = torch.rand(3, 1, *side, generator=g) * 2 - 1
    assert torch.allclose(distortion.ssim(x, x), torch.ones(3))
    other = distortion.ssim(x, x.roll(1, 0))
    assert other.isfinite().all()
    assert (other < 1).all()


def test_every_measure_worsens_with_noise(pair, lite0):
    x, _ = pair
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    steps = [(x + s * noise).clamp(-1, 1) for s in (0.02, 0.1, 0.4)]
    measures = [
        (distortion.mse, 1),
        (distortion.psnr, -1),
        (distortion.ssim, -1),
        (lambda a, b: distortion.perceptual(a, b, lite0), 1),
    ]
    for measure, sign in measures:
        values = [sign * float(measure(x, y).mean()) for y in steps]
        assert values == sorted(values)
        assert values[0] != values[-1]


def test_figures_are_per_image(pair, lite0):
    x, y = pair
    for measure in (distortion.mse, distortion.psnr, distortion.ssim):
        assert measure(x, y).shape == (6,)
        assert torch.allclose(measure(x, y)[2:3], measure(x[2:3], y[2:3]), atol=1e-6)
    alone = distortion.perceptual(x[2:3], y[2:3], lite0)
    assert torch.allclose(distortion.perceptual(x, y, lite0)[2:3], alone, atol=1e-5)


def test_perceptual_is_a_symmetric_mean_of_cosine_distances(pair, lite0):
    x, y = pair
    found = distortion.perceptual(x, y, lite0)
    assert torch.allclose(found, distortion.perceptual(y, x, lite0))
    assert ((found > 0) & (found < 4)).all()
    maps = zip(lite0.taps(x), lite0.taps(y), strict=True)
    cosines = [2 - 2 * torch.cosine_similarity(a, b, dim=1).mean((1, 2)) for a, b in maps]
    assert len(cosines) == 5
    assert torch.allclose(found, torch.stack(cosines).mean(0), atol=1e-4)


def test_perceptual_minds_structure_more_than_brightness(kit, lite0):
    x = kit.pictures(8, 5, side=32)
    brighter = (x + 0.1).clamp(-1, 1)
    moved = x.roll(8, 3)
    near = distortion.perceptual(x, brighter, lite0).mean()
    assert near < distortion.perceptual(x, moved, lite0).mean()


def test_refuses(pair, kit):
    x, _ = pair
    with pytest.raises(ValueError, match="one shape"):
        distortion.mse(x, x[:3])
    with pytest.raises(ValueError, match="one shape"):
        distortion.ssim(x[0], x[0])
    with pytest.raises(ConfigError, match="intermediate"):
        distortion.perceptual(x, x, judge.load(kit.Bumps(), 16))


def test_psnr_is_finite_near_the_peak():
    x = torch.zeros(1, 1, 4, 4)
    assert math.isfinite(float(distortion.psnr(x, x + 1e-9)))
