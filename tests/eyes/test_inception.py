import hashlib

import pytest
import torch

from ganvae.errors import ConfigError
from ganvae.eyes import inception
from ganvae.metrics import judge


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return inception.InceptionV3().eval()


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No weights in any cache."""
    monkeypatch.delenv(inception.VARIABLE, raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    return tmp_path


def test_has_the_published_parameters(net):
    # InceptionV3 without its classifier, batch norm with scale and shift
    body = sum(p.numel() for n, p in net.named_parameters() if not n.startswith("fc."))
    assert body == 21_785_568
    assert tuple(net.fc.weight.shape) == (1008, 2048)
    shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    assert len([name for name in shapes if name.endswith("conv.weight")]) == 94
    published = {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Conv2d_4a_3x3.bn.running_var": (192,),
        "Mixed_5b.branch5x5_2.conv.weight": (64, 48, 5, 5),
        "Mixed_5c.branch_pool.conv.weight": (64, 256, 1, 1),
        "Mixed_6a.branch3x3dbl_3.conv.weight": (96, 96, 3, 3),
        "Mixed_6b.branch7x7dbl_2.conv.weight": (128, 128, 7, 1),
        "Mixed_6e.branch7x7_2.conv.weight": (192, 192, 1, 7),
        "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3),
        "Mixed_7b.branch3x3_2a.conv.weight": (384, 384, 1, 3),
        "Mixed_7c.branch3x3dbl_3b.conv.weight": (384, 384, 3, 1),
        "Mixed_7c.branch_pool.conv.weight": (192, 2048, 1, 1),
    }
    assert {name: shapes[name] for name in published} == published


def test_resolutions_are_the_published_ones(net):
    seen = {}
    hooks = [
        module.register_forward_hook(lambda m, i, o, name=name: seen.update({name: o.shape[1:]}))
        for name, module in net.named_children()
    ]
    with torch.inference_mode():
        out = net(torch.zeros(1, 3, 299, 299))
    for hook in hooks:
        hook.remove()
    assert out.shape == (1, 2048)
    expected = {
        "Conv2d_2b_3x3": (64, 147, 147), "Conv2d_4a_3x3": (192, 71, 71),
        "Mixed_5d": (288, 35, 35), "Mixed_6e": (768, 17, 17), "Mixed_7c": (2048, 8, 8),
    }  # fmt: skip
    assert {name: tuple(seen[name]) for name in expected} == expected


def test_borders_and_the_last_pool_are_fids(net):
    ones = torch.ones(1, 1, 4, 4)
    assert torch.equal(inception._average(ones), ones)  # padding is not averaged in
    assert net.Mixed_7b.pool is inception._average
    assert net.Mixed_7c.pool is inception._maximum


def test_missing_weights_name_the_way_to_them(nowhere):
    with pytest.raises(ConfigError, match=r"GANVAE_INCEPTION.*efficientnet-lite0"):
        judge.load("inception")


def test_wrong_path_and_wrong_file_are_named(nowhere, monkeypatch):
    monkeypatch.setenv(inception.VARIABLE, str(nowhere / "none.pth"))
    with pytest.raises(ConfigError, match=r"none\.pth"):
        inception.load()
    (nowhere / "w.pth").write_bytes(b"not it")
    monkeypatch.setenv(inception.VARIABLE, str(nowhere / "w.pth"))
    with pytest.raises(ConfigError, match="not FID's published Inception"):
        inception.load()


@pytest.fixture(scope="module")
def written(net, tmp_path_factory):
    """A file as the published one is, without counters."""
    path = tmp_path_factory.mktemp("weights") / "w.pth"
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, path)
    return path


def place(written, path, monkeypatch):
    """Put a weights file at ``path`` and take it for the published one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(written)
    digest = hashlib.sha256(written.read_bytes()).hexdigest()
    monkeypatch.setattr(inception, "DIGEST", digest[:8])


@pytest.mark.parametrize(
    "where",
    [
        f"hub/checkpoints/{inception.FILES[1]}",
        f"hf/models--someone--fid/snapshots/abc/{inception.FILES[0]}",
    ],
)
def test_weights_are_found_in_the_caches(net, written, nowhere, monkeypatch, where):
    place(written, nowhere / where, monkeypatch)
    found = inception.load()
    assert not found.training
    assert torch.equal(found.Mixed_7c.branch1x1.conv.weight, net.Mixed_7c.branch1x1.conv.weight)


def test_judges_at_299_whatever_the_size(net, written, nowhere, monkeypatch):
    place(written, nowhere / "w.pth", monkeypatch)
    monkeypatch.setenv(inception.VARIABLE, str(nowhere / "w.pth"))
    found = judge.load("inception", size=64)
    assert (found.name, found.dim) == ("Inception@299", 2048)
    x = torch.rand(1, 3, 299, 299) * 2 - 1
    assert torch.equal(found.prepare(x), x)
    with torch.inference_mode():
        assert torch.allclose(found(x), net(x), atol=1e-4)


def test_other_tensors_are_refused(nowhere, monkeypatch):
    torch.save({"surplus": torch.zeros(1)}, nowhere / "other.pth")
    place(nowhere / "other.pth", nowhere / "w.pth", monkeypatch)
    monkeypatch.setenv(inception.VARIABLE, str(nowhere / "w.pth"))
    with pytest.raises(ConfigError, match=r"missing or extra tensors \(Conv2d_1a_3x3"):
        inception.load()
