"""Networks by themselves, as exports take them."""

import pytest
import torch
from torch import nn

from ganvae import objectives
from ganvae.config import Config, Networks
from ganvae.errors import ConfigError
from ganvae.models import Model, ModelInfo
from ganvae.models.draws import BLOCK
from ganvae.models.plain import Plain
from ganvae.networks import zoo
from ganvae.types import Noise, Shape

SOURCES = {"bicycle": 2, "unit": 1, "completion": 4}
OBJECTIVES = ["gan_vae", "vae", "vqgan", "aux_vae", "cvae_gan", "bicycle", "unit", "completion"]


def build(name, classes=0):
    """An untrained model, and its discriminator where it has one of images alone."""
    objective = objectives.get(name)()
    settings = Config(objective=name, networks=Networks(width=8, latent=4, codes=8))
    shape = Shape(channels=3, height=16, width=16, classes=classes, source=SOURCES.get(name, 0),
                  latent=zoo.latent(objective.kinds, settings.networks, (3, 16, 16)))  # fmt: skip
    kinds = {r: k for r, k in objective.kinds.items() if r in objective.networks}
    networks = zoo.settled(settings.networks, kinds, shape.image)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        nets = {r: zoo.build(kinds.get(r, r), networks, shape) for r in objective.networks}
        for net in nets.values():  # those of new networks are 0 in part, and would hide a mistake
            for parameter in net.parameters():
                parameter.data.add_(0.05 * torch.randn_like(parameter))
    names = tuple("abc"[:classes])
    info = ModelInfo.of(
        settings, shape, decoder=objective.decoder, generator=objective.generator, kinds=kinds,
        task=objective.task, paired=objective.paired, classes=names,
        class_shares=[1 / classes] * classes if classes else (),
    )  # fmt: skip
    return Model(nets, info), nets.get("discriminator")


CASES = {name: (name, 0) for name in OBJECTIVES} | {
    f"{name} of classes": (name, 3) for name in ("gan_vae", "vqgan", "aux_vae", "cvae_gan")
}
CASES.pop("cvae_gan")  # needs classes


@pytest.fixture(params=CASES, scope="module")
def case(request):
    model, _ = build(*CASES[request.param])
    return model


def images(n, channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, channels, 16, 16, generator=generator) * 2 - 1


def asked(model):
    """Each role with the arguments that its network takes, for two images."""
    label = (torch.tensor([2, 0]),) if model.info.classes else ()
    z = torch.randn(2, model.latent, generator=torch.Generator().manual_seed(1))
    from_sources = model.info.paired is True
    c = (images(2, model.info.shape.source),) if from_sources else label
    if model.info.task == "complete":
        c[0][:, -1] = (c[0][:, -1] > 0).float()
    roles = {model.info.decoder: (z, *c), model.info.generator: (z, *c)}
    return ({"encoder": (images(2), *label)} if "encoder" in model.networks else {}) | roles


def test_a_module_does_what_the_verbs_do_to_the_last_bit(case):
    x, label = images(2), torch.tensor([2, 0]) if case.info.classes else None
    c = () if label is None else (label,)
    if "encoder" in case.networks and case.info.task != "complete":
        mean, spread = case.module("encoder")(x, *c)
        q = case.encode(x, label)
        assert torch.equal(mean, q.mean)
        assert torch.equal(spread, q.codes if "vqgan" in repr(case) else q.logvar)
    z = torch.randn(2, case.latent, generator=torch.Generator().manual_seed(1))
    if not case.info.paired:
        assert torch.equal(case.module(case.info.decoder)(z, *c), case.decode(z, label))
        assert torch.equal(case.module(case.info.generator)(z, *c), case.render(z, label))
    kept = case.module(case.info.generator)
    assert not any(p.requires_grad for p in kept.parameters()) and not kept.training
    kept.half()
    assert all(p.dtype is torch.float32 for p in case.networks[case.info.generator].parameters())


def test_a_module_of_pairs_takes_its_source():
    for name in ("bicycle", "completion"):
        model, _ = build(name)
        source = images(2, SOURCES[name])
        noise = Noise(3, 0, 0, 2, total=BLOCK)
        z = model.prior.sample(noise).detach()[:2]
        if name == "bicycle":
            wanted = model.translate(source, seed=3)
        else:
            source[:, -1] = (source[:, -1] > 0).float()
            source[:, :-1] *= 1 - source[:, -1:]
            wanted = model.complete(source[:, :-1], source[:, -1:], seed=3)
        assert torch.equal(model.module("generator")(z, source), wanted[:, 0])


@pytest.mark.parametrize("reverse", [False, True])
def test_modules_of_unpaired_sets_lead_both_ways(reverse):
    model, _ = build("unit")
    source = images(2, 3 if reverse else 1)
    mean, logvar = model.module("encoder", source=not reverse)(source)
    eps = Noise(3, 0, 0, 2, total=BLOCK).normal(model.latent)[:2]
    made = model.module("generator", source=reverse)(mean + (0.5 * logvar).exp() * eps)
    assert torch.equal(made, model.translate(source, seed=3, reverse=reverse)[:, 0])


def test_a_module_can_be_exported_and_traced(case):
    for role, given in asked(case).items():
        module = case.module(role)
        wanted = module(*given)
        exported = torch.export.export(module, given).module()(*given)
        traced = torch.jit.trace(module, given)(*given)
        for found in (exported, traced):
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_an_exported_module_takes_other_batches():
    model, _ = build("gan_vae", 3)
    z, y = torch.randn(5, model.latent), torch.tensor([0, 1, 2, 1, 0])
    batch = torch.export.Dim("batch", min=2, max=64)
    module = model.module("generator")
    program = torch.export.export(module, (z[:2], y[:2]), dynamic_shapes=({0: batch}, {0: batch}))
    torch.testing.assert_close(program.module()(z, y), module(z, y), atol=1e-5, rtol=1e-5)


def test_a_discriminator_of_a_training_is_plain_too():
    for name in ("gan_vae", "vqgan"):
        _, discriminator = build(name)
        module, x = Plain(discriminator), images(2)
        with torch.no_grad():
            assert torch.equal(module(x), discriminator(x))
        torch.export.export(module, (x,))


def test_what_cannot_be_exported_is_named():
    model, _ = build("vae")
    for role in ("discriminator", "prior", "likelihood", "no"):
        with pytest.raises(ConfigError, match=f"no '{role}' to export, but encoder, decoder"):
            model.module(role)
    with pytest.raises(ConfigError, match="unpaired sets"):
        model.module("encoder", source=True)
    pair = nn.Module()
    pair.forward = lambda x: [x]
    with pytest.raises(ConfigError, match="must return tensors"):
        Plain(pair)(images(1))
