"""Models as programs that run without this library."""

import subprocess
import sys

import pytest
import torch

from ganvae import cli, exports
from ganvae.errors import ConfigError

ALONE = """
import sys, torch
sys.modules["ganvae"] = None  # whoever imports it fails
saved = torch.load(sys.argv[2], weights_only=True)
found = torch.export.load(sys.argv[1]).module()(*saved["given"])
parts = found if isinstance(found, tuple) else (found,)
assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(parts, saved["expected"], strict=True))
"""


def alone(program, tmp_path, given, expected):
    """What a process without ganvae gets from a program."""
    torch.save({"given": given, "expected": expected}, tmp_path / "numbers.pt")
    code = [sys.executable, "-c", ALONE, str(program), str(tmp_path / "numbers.pt")]
    done = subprocess.run(code, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_programs_run_without_this_library(model, tmp_path):
    encoder, decoder, generator = exports.write(model, "pt2", tmp_path / "out")
    assert [path.name for path in (encoder, decoder, generator)] == [
        "encoder.pt2", "decoder.pt2", "generator.pt2",
    ]  # fmt: skip
    z = model.latents(7, seed=1).clone()
    alone(generator, tmp_path, [z], [model.render(z).clone()])


def test_an_encoder_gives_the_posterior(model, tmp_path):
    x = torch.rand(5, *model.shape) * 2 - 1
    q = model.encode(x)
    program = torch.export.load(exports.write(model, "pt2", tmp_path)[0]).module()
    mean, logvar = program(x)
    assert torch.allclose(mean, q.mean, atol=1e-5) and torch.allclose(logvar, q.logvar, atol=1e-5)


def test_classes_are_an_argument(make, tmp_path):
    model = make(classes=("a", "b", "c"))
    path = exports.write(model, "pt2", tmp_path)[-1]
    z, y = model.latents(4, "a", seed=1).clone(), torch.tensor([0, 1, 2, 0])
    made = torch.export.load(path).module()(z, y)
    assert torch.allclose(made, model.render(z, y), atol=1e-5)
    assert not torch.allclose(made, model.render(z, "a"), atol=1e-3)


@pytest.mark.parametrize("name", ["unit", "completion"])
def test_models_that_start_from_sources_are_exported(make_translation, tmp_path, name):
    model = make_translation(name, source=3)
    paths = exports.write(model, "pt2", tmp_path)
    both = ["encoder.pt2", "encoder_source.pt2", "generator.pt2", "generator_source.pt2"]
    assert [path.name for path in paths] == (both if name == "unit" else both[::2])


def test_a_network_that_cannot_be_exported_is_named(model, tmp_path, monkeypatch):
    class Wilful(torch.nn.Module):
        def forward(self, z):
            return z if float(z.sum()) > 0 else -z

    monkeypatch.setattr(type(model), "module", lambda self, role, source: Wilful())
    with pytest.raises(ConfigError, match="the encoder cannot become a program"):
        exports.write(model, "pt2", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_the_command_writes_them_and_names_what_it_does_not_know(folder, tmp_path, capsys):
    out = tmp_path / "programs"
    assert (
        cli.app(["export", str(folder), "--out", str(out)], result_action="return_value") is None
    )
    assert sorted(path.name for path in out.iterdir())[:1] == ["decoder.pt2"]
    assert "encoder.pt2 and 2 more" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="there is no format 'pt'; did you mean 'pt2'"):
        exports.write(None, "pt", tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="is a file: name a folder"):
        exports.write(None, "pt2", tmp_path / "file")
