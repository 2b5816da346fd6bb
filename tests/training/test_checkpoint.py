"""Checkpoints: rows T2, T6, T8, T10-T13, T16, T23 and T26 of the fault list."""

import errno
import json
import os
import random
import resource
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganvae.errors import CheckpointError, DivergedError
from ganvae.training import checkpoint

TOUCHED = ("open", "write", "fsync", "rename", "mkdir", "unlink", "rmdir", "close")


def state(step: int) -> checkpoint.State:
    random_numbers = torch.Generator().manual_seed(step)
    weight = torch.randn(4, 3, 2, 2, generator=random_numbers)
    return {
        "networks.encoder": {
            "weight": weight.contiguous(memory_format=torch.channels_last),
            "bias": torch.full((), float(step)),
        },
        "optim.encoder": {"0.step": torch.tensor(step), "0.half": weight[0].bfloat16()},
        "random": {"cpu": random_numbers.get_state()[:64], "flags": torch.tensor([True, False])},
    }


def save(folder: Path, step: int, *, keep: int = 2, best: int | None = None, **meta) -> Path:
    meta = {"run": "r1", "position": {"step": step}} | meta
    return checkpoint.save(folder, step, state(step), meta, keep=keep, best=best)


def steps(folder: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in folder.glob("step-*"))


def read(folder: Path) -> tuple[checkpoint.Checkpoint | None, list[str]]:
    told: list[str] = []
    return checkpoint.latest(folder, told.append), told


def test_what_is_read_is_what_was_written(tmp_path):
    path = save(tmp_path, 7, data="abc", configuration="def", note="é\n<b>")
    found, told = read(tmp_path)
    assert found is not None and found.step == 7 and found.path == path and not told
    assert found.meta["note"] == "é\n<b>" and found.meta["position"] == {"step": 7}
    assert checkpoint.digest(found.state) == checkpoint.digest(state(7))
    for group, tensors in state(7).items():
        for name, tensor in tensors.items():
            assert found.state[group][name].dtype == tensor.dtype
            assert torch.equal(found.state[group][name], tensor)
    manifest = json.loads((path / "manifest.json").read_text())
    assert (manifest["step"], manifest["run"]) == (7, "r1")
    assert (manifest["data"], manifest["configuration"]) == ("abc", "def")
    assert manifest["versions"]["torch"] == torch.__version__
    assert set(manifest["files"]) == {p.name for p in path.iterdir()} - {"manifest.json"}


def test_tensors_that_share_memory_can_be_saved(tmp_path):
    shared = torch.arange(6.0)
    tied = {"networks.a": {"x": shared, "y": shared, "part": shared[2:4]}}
    checkpoint.save(tmp_path, 1, tied, {}, keep=1, best=None)
    found, _ = read(tmp_path)
    assert found is not None and torch.equal(found.state["networks.a"]["part"], shared[2:4])


def test_nothing_there_is_no_checkpoint(tmp_path):
    assert read(tmp_path / "absent") == (None, [])
    (tmp_path / "notes.txt").write_text("not a checkpoint")
    assert read(tmp_path) == (None, [])


def test_numbers_that_are_not_finite_become_null_in_meta(tmp_path):
    save(tmp_path, 1, score=float("nan"), more=[1.0, float("inf")])
    found, _ = read(tmp_path)
    assert found is not None and found.meta["score"] is None and found.meta["more"] == [1.0, None]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_states_that_are_not_finite_are_never_written(tmp_path, bad):
    save(tmp_path, 10)
    broken = state(20)
    broken["networks.encoder"]["weight"][1, 2, 0, 1] = bad
    with pytest.raises(DivergedError, match=r"networks\.encoder/weight"):
        checkpoint.save(tmp_path, 20, broken, {}, keep=2, best=None)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000010"]


def test_the_digest_sees_names_types_shapes_and_bytes():
    base = {"a": {"x": torch.zeros(2, 3)}}
    others = [
        {"b": {"x": torch.zeros(2, 3)}},
        {"a": {"y": torch.zeros(2, 3)}},
        {"a": {"x": torch.zeros(3, 2)}},
        {"a": {"x": torch.zeros(2, 3, dtype=torch.int32)}},
        {"a": {"x": torch.zeros(2, 3).index_fill(0, torch.tensor([1]), 1e-30)}},
    ]
    digests = [checkpoint.digest(s) for s in [base, *others]]
    assert len(set(digests)) == len(digests)
    image = torch.randn(2, 3, 4, 5)
    assert checkpoint.digest({"a": {"x": image}}) == checkpoint.digest(
        {"a": {"x": image.contiguous(memory_format=torch.channels_last)}}
    )


# -- retention ------------------------------------------------------------------------------


@given(
    keep=st.integers(1, 4),
    numbers=st.lists(st.integers(0, 10**6), min_size=1, max_size=6, unique=True).map(sorted),
    data=st.data(),
)
@settings(max_examples=12, deadline=None)
def test_the_newest_and_the_best_stay(keep, numbers, data):
    best = data.draw(st.sampled_from([None, *numbers]))
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            save(Path(folder), number, keep=keep, best=best)
        # the best one is kept from the moment it exists, and it always exists by then
        kept = {*numbers[-keep:], *([] if best is None else [best])}
        assert steps(Path(folder)) == sorted(kept)


def test_a_damaged_checkpoint_does_not_push_a_good_one_out(tmp_path):
    save(tmp_path, 10)
    (save(tmp_path, 20) / "meta.json").unlink()
    save(tmp_path, 30)
    assert steps(tmp_path) == [10, 30]


def test_later_steps_of_a_run_that_went_back_are_removed(tmp_path):
    save(tmp_path, 10)
    save(tmp_path, 20)
    save(tmp_path, 15)
    assert steps(tmp_path) == [10, 15]


def test_the_same_step_can_be_saved_again(tmp_path):
    save(tmp_path, 10, note="first")
    save(tmp_path, 10, note="second")
    found, _ = read(tmp_path)
    assert found is not None and found.meta["note"] == "second"
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000010"]


def test_at_least_one_is_kept(tmp_path):
    with pytest.raises(ValueError, match="at least 1"):
        save(tmp_path, 1, keep=0)


def test_order_is_by_step_not_by_clock(tmp_path):  # T23
    for step, clock in ((9, 3e9), (10, 2e9), (100_000_000, 1e9)):
        os.utime(save(tmp_path, step, keep=3), (clock, clock))
    assert read(tmp_path)[0].step == 100_000_000


# -- damage ---------------------------------------------------------------------------------


def files(path: Path) -> list[Path]:
    return sorted(path.iterdir())


def test_every_truncation_is_noticed(tmp_path):  # T10
    save(tmp_path, 10)
    newest = save(tmp_path, 20)
    for file in files(newest):
        whole = file.read_bytes()
        for length in [*range(0, len(whole), len(whole) // 18), len(whole) - 1]:
            file.write_bytes(whole[:length])
            found, told = read(tmp_path)
            assert found is not None and found.step == 10
            assert len(told) == 1 and file.name in told[0] and newest.name in told[0]
        file.write_bytes(whole)
    assert read(tmp_path)[0].step == 20


def test_every_flipped_bit_is_noticed(tmp_path):  # T11
    path = save(tmp_path, 20)
    places = [(file, i) for file in files(path) for i in range(file.stat().st_size)]
    chosen = random.Random(0)
    for _ in range(1000):
        file, position = chosen.choice(places)
        whole = file.read_bytes()
        flipped = bytearray(whole)
        flipped[position] ^= 1 << chosen.randrange(8)
        file.write_bytes(flipped)
        with pytest.raises(CheckpointError, match=file.name.replace(".", r"\.")):
            checkpoint.load(path)
        file.write_bytes(whole)
    checkpoint.verify(path)


def test_missing_and_swapped_files_are_noticed(tmp_path):  # T12
    older, newer = save(tmp_path, 10), save(tmp_path, 20)
    spare = tmp_path / "spare"
    for file in files(newer):
        shutil.move(file, spare)
        found, told = read(tmp_path)
        assert found.step == 10 and f"{file.name} is missing" in told[0]
        shutil.copy(older / file.name, file)
        found, told = read(tmp_path)
        assert found.step == 10 and file.name in told[0]
        shutil.move(spare, file)
    for file in files(newer):
        shutil.copy(older / file.name, file)
    found, told = read(tmp_path)
    assert found.step == 10 and "manifest of step 10" in told[0]


def test_a_manifest_cannot_name_files_elsewhere(tmp_path):
    path = save(tmp_path, 10)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest.pop("digest")
    manifest["files"]["../secret"] = {"bytes": 0, "sha256": ""}
    (path / "manifest.json").write_bytes(checkpoint._signed(manifest))
    with pytest.raises(CheckpointError, match="elsewhere"):
        checkpoint.load(path)


def test_only_bad_checkpoints_are_refused(tmp_path):  # T13
    for path in (save(tmp_path, 10), save(tmp_path, 20)):
        (path / "random.safetensors").write_bytes(b"")
    told: list[str] = []
    with pytest.raises(CheckpointError, match="none of the 2 checkpoints"):
        checkpoint.latest(tmp_path, told.append)
    assert len(told) == 2 and steps(tmp_path) == [10, 20]


# -- interruptions --------------------------------------------------------------------------


class Crash(BaseException):
    """The process ends here: no handler of OSError sees it."""


def crash_at(patch, number: int, half: bool) -> list[str]:
    """From now on the n-th call that touches the disk ends the process; returns the calls."""
    calls: list[str] = []

    def touched(name: str):
        real = getattr(os, name)

        def call(*args, **kwargs):
            if len(calls) > number and name == "close":
                return real(*args)  # the kernel does so for a dead process
            calls.append(name)
            if len(calls) - 1 == number:
                if name == "write" and half:
                    real(args[0], args[1][: len(args[1]) // 2])
                raise Crash(name)
            return real(*args, **kwargs)

        return call

    for name in TOUCHED:
        patch.setattr(os, name, touched(name))
    return calls


@pytest.mark.parametrize(("keep", "target"), [(1, 30), (2, 30), (1, 20), (2, 20)])
@pytest.mark.parametrize("half", [False, True])
def test_an_interrupted_save_leaves_the_old_or_the_new(tmp_path, monkeypatch, keep, target, half):
    """T2 and T26: ``target`` 20 writes a checkpoint that exists already once more."""
    start = tmp_path / "start"
    for step in (10, 20)[-keep:]:
        save(start, step, keep=keep, note="old")
    seen = set()
    for number in range(1000):
        folder = tmp_path / str(number)
        shutil.copytree(start, folder)
        with monkeypatch.context() as patch:
            calls = crash_at(patch, number, half)
            try:
                save(folder, target, keep=keep, note="new")
                break
            except Crash as crash:
                seen.add(str(crash))
        assert len(calls) == number + 1
        for cleaned in (False, True):
            if cleaned:
                checkpoint.clean(folder)
                assert not list(folder.glob(".tmp*")) and not list(folder.glob("*.old"))
            found, told = read(folder)
            assert found is not None and not told
            assert (found.step, found.meta["note"]) in {(20, "old"), (target, "new")}
            assert checkpoint.digest(found.state) == checkpoint.digest(state(found.step))
        save(folder, 40, keep=keep)  # and the run goes on
        assert read(folder)[0].step == 40
        shutil.rmtree(folder)
    assert number > 25 and {"write", "fsync", "rename", "unlink", "rmdir"} <= seen


def test_leftovers_are_cleaned(tmp_path):
    save(tmp_path, 10)
    for left in (tmp_path / f".ganvae-{'a' * 32}", tmp_path / f".tmp-{'0' * 32}"):
        left.mkdir()
        (left / "meta.json").write_text("{")
    checkpoint.clean(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000010"]
    checkpoint.clean(tmp_path / "absent")


def test_what_is_not_ours_is_named_and_never_touched(tmp_path):  # R3
    folder, aside = tmp_path / "checkpoints", tmp_path / "aside"
    save(folder, 10)
    (folder / "step-00000010").rename(aside)
    (folder / "step-00000010").symlink_to(aside)  # moved to another disk
    (folder / "step-00000005").write_text("x")
    (folder / ".tmp-x").write_text("x")
    (folder / "step-00000007.old").mkdir()
    (folder / "step-00000006").mkdir()
    (folder / "step-00000006" / "thesis.txt").write_text("mine")
    foreign = sorted(p.name for p in folder.iterdir())
    assert checkpoint.unknown(folder) == foreign
    checkpoint.clean(folder)
    assert read(folder)[0].step == 10  # what a link leads to is read
    for step in (20, 30, 40):
        save(folder, step, keep=1)
    left = {p.name for p in folder.iterdir()}
    assert left == {*foreign, "step-00000040"} and checkpoint.verify(aside) is None
    with pytest.raises(CheckpointError, match="left alone: move it"):
        save(folder, 6)
    assert (folder / "step-00000006" / "thesis.txt").read_text() == "mine"


def test_no_checkpoint_is_written_through_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="is a link"):
        save(tmp_path / "checkpoints", 10)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_what_reads_back_differently_is_not_called_saved(tmp_path, monkeypatch):
    save(tmp_path, 10)
    real = os.write

    def lossy(handle, data):
        data = bytes(data)
        return real(handle, data if len(data) < 200 else data[:-1] + b"?")

    monkeypatch.setattr(os, "write", lossy)
    with pytest.raises(CheckpointError, match="reads back differently"):
        save(tmp_path, 20)
    assert read(tmp_path)[0].step == 10


# -- full and read-only disks ---------------------------------------------------------------


def test_a_file_size_limit_is_explained(tmp_path):  # T6, by the kernel
    save(tmp_path, 10)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
    try:
        with pytest.raises(
            CheckpointError, match=r"step-00000020 needs [\d,]+ bytes, more.*ulimit"
        ):
            save(tmp_path, 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000010"]
    assert read(tmp_path)[0].step == 10


@pytest.mark.parametrize("call", ["write", "fsync", "mkdir", "rename"])
def test_a_full_disk_is_explained(tmp_path, monkeypatch, call):  # T6, at each kind of call
    save(tmp_path, 10)

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(CheckpointError) as caught:
            save(tmp_path, 20)
    text = str(caught.value)
    assert "step-00000020" in text and "bytes" in text and "free" in text
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000010"]


def as_nobody(call) -> str:
    """What a call says that an unprivileged user makes: root may write anywhere."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            call()
            text = "done"
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
        os.write(write_end, text.encode())
        os._exit(0)
    os.close(write_end)
    os.waitpid(child, 0)
    with os.fdopen(read_end, "rb") as pipe:
        return pipe.read().decode()


def test_a_read_only_folder_is_refused():  # T8
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        save(place, 10)
        place.chmod(0o555)
        for file in [*place.rglob("*")]:
            file.chmod(0o755)
        said = as_nobody(lambda: checkpoint.writable(place))
        assert said.startswith("CheckpointError") and folder in said and "read-only" in said
        said = as_nobody(lambda: checkpoint.writable(place / "new" / "run"))
        assert said.startswith("CheckpointError") and folder in said
        said = as_nobody(lambda: save(place, 20))
        assert said.startswith("CheckpointError") and "step-00000020" in said
        assert read(place)[0].step == 10
        place.chmod(0o755)


def test_a_writable_folder_is_made_and_left_empty(tmp_path):
    checkpoint.writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"meta.json": 3}}, {"files": {"meta.json": {"bytes": "x", "sha256": 1}}},
        {"files": ["meta.json"]}, {"files": {}}, {"step": "7"}, {"step": None}, {"run": 5},
        {"format": []},
    ],
)  # fmt: skip
def test_a_signature_makes_no_manifest_of_other_types(change, tmp_path):
    path = checkpoint.save(tmp_path, 7, {}, {"run": "r"}, keep=2, best=None)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest.pop("digest")
    (path / "manifest.json").write_bytes(checkpoint._signed(manifest | change))
    with pytest.raises(CheckpointError):
        checkpoint.load(path)
