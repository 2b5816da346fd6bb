"""Models that start from a source: translation of pairs and of unpaired sets, completion."""

import pytest
import torch
from torch.testing import assert_close

from ganvae import objectives
from ganvae.config import Config, Networks
from ganvae.errors import ConfigError
from ganvae.models import Model, ModelInfo
from ganvae.models.draws import BLOCK
from ganvae.networks import zoo
from ganvae.types import Noise, Shape

SOURCES = {"bicycle": 2, "unit": 1, "completion": 4}


def make(name):
    objective = objectives.get(name)
    settings = Config(objective=name, networks=Networks(width=8, latent=4))
    size = (16, 16)
    shape = Shape(
        channels=3,
        height=size[0],
        width=size[1],
        latent=zoo.latent(objective.kinds, settings.networks, (3, *size)),
        source=SOURCES[name],
    )
    roles = ("encoder", "generator", "prior")
    kinds = {r: k for r, k in objective.kinds.items() if r in objective.networks}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        nets = {r: zoo.build(kinds.get(r, r), settings.networks, shape) for r in roles}
    info = ModelInfo.of(
        settings,
        shape,
        decoder=objective.decoder,
        generator=objective.generator,
        kinds=kinds,
        task=objective.task,
        paired=objective.paired,
    )
    return Model(nets, info)


@pytest.fixture(scope="module")
def bicycle():
    return make("bicycle")


@pytest.fixture(scope="module")
def unit():
    return make("unit")


@pytest.fixture(scope="module")
def completion():
    return make("completion")


def pictures(n, channels=3, height=16, width=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, channels, height, width, generator=generator) * 2 - 1


def box(n, height=16, width=16):
    mask = torch.zeros(n, 1, height, width, dtype=torch.bool)
    mask[:, :, 3:11, 5:12] = True
    return mask


# -- translate -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bicycle", "unit"])
def test_a_source_becomes_images(name, request):
    model = request.getfixturevalue(name)
    source = pictures(3, SOURCES[name])
    made = model.translate(source, 2)
    assert made.shape == (3, 2, 3, 16, 16) and made.abs().max() <= 1 and not made.requires_grad
    assert not torch.allclose(made[:, 0], made[:, 1])
    assert not torch.allclose(model.translate(source, seed=1), made[:, :1])
    assert model.translate(source[:0], 2).shape == (0, 2, 3, 16, 16)


@pytest.mark.parametrize("name", ["bicycle", "unit"])
def test_a_variant_depends_on_seed_image_and_its_number_alone(name, request):
    model = request.getfixturevalue(name)
    source = pictures(1, SOURCES[name]).expand(BLOCK + 6, -1, -1, -1)
    made = model.translate(source, 3, seed=4)
    assert_close(model.translate(source, 2, seed=4, batch=7), made[:, :2], atol=1e-5, rtol=0)
    assert_close(model.translate(source[:3], 3, seed=4), made[:3], atol=1e-5, rtol=0)
    rest = model.translate(source[BLOCK - 2 :], seed=4, start=BLOCK - 2)
    assert_close(rest, made[BLOCK - 2 :, :1], atol=1e-5, rtol=0)
    assert not torch.allclose(made[0], made[1])  # equal sources, each with its own z


def test_variants_are_the_generators_of_priors_z(bicycle):
    source = pictures(2, 2)
    made = bicycle.translate(source, 1000)
    net = bicycle.networks["generator"]
    z = torch.randn(1000, 4, generator=torch.Generator().manual_seed(1))
    expected = net(z, source[:1].expand(1000, -1, -1, -1)).detach()
    assert_close(made[0].mean(0), expected.mean(0), atol=0.05, rtol=0)
    assert_close(made[0].std(0), expected.std(0), atol=0.05, rtol=0)


def test_unpaired_sets_are_translated_both_ways(unit):
    x, s = pictures(2), pictures(2, 1)
    E, G = unit.networks["encoder"], unit.networks["generator"]
    eps = Noise(5, 0, 1, 2, total=BLOCK).normal(unit.latent)[:2]
    with torch.no_grad():
        there, back = G(E(s, source=True).mean + eps), G(E(x).mean + eps, source=True)
    assert back.shape == (2, 1, 16, 16)
    assert_close(unit.translate(s, 2, seed=5)[:, 1], there, atol=1e-5, rtol=0)
    assert_close(unit.translate(x, 2, seed=5, reverse=True)[:, 1], back, atol=1e-5, rtol=0)
    assert unit.reconstruct(x).shape == x.shape


def test_pairs_have_one_direction(bicycle):
    with pytest.raises(ConfigError, match="one direction"):
        bicycle.translate(pictures(2, 2), reverse=True)


def test_pairs_are_translated_at_other_sizes(bicycle, unit):
    assert bicycle.translate(pictures(2, 2, 40, 23)).shape == (2, 1, 3, 40, 23)
    with pytest.raises(ValueError, match=r"\(B, 1, 16, 16\)"):
        unit.translate(pictures(2, 1, 20, 16))


# -- complete --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(16, 16), (37, 21), (64, 48)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_known_pixels_come_out_bit_exact(completion, size, dtype):
    x, mask = pictures(3, 3, *size).to(dtype), box(3, *size)
    made = completion.complete(x, mask, 2)
    assert made.shape == (3, 2, 3, *size)
    known = ~mask[:, None].expand_as(made)
    assert torch.equal(made[known], x[:, None].expand_as(made)[known])
    assert not torch.allclose(made[:, 0], made[:, 1])


def test_what_is_in_the_hole_is_not_looked_at(completion):
    x, mask = pictures(2), box(2)
    broken = torch.where(mask, torch.nan, x)
    assert torch.equal(completion.complete(broken, mask), completion.complete(x, mask))
    assert completion.complete(broken, mask).isfinite().all()
    assert torch.equal(completion.complete(x, mask.float()), completion.complete(x, mask))


def test_a_completion_depends_on_seed_and_number_alone(completion):
    x, mask = pictures(5), box(5)
    made = completion.complete(x, mask, 3, seed=2)
    assert_close(completion.complete(x, mask, 3, seed=2, batch=2), made, atol=1e-5, rtol=0)
    rest = completion.complete(x[2:], mask[2:], 1, seed=2, start=2)
    assert_close(rest, made[2:, :1], atol=1e-5, rtol=0)
    assert not torch.allclose(completion.complete(x, mask, 3, seed=3), made)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (box(2, 16, 20), "same size"),
        (box(1), "same size"),
        (box(2)[:, 0], "same size"),
        (torch.zeros(2, 1, 16, 16), "image 0 is empty"),
        (torch.cat([box(1), torch.ones(1, 1, 16, 16).bool()]), "image 1 is full"),
        (box(2) * 0.5, "0 where a pixel is known"),
    ],
)
def test_masks_that_do_not_fit_are_named(completion, mask, message):
    with pytest.raises(ValueError, match=message):
        completion.complete(pictures(2), mask)


# -- what does not fit ------------------------------------------------------------------------


def test_other_tasks_are_named_with_the_mend(bicycle, unit, completion, model):
    x, mask = pictures(2), box(2)
    with pytest.raises(ConfigError, match="cannot complete them: train one with --task complete"):
        bicycle.complete(x, mask)
    with pytest.raises(ConfigError, match=r"trained to complete .* --task translate"):
        completion.translate(x)
    with pytest.raises(ConfigError, match=r"trained to generate .* --task translate"):
        model.translate(x)
    for made, ask in ((bicycle, "translate"), (unit, "translate"), (completion, "complete")):
        with pytest.raises(ConfigError, match=f"needs one to start from: `ganvae {ask}`"):
            made.generate(2)
    for verb in (bicycle.reconstruct, completion.reconstruct):
        with pytest.raises(ConfigError, match="needs one to start from"):
            verb(x)
    with pytest.raises(ConfigError, match="needs one to start from"):
        bicycle.decode(torch.zeros(2, 4))
    assert bicycle.encode(x).mean.shape == (2, 4)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (pictures(2, 3), {}, r"\(B, 2, H, W\), got \(2, 3, 16, 16\)"),
        (pictures(2, 2)[0], {}, "shape"),
        (pictures(2, 2) * 100, {}, r"in \[-1, 1\]"),
        (pictures(2, 2).to(torch.int32), {}, "floating point"),
        (pictures(2, 2), {"variants": 0}, "variants"),
        (pictures(2, 2), {"variants": 1.5}, "variants"),
        (pictures(2, 2), {"seed": -1}, "seed"),
        (pictures(2, 2), {"batch": 0}, "batch"),
    ],
)
def test_bad_requests_are_named(bicycle, source, options, message):
    with pytest.raises(ValueError, match=message):
        bicycle.translate(source, **options)


# -- files and descriptions -------------------------------------------------------------------


@pytest.mark.parametrize("name", SOURCES)
def test_a_saved_model_says_and_does_the_same(name, request, tmp_path):
    model = request.getfixturevalue(name)
    again = Model.load(model.save(tmp_path / "m"))
    assert again.info == model.info and again.info.shape.source == SOURCES[name]
    x, mask = pictures(2, SOURCES[name]), box(2)

    def ask(one):
        return one.complete(x[:, :3], mask, 2) if name == "completion" else one.translate(x, 2)

    assert_close(ask(again), ask(model), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "change",
    [{"task": "generate"}, {"paired": None}, {"task": "complete"}, {"task": "draw"}],
)
def test_a_description_whose_parts_do_not_fit_is_refused(bicycle, change):
    with pytest.raises(ConfigError):
        ModelInfo.from_dict(bicycle.info.to_dict() | change)
