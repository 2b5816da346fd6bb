import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn
from torch.testing import assert_close

from ganvae.errors import ConfigError
from ganvae.models import Model, ModelInfo, checks, draws
from ganvae.models.draws import BLOCK
from ganvae.models.paths import linear, spherical
from ganvae.types import Posterior, Shape


def pictures(n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def gan(make) -> Model:
    return make(roles=("generator", "prior"))


# -- generate --------------------------------------------------------------------------------


def test_generate_gives_images(model: Model):
    images = model.generate(5, seed=3)
    assert images.shape == (5, 1, 8, 8) and images.dtype is torch.float32
    assert images.abs().max() <= 1 and not images.requires_grad
    assert images.std(0).mean() > 0.01
    assert model.generate(0).shape == (0, 1, 8, 8)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 300), st.integers(0, 200), st.integers(1, 90), st.integers(0, 2**63))
def test_an_image_is_a_function_of_seed_and_index(model: Model, start, n, batch, seed):
    whole = model.latents(start + n, seed=seed)
    assert torch.equal(model.latents(n, seed=seed, start=start), whole[start:])
    images = model.generate(n, seed=seed, start=start, batch=batch)
    assert_close(images, model.render(whole)[start:], atol=1e-5, rtol=0)


def test_seeds_and_temperature_matter(model: Model):
    assert not torch.equal(model.latents(4, seed=1), model.latents(4, seed=2))
    cold = model.latents(200, temperature=0.0)
    assert len(cold.unique(dim=0)) <= 3
    assert model.latents(200, temperature=0.5).var() < model.latents(200).var()


def test_samples_of_blocks_are_independent(gan: Model):
    z = gan.latents(4 * BLOCK)
    assert z.unique(dim=0).shape == z.shape
    first, second = z[:BLOCK].flatten(), z[BLOCK : 2 * BLOCK].flatten()
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < 0.2


def test_global_random_state_is_neither_used_nor_moved(model: Model):
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first = model.generate(3), model.reconstruct(pictures(3), seed=1)
    assert torch.equal(state, torch.random.get_rng_state())
    torch.manual_seed(2)
    second = model.generate(3), model.reconstruct(pictures(3), seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first, second))


def test_drawing_latents_costs_little_of_the_forward():
    """At the default size; the networks of this room's other tests are tiny."""
    from ganvae.config import Networks
    from ganvae.networks import zoo

    shape = Shape(channels=1, height=32, width=32, latent=32)
    networks = Networks()
    nets = {role: zoo.build(role, networks, shape) for role in ("generator", "prior")}
    info = ModelInfo(objective="gan", options={}, shape=shape, networks=networks,
                     decoder="generator", generator="generator")  # fmt: skip
    model = Model(nets, info)
    z = model.latents(128)
    draw, forward = (
        min(_seconds(work) for _ in range(5))
        for work in (lambda: model.latents(128), lambda: model.render(z))
    )
    assert draw < 0.05 * forward, (draw, forward)


def _seconds(work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ({"n": -1}, "n must be"),
        ({"n": 1.5}, "n must be"),
        ({"n": True}, "n must be"),
        ({"n": 1, "seed": -1}, "seed must be"),
        ({"n": 1, "seed": None}, "seed must be"),
        ({"n": 1, "start": -1}, "start must be"),
        ({"n": 1, "temperature": -0.1}, "temperature"),
        ({"n": 1, "temperature": math.nan}, "temperature"),
        ({"n": 1, "batch": 0}, "batch"),
    ],
)
def test_bad_requests_are_named(model: Model, ask, message: str):
    with pytest.raises(ValueError, match=message):
        model.generate(**ask)


def test_numpy_integers_are_integers(model: Model):
    ask = np.int64(3)
    assert torch.equal(
        model.generate(ask, seed=ask, start=ask), model.generate(3, seed=3, start=3)
    )


# -- encode, decode, reconstruct -------------------------------------------------------------


def test_encode_is_the_encoder_in_any_batch(model: Model):
    x = pictures(10)
    q = model.encode(x)
    assert isinstance(q, Posterior) and q.mean.shape == q.logvar.shape == (10, 4)
    expected = model.networks["encoder"](x)
    assert_close(q.mean, expected.mean.detach())
    assert_close(model.encode(x, batch=3).logvar, q.logvar, atol=1e-6, rtol=1e-5)
    assert model.encode(x[:0]).mean.shape == (0, 4)


def test_decode_and_render_use_their_roles(model: Model):
    z = torch.randn(3, 4)
    assert_close(model.decode(z), model.networks["decoder"](z).detach())
    assert_close(model.render(z), model.networks["generator"](z).detach())
    assert not torch.equal(model.decode(z), model.render(z))
    assert model.decode(z[:0]).shape == (0, 1, 8, 8)


def test_reconstruct_decodes_the_mean_or_a_sample(model: Model):
    x = pictures(70)
    assert_close(model.reconstruct(x), model.decode(model.encode(x).mean))
    sampled = model.reconstruct(x, seed=1)
    assert not torch.allclose(sampled, model.reconstruct(x))
    assert_close(model.reconstruct(x[:5], seed=1), sampled[:5], atol=1e-5, rtol=0)
    assert_close(model.reconstruct(x[60:], seed=1, start=60), sampled[60:], atol=1e-5, rtol=0)
    assert not torch.allclose(model.reconstruct(x, seed=2), sampled)
    assert model.reconstruct(x[:0], seed=1).shape == (0, 1, 8, 8)


def test_sampled_reconstructions_follow_the_posterior(model: Model):
    x = pictures(1).expand(20_000, 1, 8, 8)
    q = model.encode(x)
    z = draws.posterior(q, 0)
    assert_close(z.mean(0), q.mean[0], atol=0.05, rtol=0)
    assert_close(z.std(0), q.std[0], atol=0.05, rtol=0.05)


def test_log_likelihood_delegates_or_is_none(model: Model, gan: Model):
    x, z = pictures(3), torch.randn(3, 4)
    expected = model.networks["likelihood"](model.decode(z), x)
    assert_close(model.log_likelihood(x, z), expected.detach())
    assert gan.log_likelihood(x, z) is None
    model.log_likelihood(x + 1 / 255, z)  # dequantised images reach beyond [-1, 1]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 3, 8, 8), r"\(B, 1, 8, 8\), got \(2, 3, 8, 8\)"),
        (torch.zeros(1, 8, 8), "shape"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), "floating point"),
        (torch.full((2, 1, 8, 8), 255.0), r"in \[-1, 1\], got values from 255 to 255"),
        (torch.full((2, 1, 8, 8), math.nan), r"in \[-1, 1\]"),
    ],
)
def test_images_that_do_not_fit_are_named(model: Model, x: Tensor, message: str):
    for verb in (model.encode, model.reconstruct):
        with pytest.raises(ValueError, match=message):
            verb(x)


def test_latents_that_do_not_fit_are_named(model: Model):
    for z in (torch.zeros(2, 5), torch.zeros(4)):
        with pytest.raises(ValueError, match=r"\(B, 4\)"):
            model.decode(z)


def test_a_model_without_an_encoder_says_so(gan: Model):
    for verb in (gan.encode, gan.reconstruct):
        with pytest.raises(ConfigError, match="has no encoder"):
            verb(pictures(2))
    with pytest.raises(ConfigError, match="has no encoder"):
        gan.interpolate(pictures(2), pictures(2), 3)
    assert gan.generate(2).shape == (2, 1, 8, 8)


# -- interpolate -----------------------------------------------------------------------------


def test_interpolations_begin_and_end_at_the_ends(model: Model):
    a, b = torch.randn(2, 3, 4)
    way = model.interpolate(a, b, 5)
    assert way.shape == (3, 5, 1, 8, 8)
    assert_close(way[:, 0], model.render(a), atol=1e-5, rtol=0)
    assert_close(way[:, -1], model.render(b), atol=1e-5, rtol=0)
    assert_close(model.interpolate(a[0], b[0], 5), way[0], atol=1e-5, rtol=0)
    x, y = pictures(2, 0), pictures(2, 1)
    way = model.interpolate(x, y, 3)
    assert_close(way[:, 0], model.reconstruct(x), atol=1e-5, rtol=0)
    assert_close(way[:, -1], model.reconstruct(y), atol=1e-5, rtol=0)
    assert_close(model.interpolate(x[1], y[1], 3), way[1], atol=1e-5, rtol=0)
    straight = model.interpolate(a, b, 3, path=linear)
    assert_close(straight[:, 1], model.render((a + b) / 2), atol=1e-5, rtol=0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40), st.floats(0, 1), st.floats(0.1, 10))
def test_spherical_interpolation_is_an_arc(seed: int, d: int, t: float, scale: float):
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, 3, d, generator=generator, dtype=torch.float64)
    b = b * scale
    now = torch.tensor(t, dtype=torch.float64)
    z = spherical(a, b, now)
    lengths = linear(a.norm(dim=1), b.norm(dim=1), now)
    assert_close(z.norm(dim=1), lengths, rtol=1e-6, atol=1e-9)

    def angle(u, v):
        cosine = torch.cosine_similarity(u, v).clamp(-1, 1)
        return torch.acos(cosine)

    if float(lengths.min()) > 1e-6:
        assert_close(angle(a, z), t * angle(a, b), atol=1e-5, rtol=1e-5)
    assert_close(spherical(b, a, 1 - now), z, atol=1e-9, rtol=1e-6)


@pytest.mark.parametrize(
    ("a", "b"),
    [([1.0, 0], [1.0, 0]), ([1.0, 0], [-1.0, 0]), ([0.0, 0], [1.0, 0]), ([0.0, 0], [0.0, 0]),
     ([1.0, 0], [2.0, 1e-9])],
)  # fmt: skip
def test_spherical_interpolation_without_an_arc_is_straight(a, b):
    a, b = torch.tensor([a]), torch.tensor([b])
    for t in torch.linspace(0, 1, 5):
        assert_close(spherical(a, b, t), linear(a, b, t))


def test_bad_interpolations_are_named(model: Model):
    a = torch.zeros(2, 4)
    with pytest.raises(ValueError, match="at least 2"):
        model.interpolate(a, a, 1)
    with pytest.raises(ValueError, match="shapes"):
        model.interpolate(a, a[:1], 3)
    with pytest.raises(ValueError, match="shapes"):
        model.interpolate(torch.zeros(1, 1, 1, 1, 1), torch.zeros(1, 1, 1, 1, 1))


# -- what a model is made of -----------------------------------------------------------------


def test_only_what_inference_needs_is_kept(model: Model):
    extra = Model({**model.networks, "discriminator": nn.Linear(1, 1)}, model.info)
    assert list(extra.networks) == list(model.networks)


@pytest.mark.parametrize("missing", ["generator", "prior", "decoder"])
def test_missing_networks_are_named(model: Model, missing: str):
    rest = {role: net for role, net in model.networks.items() if role != missing}
    with pytest.raises(ConfigError, match=missing):
        Model(rest, model.info)


def test_modules_run_in_evaluation_mode(model: Model):
    class Moody(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(4, 64), nn.BatchNorm1d(64), nn.Dropout(0.5))

        def forward(self, z: Tensor) -> Tensor:
            return self.layers(z).tanh().unflatten(1, (1, 8, 8))

    moody = Moody().train()
    mine = Model({**model.networks, "generator": moody}, model.info)
    before = {name: value.clone() for name, value in moody.state_dict().items()}
    images = mine.generate(20)
    assert_close(mine.generate(1), images[:1], atol=1e-6, rtol=0)
    assert all(torch.equal(before[name], value) for name, value in moody.state_dict().items())


def test_networks_that_return_the_wrong_thing_are_named(model: Model):
    pair = nn.Module()
    pair.forward = lambda x: (x, x)  # type: ignore[assignment]
    flat = nn.Linear(4, 64)
    with pytest.raises(ConfigError, match="Posterior, got tuple"):
        Model({**model.networks, "encoder": pair}, model.info).encode(pictures(2))
    with pytest.raises(ConfigError, match=r"generator made images of shape \(2, 64\)"):
        Model({**model.networks, "generator": flat}, model.info).generate(2)


def test_results_do_not_keep_gradients(model: Model):
    x = pictures(2).requires_grad_()
    for value in (model.encode(x).mean, model.reconstruct(x), model.generate(2)):
        assert not value.requires_grad


def test_residual_models_are_channels_last_after_loading(tmp_path):
    from ganvae.config import Networks
    from ganvae.networks import zoo

    shape = Shape(channels=3, height=16, width=16, latent=4)
    networks = Networks(width=8, latent=4, prior="normal")
    nets = {role: zoo.build(role, networks, shape) for role in ("encoder", "decoder", "prior")}
    info = ModelInfo(objective="vae", options={}, shape=shape, networks=networks)
    model = Model(nets, info)
    again = Model.load(model.save(tmp_path / "m"))
    for parameter in again.networks["decoder"].parameters():
        if parameter.ndim == 4:
            assert parameter.is_contiguous(memory_format=torch.channels_last)
    assert_close(again.generate(3), model.generate(3), atol=1e-5, rtol=0)
    assert again.generate(3).is_contiguous(memory_format=torch.channels_last)
    assert repr(again) == "Model(vae, 3×16×16, latent 4, cpu)"
    assert model.parameters == sum(p.numel() for n in nets.values() for p in n.parameters())


def test_classes_are_checked_once_a_call(make, monkeypatch):
    """Each look at their numbers would wait for a GPU."""
    model, x, z = make(classes=("a", "b")), pictures(3), torch.zeros(3, 4)
    label, calls, check = torch.tensor([0, 1, 1]), [], checks.classes

    def counted(*args):
        calls.append(args)
        return check(*args)

    monkeypatch.setattr(checks, "classes", counted)
    for ask in (
        lambda: model.generate(3, label), lambda: model.latents(3, label),
        lambda: model.encode(x, label), lambda: model.decode(z, label),
        lambda: model.render(z, label), lambda: model.reconstruct(x, label),
        lambda: model.interpolate(x, x, 3, "a"), lambda: model.interpolate(z, z, 3, 1),
    ):  # fmt: skip
        calls.clear()
        ask()
        assert len(calls) == 1
    calls.clear()
    assert model.generate(3).shape == (3, 1, 8, 8) and not calls  # drawn, so there are such


def test_info_is_frozen_and_consistent(model: Model):
    with pytest.raises(AttributeError):
        model.info.objective = "other"  # type: ignore[misc]
    with pytest.raises(ConfigError, match="latent"):
        ModelInfo(**{**vars(model.info), "shape": Shape(channels=1, height=8, width=8, latent=5)})
    assert model.info.classes == () and model.info.trained.seed == 0


# -- what is no tensor -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "given_",
    [np.zeros((2, 1, 8, 8), np.float32), Image.new("L", (8, 8)), ["a.png"], "a.png", None],
)
def test_files_pictures_and_arrays_are_refused_in_a_sentence(model: Model, given_):
    x = pictures(2)
    for ask in (
        lambda: model.encode(given_), lambda: model.reconstruct(given_),
        lambda: model.decode(given_), lambda: model.render(given_),
        lambda: model.log_likelihood(given_, torch.zeros(2, 4)),
        lambda: model.log_likelihood(x, given_),
        lambda: model.interpolate(given_, given_), lambda: model.interpolate(x[0], given_),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=r"takes tensors, got \w+: ganvae\.tasks"):
            ask()
