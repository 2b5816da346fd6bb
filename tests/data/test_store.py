from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ganvae import config
from ganvae.data import Manifest, difference, open_data, store, workers
from ganvae.data.decode import Bad, Preparation
from ganvae.data.workers import Item, prepare_all
from ganvae.errors import DataError

from .conftest import photo

Make = Callable[..., Path]
Setting = Callable[..., config.Data]
HOW = Preparation(height=16, width=16)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that were decoded since."""
    names: list[str] = []

    def alone(item: Item, how: Preparation) -> workers.Outcome:
        if not isinstance(item.image, workers.Prepared):
            names.append(item.name)
        return real(item, how)

    real = workers._prepare_here
    monkeypatch.setattr(workers, "_prepare_here", alone)
    return names


def test_packed_once_and_again_only_what_changed(
    make: Make, setting: Setting, decoded: list[str]
) -> None:
    root = make(10)
    first = open_data(setting(root))
    assert len(decoded) == 10
    assert open_data(setting(root)).fingerprint == first.fingerprint
    assert len(decoded) == 10
    photo(99, 16, 16).save(root / "3.png")
    (root / "5.png").unlink()
    make(1, first=20)
    second = open_data(setting(root))
    assert decoded[10:] == ["20.png", "3.png"]
    assert second.fingerprint != first.fingerprint
    told = difference(first.manifest(), second.manifest())
    assert str(told) == "images: 1 added, 1 removed, 1 edited"
    fresh = open_data(setting(root, cache=str(root.parent / "other")))
    assert fresh.fingerprint == second.fingerprint
    rows = np.arange(10)
    np.testing.assert_array_equal(fresh.store.read(rows), second.store.read(rows))
    np.testing.assert_array_equal(fresh.store.policies(), second.store.policies())


def test_the_fingerprint_is_of_contents_not_of_times_or_places(
    make: Make, setting: Setting, tmp_path: Path
) -> None:
    root = make(6)
    first = open_data(setting(root))
    os.utime(root / "2.png", (1, 1))
    assert open_data(setting(root)).fingerprint == first.fingerprint
    shutil.copytree(root, tmp_path / "moved")
    assert open_data(setting(tmp_path / "moved")).fingerprint == first.fingerprint
    assert open_data(setting(root, resize="stretch")).fingerprint != first.fingerprint
    assert open_data(setting(root, size=8)).fingerprint != first.fingerprint
    os.rename(root / "2.png", root / "x.png")
    after = open_data(setting(root))
    assert str(difference(first.manifest(), after.manifest())) == "images: 1 renamed"


def test_an_edit_that_keeps_size_and_mtime_is_seen(make: Make, setting: Setting) -> None:
    root = make(5)
    for name in ("a.bmp", "b.bmp"):
        Image.new("RGB", (16, 16), (0, 0, ord(name[0]))).save(root / name)
    first = open_data(setting(root))
    before = (root / "a.bmp").stat()
    time.sleep(0.02)
    Image.new("RGB", (16, 16), (9, 9, 9)).save(root / "a.bmp")
    os.utime(root / "a.bmp", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert open_data(setting(root)).fingerprint != first.fingerprint


def test_manifests_survive_a_file(make: Make, setting: Setting, tmp_path: Path) -> None:
    data = open_data(setting(make(5)))
    data.manifest().save(tmp_path / "images.npy")
    told = difference(tmp_path / "images.npy", data.manifest())
    assert str(told) == "images: only their order or labels"
    (tmp_path / "images.npy").write_bytes(b"x")
    with pytest.raises(DataError, match="cannot read the list"):
        difference(tmp_path / "images.npy", data.manifest())


@given(
    st.dictionaries(st.integers(0, 12), st.integers(0, 5)),
    st.dictionaries(st.integers(0, 12), st.integers(0, 5)),
)
def test_differences_add_up(before: dict[int, int], after: dict[int, int]) -> None:
    def manifest(images: dict[int, int]) -> Manifest:
        return Manifest(np.array([*images], np.uint64), np.array([*images.values()], np.uint64))

    told = difference(manifest(before), manifest(after))
    assert told.added - told.removed == len(after) - len(before)
    common = before.keys() & after.keys()
    assert told.edited == sum(before[key] != after[key] for key in common)
    assert told.added + told.renamed == len(after.keys() - before.keys())


# -------------------------------------------------------------------------- damage and crashes


def stores(chosen: config.Data) -> list[Path]:
    assert chosen.cache
    return sorted(Path(chosen.cache, "packed").glob("*/[!.]*"))


@pytest.mark.parametrize("name", ["meta.json", "pixels.u8", "hashes.npy", "names.jsonl"])
@pytest.mark.parametrize("how", ["cut", "flip", "missing"])
def test_a_damaged_store_is_packed_anew(name: str, how: str, make: Make, setting: Setting) -> None:
    root = make(8)
    first = open_data(setting(root)).fingerprint
    (folder,) = stores(setting(root))
    content = bytearray((folder / name).read_bytes())
    if how == "missing":
        (folder / name).unlink()
    else:
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content[:-1] if how == "cut" else content)
    again = open_data(setting(root))
    assert again.fingerprint == first
    assert any("damaged" in note for note in again.notes) or name == "meta.json"
    assert open_data(setting(root)).notes == []


def test_every_flipped_bit_of_pixels_and_description_is_noticed(
    make: Make, setting: Setting
) -> None:  # R1
    root = make(64)
    open_data(setting(root))
    (folder,) = stores(setting(root))
    random = np.random.default_rng(0)
    for name in ["pixels.u8"] * 20 + ["meta.json"] * 20:
        whole = (folder / name).read_bytes()
        flipped = bytearray(whole)
        flipped[random.integers(len(flipped))] ^= 1 << int(random.integers(8))
        (folder / name).write_bytes(flipped)
        with pytest.raises(store.Damaged):
            store.Store(folder)
        (folder / name).write_bytes(whole)
    store.Store(folder)


def test_what_lies_among_packed_images_and_is_no_store_stays(make: Make, setting: Setting) -> None:
    root = make(4)
    open_data(setting(root))
    (folder,) = stores(setting(root))
    for name in ("notes", ".tmp-work", "0" * 32):
        (folder.parent / name).mkdir()
        (folder.parent / name / "thesis.txt").write_text("mine")
    make(5)
    open_data(setting(root))
    left = {path.name for path in folder.parent.iterdir()}
    assert {"notes", ".tmp-work", "0" * 32} < left and folder.name not in left


def test_an_open_store_outlives_its_successor(make: Make, setting: Setting) -> None:
    root = make(8)
    old = open_data(setting(root))
    pixels, names = old.train.take(range(len(old.train))), old.train.names()
    make(1, first=50)
    open_data(setting(root))
    assert old.train.names() == names
    assert (old.train.take(range(len(old.train))) == pixels).all()
    assert len(stores(setting(root))) == 2
    del old
    make(1, first=51)
    data = open_data(setting(root))
    assert len(stores(setting(root))) == 1
    assert len(data.train) + len(data.test) == 10


def test_a_store_that_nobody_can_tell_is_unused_stays(
    make: Make, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make(8)
    open_data(setting(root))
    real = store._hold

    def nfs(file: IO[bytes], *, alone: bool = False) -> None:
        if alone:  # as where its lock daemon does not answer
            raise OSError(errno.ENOLCK, "No locks available")
        real(file, alone=alone)

    make(1, first=50)
    with monkeypatch.context() as patch:
        patch.setattr(store, "_hold", nfs)
        open_data(setting(root))
    assert len(stores(setting(root))) == 2


PACK = """
import sys, time
from pathlib import Path
from ganvae.data import store, workers
from ganvae.data.find import find
from ganvae.data.decode import Preparation
real = workers._prepare_here
def slowly(item, how):
    time.sleep(float(sys.argv[3]))
    print("decoded", flush=True)
    return real(item, how)
workers._prepare_here = slowly
source, how = find(sys.argv[1]), Preparation(height=16, width=16)
found, _ = store.ingest(source, how, Path(sys.argv[2]))
print("packed", len(found), flush=True)
"""


def start(chosen: config.Data, pause: float) -> subprocess.Popen[str]:
    run = [sys.executable, "-c", PACK, chosen.path, str(chosen.cache), str(pause)]
    return subprocess.Popen(run, stdout=subprocess.PIPE, text=True)


def test_two_processes_pack_once(make: Make, setting: Setting) -> None:
    chosen = setting(make(12))
    both = [start(chosen, 0.02), start(chosen, 0.02)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert all("packed 12" in text for text in said)
    assert sum(text.count("decoded") for text in said) == 12
    assert len(stores(chosen)) == 1


def test_a_killed_process_leaves_nothing_behind(make: Make, setting: Setting) -> None:
    chosen = setting(make(12))
    process = start(chosen, 0.05)
    assert process.stdout
    for _ in range(4):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert stores(chosen) == []
    assert len(open_data(chosen).train) > 0
    assert len(stores(chosen)) == 1
    assert not [*Path(str(chosen.cache)).glob("packed/*/.ganvae-*")]


def test_no_room(make: Make, setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = setting(make(4))

    class Usage:
        free = 100

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: Usage)
        with pytest.raises(DataError, match=r"1,024 bytes are needed and 100 are free"):
            open_data(chosen)
    assert stores(chosen) == []
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(DataError, match=r"no room .* bytes are free; make room"):
            open_data(chosen)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert stores(chosen) == []
    assert len(open_data(chosen).train) == 3


def test_a_cache_that_cannot_be_written(make: Make, setting: Setting, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write packed images .* data.cache"):
        open_data(setting(make(4), cache=str(tmp_path / "file" / "below")))


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store.cache_folder(None) == tmp_path / "ganvae"
    assert store.cache_folder("~/x") == Path.home() / "x"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert store.cache_folder(None) == Path.home() / ".cache" / "ganvae"


def test_the_meta_file_is_json_with_every_file(make: Make, setting: Setting) -> None:
    open_data(setting(make(4)))
    (folder,) = stores(setting(make(4)))
    meta = json.loads((folder / "meta.json").read_text())
    assert {path.name for path in folder.iterdir()} == {*meta["files"], "meta.json"}
    assert meta["count"] == 4 and meta["shape"] == [16, 16, 3]


# -------------------------------------------------------------------------------------- workers


def paths(root: Path) -> list[Item]:
    return [Item(name=path.name, image=str(path)) for path in sorted(root.iterdir())]


def same(a: list[workers.Outcome], b: list[workers.Outcome]) -> None:
    for (item, one), (other_item, other) in zip(a, b, strict=True):
        assert item == other_item
        if isinstance(one, Bad) or isinstance(other, Bad):
            assert str(one) == str(other)
        else:
            assert one.policies == other.policies
            np.testing.assert_array_equal(one.pixels, other.pixels)


def test_decoding_processes_give_what_this_process_gives(make: Make) -> None:
    root = make(70)
    (root / "bad.png").write_bytes(b"<html>")
    (root / "line\nbreak.png").write_bytes((root / "1.png").read_bytes())
    photo(3, 16, 16, "L").save(root / "grey.png")
    items = paths(root)
    items += [Item(name="bytes", image=Path(str(item.image)).read_bytes()) for item in items]
    here = [*prepare_all(items, HOW, 0)]
    items.insert(5, Item(name="done", image=here[0][1]))
    same([*prepare_all(items, HOW, 2)], [*prepare_all(items, HOW, 0)])


def test_many_files_are_shared_out(
    make: Make, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "FEW", 20)
    monkeypatch.setattr(workers, "cores", lambda: 2)
    root = make(60)
    told: list[tuple[int, int | None]] = []
    data = open_data(setting(root), progress=lambda what, *at: told.append(at))
    assert told[-1] == (60, 60)
    fresh = open_data(setting(root, cache=str(root.parent / "other")), workers=0)
    assert fresh.fingerprint == data.fingerprint


def test_a_file_that_crashes_its_decoder_is_told(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = workers._Worker._start

    def start(self: workers._Worker) -> subprocess.Popen[bytes]:
        monkeypatch.setattr(sys, "path", [str(root), *sys.path])
        return real(self)

    root = make(8)
    (root / "sitecustomize.py").write_text(
        "import os\nfrom ganvae.data import decode\nreal = decode.prepare\n"
        "def prepare(file, how):\n"
        "    if str(file).endswith('5.png'):\n        os.kill(os.getpid(), 9)\n"
        "    return real(file, how)\n"
        "decode.prepare = prepare\n"
    )
    monkeypatch.setattr(workers._Worker, "_start", start)
    items = [item for item in paths(root) if item.name.endswith("png")]
    outcomes = [*prepare_all(items, HOW, 1)]
    bad = {item.name: str(done) for item, done in outcomes if isinstance(done, Bad)}
    assert bad == {"5.png": "crashed the decoder"}


def test_a_decoding_process_that_cannot_start_says_why(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'No module named ganvae' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(RuntimeError, match=r"did not start: No module named ganvae"):
        list(prepare_all(paths(make(3)), HOW, 1))


def test_stopping_early_leaves_no_process(make: Make) -> None:
    before = {*children()}
    stream = prepare_all(paths(make(120)), HOW, 2)
    next(stream)
    assert len({*children()} - before) == 2
    stream.close()  # type: ignore[attr-defined]
    assert {*children()} == before


def children() -> list[int]:
    found: list[int] = []
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it may end just now
            found += map(int, (thread / "children").read_text().split())
    return found


def test_importing_the_decoders_does_not_import_torch() -> None:
    code = "import sys, ganvae.data.workers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_d12_many_files(tmp_path: Path) -> None:
    """A tenth of the million: index in a tenth of 2 min and 1 GB, again in a tenth of 30 s."""
    photo(0, 4, 4).save(tmp_path / "0.png")
    content = (tmp_path / "0.png").read_bytes()
    for number in range(100_000):
        folder = tmp_path / "many" / str(number % 100)
        if number < 100:
            folder.mkdir(parents=True)
        (folder / f"{number}.png").write_bytes(content)
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "status = lambda: Path('/proc/self/status').read_text()\n"
        "peak = lambda: int(status().split('VmHWM:')[1].split()[0])\n"
        "from ganvae.data.find import find\n"
        "before = peak()\n"
        "start = time.perf_counter()\n"
        "index = find(sys.argv[1]).index()\n"
        "seconds = time.perf_counter() - start\n"
        "print(len(index.names), seconds, (peak() - before) / 1024)\n"
    )
    run = [sys.executable, "-c", code, str(tmp_path / "many")]
    count, seconds, memory = subprocess.check_output(run, text=True).split()
    assert int(count) == 100_000
    assert float(seconds) <= 12 and float(memory) <= 100
    begin = time.perf_counter()
    subprocess.check_output(run, text=True)
    assert time.perf_counter() - begin <= 3
