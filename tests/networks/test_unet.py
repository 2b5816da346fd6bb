"""Networks of translation: sizes, what z and the source do, and what is shared."""

from itertools import product

import pytest
import torch
from torch.testing import assert_close

from ganvae.config import Networks
from ganvae.networks import zoo
from ganvae.networks.shared import _cut
from ganvae.types import Noise, Shape

CONFIG = Networks(width=8, latent=4)


def shape(height, width, source=2, channels=3, latent=4):
    return Shape(channels=channels, height=height, width=width, latent=latent, source=source)


def build(kind, made, config=CONFIG):
    torch.manual_seed(0)
    return zoo.build(kind, config, made)


@pytest.mark.parametrize("size", [(16, 16), (28, 28), (32, 48), (64, 64)])
def test_a_u_net_makes_an_image_of_each_source(size):
    net = build("unet", shape(*size))
    noise = Noise(1, total=2)
    image = net(noise.normal(4), noise.uniform(2, *size))
    assert image.shape == (2, 3, *size) and image.abs().max() <= 1


@pytest.mark.slow
def test_a_u_net_of_256_pixels():
    net = build("unet", shape(256, 256))
    assert net(torch.zeros(1, 4), torch.zeros(1, 2, 256, 256)).shape == (1, 3, 256, 256)


@pytest.mark.parametrize("size", [(32, 32), (48, 80), (33, 50), (7, 90), (1, 1)])
def test_a_u_net_takes_images_of_any_size(size):
    net = build("unet", shape(32, 32))
    noise = Noise(1, total=2)
    assert net(noise.normal(4), noise.uniform(2, *size)).shape == (2, 3, *size)


def test_a_u_net_of_the_default_size_is_small():
    net = zoo.build("unet", Networks(), shape(64, 64, latent=32))
    count = sum(p.numel() for p in net.parameters())
    assert 5e5 < count < 1.2e6, count


def test_z_reaches_every_pixel_and_every_source_its_own_image():
    net = build("unet", shape(32, 32)).double()
    noise = Noise(1, total=3, dtype=torch.float64)
    z, source = noise.normal(4), noise.uniform(2, 32, 32)
    image = net(z, source)
    assert (net(z + 1, source) != image).all()
    others = source.clone()
    others[1:] = 0.5
    assert_close(net(z, others)[0], image[0])
    assert not torch.allclose(net(z, others)[1], image[1])


def test_a_u_net_needs_a_source():
    with pytest.raises(ValueError, match="source"):
        build("unet", shape(32, 32, source=0))


def test_a_pair_is_judged_as_a_pair():
    D = build("pair_discriminator", shape(32, 32))
    noise = Noise(1, total=4)
    x, source = noise.uniform(3, 32, 32), noise.uniform(2, 32, 32)
    logit, features = D(x, source, features=True)
    assert logit.shape == (4,) and features.ndim == 2
    assert_close(D(x, source), logit)
    assert not torch.allclose(D(x, source.flip(0)), logit)
    kinds = (torch.nn.GroupNorm, torch.nn.BatchNorm2d)
    assert not any(isinstance(m, kinds) for m in D.modules())


@pytest.mark.parametrize("size", [(16, 16), (28, 28), (64, 32), (128, 128)])
def test_both_sets_have_one_latent(size):
    kinds = {"encoder": "shared_encoder"}
    latent = zoo.latent(kinds, CONFIG, (3, *size))
    made = shape(*size, source=1, latent=latent)
    E, G = build("shared_encoder", made), build("shared_decoder", made)
    noise = Noise(1, total=2)
    x, s = noise.uniform(3, *size), noise.uniform(1, *size)
    q, p = E(x), E(s, source=True)
    assert q.mean.shape == p.mean.shape == (2, latent) and not q.logvar.any()
    assert G(q.mean).shape == x.shape and G(q.mean, source=True).shape == s.shape
    assert G(p.mean).abs().max() <= 1


def test_untrained_networks_of_two_sets_keep_an_image_as_it_is():
    x = Noise(1, total=2).uniform(3, 16, 24) * 2 - 1
    kinds = {"encoder": "shared_encoder"}
    made = shape(16, 24, source=3, latent=zoo.latent(kinds, CONFIG, (3, 16, 24)))
    E, G = build("shared_encoder", made), build("shared_decoder", made)
    for there, back in product((False, True), repeat=2):
        same = G(E(x, source=there).mean, source=back)
        assert_close(same, x, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("target", "source"), [(3, 1), (1, 3)])
def test_untrained_networks_give_grey_where_one_set_has_no_colours(target, source):
    kinds = {"encoder": "shared_encoder"}
    latent = zoo.latent(kinds, CONFIG, (target, 16, 24))
    made = Shape(channels=target, height=16, width=24, source=source, latent=latent)
    E, G = build("shared_encoder", made), build("shared_decoder", made)
    images = {False: Noise(1, total=2).uniform(target, 16, 24) * 2 - 1}
    images[True] = Noise(2, total=2).uniform(source, 16, 24) * 2 - 1
    for there, back in product((False, True), repeat=2):
        made_of = G(E(images[there], source=there).mean, source=back)
        want = images[there]
        if there or back:
            want = want.mean(1, keepdim=True).expand_as(images[back])
        assert_close(made_of, want, atol=1e-5, rtol=0)


def test_pixels_that_are_cut_off_are_still_moved():
    latent = zoo.latent({"encoder": "shared_encoder"}, CONFIG, (3, 16, 16))
    G = build("shared_decoder", shape(16, 16, source=3, latent=latent))
    z = (1e4 * Noise(1, total=2).normal(latent)).requires_grad_()
    x = G(z)
    assert x.abs().max() <= 1 and (x.abs() == 1).float().mean() > 0.9
    (x * Noise(2, total=2).normal(3, 16, 16)).sum().backward()
    assert z.grad.abs().min() > 0


def test_a_small_cell_keeps_the_slow_waves():
    x = torch.linspace(-1, 1, 16).expand(2, 3, 16, 16).contiguous()
    few = Networks(width=8, grid_channels=9)
    made = shape(16, 16, source=3, latent=zoo.latent({"e": "shared_encoder"}, few, (3, 16, 16)))
    E, G = zoo.build("shared_encoder", few, made), zoo.build("shared_decoder", few, made)
    kept = G(E(x).mean)
    means = x.unfold(3, 4, 4).mean(-1).repeat_interleave(4, -1)  # what only a mean would keep
    assert 0 < (kept - x).abs().max() < 0.2 * (means - x).abs().max()


@pytest.mark.parametrize(("kind", "z"), [("shared_encoder", False), ("shared_decoder", True)])
def test_a_set_moves_its_own_layers_and_the_shared_ones(kind, z):
    latent = zoo.latent({"encoder": "shared_encoder"}, CONFIG, (3, 16, 16))
    net = build(kind, shape(16, 16, source=3, latent=latent))
    given = Noise(1, total=2).normal(latent) if z else Noise(1, total=2).uniform(3, 16, 16)
    for source, idle in ((False, "source"), (True, "target")):
        net.zero_grad(set_to_none=True)
        out = net(given, source=source)
        (out if z else out.mean).square().sum().backward()
        moved = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None}
        assert moved == {"shared", "target", "source"} - {idle}


def test_a_pixel_that_is_cut_off_is_led_back_and_never_further_out():
    x = torch.tensor([-2.0, -2.0, 0.5, 2.0, 2.0], requires_grad=True)
    cut = _cut(x)
    assert_close(cut.detach(), x.detach().clamp(-1, 1))
    cut.backward(torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0]))  # descent goes the other way
    assert x.grad.tolist() == [0, -1, 1, 1, 0]
