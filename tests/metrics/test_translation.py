"""Figures of models that start from sources."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ganvae import config, metrics
from ganvae.metrics.sampling import made_of_sources


def pairs(kit, n, seed, hole=False):
    """Images whose source is their negative; in completion it lacks a square."""

    class Pairs(kit.Pictures):
        def sources(self, rows, seed=0):
            x = self.images(rows)
            if not hole:
                return -x
            mask = torch.zeros_like(x[:, :1])
            mask[:, :, 4:8, 4:8] = 1
            return torch.cat([x * (1 - mask), mask], 1)

    return Pairs(kit.pictures(n, seed))


class Translator:
    """Makes the target of each source, and moves it by what each variant draws."""

    networks = {}
    device = torch.device("cpu")

    def __init__(self, spread, task="translate"):
        self.spread, self.info = spread, SimpleNamespace(task=task)

    def of_sources(self, source, variants=1, *, seed=0, start=0):
        if self.info.task == "complete":
            return source[:, None, :-1].expand(-1, variants, -1, -1, -1)
        g = torch.Generator().manual_seed(seed + start)
        shift = self.spread * torch.randn(len(source), variants, 1, 1, 1, generator=g)
        return (-source[:, None] + shift).clamp(-1, 1)


def judged(kit, model, judge, hole=False):
    data = kit.Data(train=pairs(kit, 60, 0, hole), test=pairs(kit, 40, 1, hole), paired=True)
    settings = config.Evaluation(samples=40)
    return metrics.evaluate(model, data, settings, judge=judge)["figures"]


def test_a_perfect_translator_has_no_error_and_one_that_ignores_z_no_variety(kit, bumps):
    found = judged(kit, Translator(0.0), bumps)
    assert found["mse"]["value"] == pytest.approx(0, abs=1e-5)
    assert found["variety"]["value"] == pytest.approx(0, abs=1e-4)
    assert "elbo" not in found and "perceptual" not in found


def test_variants_that_differ_have_variety_and_the_best_is_nearer(kit, bumps):
    found = judged(kit, Translator(0.3), bumps)
    assert found["variety"]["value"] > 0.05
    assert found["mse_best"]["value"] < found["mse"]["value"]


def test_completions_are_of_held_out_images_and_keep_what_is_known(kit, bumps):
    data = pairs(kit, 5, 1, hole=True)
    made = next(made_of_sources(Translator(0, "complete"), data, np.arange(5), 0, 2))
    known = data.sources(np.arange(5))[:, -1:] == 0
    assert made.shape == (5, 2, 1, 16, 16)
    assert torch.equal(made[:, 0][known], data.all[known])
    assert judged(kit, Translator(0, "complete"), bumps, hole=True)["kid"]["value"] is not None
