import os

import numpy as np
import pytest
import torch

from ganvae.metrics import cache, judge, sampling


@pytest.fixture
def images(kit):
    return kit.Pictures(kit.pictures(40, 0))


@pytest.fixture
def known(bumps):
    """A judge whose features may be kept on disk."""
    bumps.cacheable = True
    return bumps


ROWS = np.arange(0, 40, 2)


def test_computed_once_per_judge(images, known):
    first = cache.features(images, known, ROWS)
    assert torch.allclose(first, known(images.all[::2]), atol=1e-5)
    reads = images.reads
    assert torch.equal(cache.features(images, known, ROWS), first)
    assert images.reads == reads


def test_kept_on_disk_for_the_next_process(images, known, kit, tmp_path):
    first = cache.features(images, known, ROWS, cache=tmp_path)
    reads = images.reads
    again = judge.load(kit.Bumps(), 16)
    again.cacheable = True
    assert torch.equal(cache.features(images, again, ROWS, cache=tmp_path), first)
    assert images.reads == reads
    assert [p.suffix for p in tmp_path.iterdir()] == [".safetensors"]


def test_strangers_are_not_kept_on_disk(images, bumps, tmp_path):
    cache.features(images, bumps, ROWS, cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_key_tells_images_judges_sizes_and_rows_apart(images, known, kit):
    other_images = kit.Pictures(kit.pictures(40, 1))
    bigger = judge.load(kit.Bumps(), 24)
    keys = {
        cache.key(images, known, ROWS),
        cache.key(other_images, known, ROWS),
        cache.key(images, bigger, ROWS),
        cache.key(images, known, ROWS[:-1]),
        cache.key(images, known, ROWS + 1),
    }
    assert len(keys) == 5
    assert cache.key(images, known, ROWS.astype(np.int32)) in keys


def corrupt(path):
    path.write_bytes(b"junk")


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def poison(path):
    from safetensors.torch import save_file

    save_file({"features": torch.full((20, 24), torch.nan)}, path)


def shrink(path):
    from safetensors.torch import save_file

    save_file({"features": torch.zeros(3, 24)}, path)


@pytest.mark.parametrize("harm", [corrupt, cut, poison, shrink])
def test_damaged_files_are_computed_again(images, known, tmp_path, harm):
    first = cache.features(images, known, ROWS, cache=tmp_path)
    known.memory.clear()
    (path,) = tmp_path.iterdir()
    harm(path)
    assert torch.equal(cache.features(images, known, ROWS, cache=tmp_path), first)
    known.memory.clear()
    reads = images.reads
    cache.features(images, known, ROWS, cache=tmp_path)
    assert images.reads == reads  # mended


def test_a_place_that_cannot_be_written_is_done_without(images, known, tmp_path):
    (tmp_path / "file").write_text("in the way")
    found = cache.features(images, known, ROWS, cache=tmp_path / "file")
    assert found.shape == (20, 24)


def test_disk_use_is_bounded_oldest_first(images, known, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "ON_DISK", 5000)
    for i in range(5):
        cache.features(images, known, ROWS[i:], cache=tmp_path)
        newest = tmp_path / f"{cache.key(images, known, ROWS[i:])}.safetensors"
        os.utime(newest, (1000 + i, 1000 + i))
    left = sorted(p.stat().st_mtime for p in tmp_path.iterdir())
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) < 7000
    assert 1004 in left
    assert 1000 not in left


def test_memory_is_bounded(images, known):
    for i in range(10):
        cache.features(images, known, ROWS[i:])
    assert len(known.memory) == cache.IN_MEMORY


def test_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "ganvae" / "features"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder() == tmp_path / ".cache" / "ganvae" / "features"


def test_rows_are_a_seeded_nested_choice():
    few, many = sampling.rows(1000, 50, 3), sampling.rows(1000, 200, 3)
    assert len(np.unique(few)) == 50
    assert (np.diff(few) > 0).all()
    assert np.isin(few, many).all()
    assert not np.array_equal(few, sampling.rows(1000, 50, 4))
    assert np.array_equal(sampling.rows(7, 100, 0), np.arange(7))
    assert many.mean() == pytest.approx(500, abs=80)


def test_samples_are_rounded_to_eight_bits_and_numbered(kit, data):
    model = kit.Sampler(data.train.all)
    model.stock = model.stock * 0.77
    batches = list(sampling.generated(model, 300, seed=5))
    assert [len(b) for b in batches] == [128, 128, 44]
    x = torch.cat(batches)
    grid = (x + 1) * 127.5
    assert torch.allclose(grid, grid.round(), atol=1e-3)
    assert (x - model.generate(300, seed=5)).abs().max() <= 1 / 255 + 1e-6
    one = sampling.levels(model.generate(1, seed=5, start=200))
    assert torch.equal(one[0], x[200])


def test_broken_models_are_named(kit, data):
    model = kit.Sampler(data.train.all * torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        list(sampling.generated(model, 5, 0))


def test_what_follows_from_features_is_computed_once(images, known, tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"sum": torch.tensor(2.0, dtype=torch.float64), "rows": torch.arange(3)}

    def ask(what="a", rows=ROWS, judge=known, folder=tmp_path):
        return cache.derived(what, [(images, rows)], judge, compute, cache=folder)

    first, again = ask(), ask()
    assert len(calls) == 1
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    ask("b"), ask(rows=ROWS[1:])
    assert len(calls) == 3
    ask(folder=None)
    known.cacheable = False
    ask()
    assert len(calls) == 5


def test_what_was_derived_and_is_damaged_is_computed_again(images, known, tmp_path):
    def ask(value):
        what = {"sum": torch.tensor(value)}
        return cache.derived("a", [(images, ROWS)], known, lambda: what, cache=tmp_path)["sum"]

    ask(1.0)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-2])
    assert ask(2.0) == 2.0
    assert ask(3.0) == 2.0
