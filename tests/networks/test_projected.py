"""The discriminator with eyes: what it trains, what it keeps, what it tells."""

import pytest
import torch

from ganvae.config import Networks
from ganvae.eyes import eyes
from ganvae.losses.adversarial import Adversary, hinge
from ganvae.losses.augmentation import Augmented
from ganvae.losses.perceptual import as_seen
from ganvae.networks import zoo
from ganvae.objectives.base import frozen
from ganvae.types import Clock, Noise, Seen, Shape, Verdict, look

SEEING = Networks(width=8, eyes="efficientnet-lite0")


def built(kind: str = "discriminator", eyes: str = "efficientnet-lite0", **shape: int):
    torch.manual_seed(0)
    facts = {"channels": 3, "height": 32, "width": 32, "latent": 8} | shape
    return zoo.build(kind, Networks(width=8, eyes=eyes), Shape(**facts))


@pytest.fixture(scope="module")
def D():
    return built()


@pytest.fixture
def x():
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("kind", ["discriminator", "patch_discriminator"])
def test_of_images_alone_it_is_the_discriminator_of_pixels(kind, x):
    """With the same weights: what the eyes add is built after them."""
    seeing, blind = built(kind), built(kind, eyes="none")
    assert torch.equal(seeing(x), blind(x))
    for a, b in zip(seeing(x, features=True), blind(x, features=True), strict=True):
        assert torch.equal(a, b)
    verdict = seeing(look(seeing, x))
    assert isinstance(verdict, Verdict) and torch.equal(verdict.pixels, blind(x))
    assert verdict.eyes.shape == (4, 16 * len(seeing.heads))
    assert look(blind, x) is x


def test_the_eyes_are_not_kept_and_not_trained(D):
    kept = sum(t.numel() for t in D.state_dict().values())
    heads = sum(p.numel() for p in D.heads.parameters())
    assert kept == heads + sum(t.numel() for t in D.pixels.state_dict().values())
    assert {p.requires_grad for p in D.parameters()} == {True}
    mixing = dict(D.mixing.named_buffers())
    again = dict(built().mixing.named_buffers())
    assert mixing and all(torch.equal(mixing[name], again[name]) for name in mixing)


def test_building_draws_as_many_numbers_whether_the_eyes_are_there_or_come_first():
    """Neither they nor what is mixed at random move the generator that networks are drawn from."""
    eyes.load.cache_clear()
    after = [(built(), torch.rand(3)) for _ in range(2)]
    (one, drawn), (other, again) = after
    assert torch.equal(drawn, again)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_players_differ_in_both_games(D, x):
    """D's loss is the game of pixels plus the hinge of eyes; penalties are of pixels alone."""
    fake = (x.flip(3) * 0.5).requires_grad_()
    real_seen, fake_seen = look(D, x), look(D, fake)
    plain, at = Adversary(gamma=0.0, eyes=0.5), Clock(step=0)
    judgement = plain.discriminator(D, x, fake, at)
    blind = plain.discriminator(D.pixels, x, fake, at)
    on_real, on_fake = D(real_seen).eyes, D(fake_seen.detach()).eyes
    assert torch.allclose(
        judgement.loss, blind.loss + 0.5 * hinge.discriminator(on_real, on_fake), atol=1e-5
    )
    loss = plain.generator(frozen(D)(judgement.x_hat), judgement.real)
    expected = plain.generator(D.pixels(fake), blind.real) + 0.5 * hinge.generator(
        on_fake, on_real
    )
    assert torch.allclose(loss, expected, atol=1e-5)
    (moved,) = torch.autograd.grad(loss, fake, retain_graph=True)
    assert float(moved.abs().sum()) > 0
    heads = list(D.heads.parameters())
    assert torch.autograd.grad(judgement.loss, [fake], allow_unused=True) == (None,)
    penalty = Adversary(gamma=1.0, every=1, eyes=0.0).discriminator(D, x, fake, at)
    found = torch.autograd.grad(penalty.loss, heads, allow_unused=True)
    assert all(g is None or not g.any() for g in found)


def test_classes_and_sources_are_told(x):
    label = torch.tensor([0, 1, 2, 0])
    D = built(classes=3)
    for head in D.heads:
        torch.nn.init.normal_(head.classes.vectors)
    a, b = D(look(D, x), label), D(look(D, x), (label + 1) % 3)
    assert not torch.allclose(a.eyes, b.eyes)
    D = built("pair_discriminator", source=2)
    source = torch.rand(4, 2, 32, 32)
    a, b = D(look(D, x), source), D(look(D, x), source.flip(0))
    assert not torch.allclose(a.eyes, b.eyes)


def test_augmented_images_are_what_the_eyes_see(D, x):
    augmented = Augmented(D, Noise(0, total=4))
    seen = look(augmented, x)
    assert isinstance(seen, Seen) and seen.image is x
    changed = look(D, augmented.change(x, augmented.numbers))
    for ours, theirs in zip(seen.maps, changed.maps, strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(augmented(seen), D(changed), strict=True):
        assert torch.equal(ours, theirs)
    blind = Augmented(D.pixels, Noise(0, total=4))
    assert look(blind, x) is x


def test_alike_is_what_looks_alike(D, x):
    """Nothing between an image and itself; a shade is nearer than another image."""
    seen = look(D, x)
    assert float(as_seen(seen, seen, 4)) == pytest.approx(0, abs=1e-6)
    shade, other = look(D, x * 0.9), look(D, x.flip(0))
    assert 0 < float(as_seen(shade, seen, 4)) < float(as_seen(other, seen, 4))
    assert as_seen(x, x, 4) == 0.0
