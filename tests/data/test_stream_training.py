"""Whole trainings on shards in an object store: interrupted and not, by one process and by two."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ganvae import config
from ganvae.data import open_data, stream
from ganvae.errors import ConfigError, DataError
from ganvae.training.processes import Processes
from ganvae.training.trainer import Trainer

from .conftest import Bucket, tar

HARNESS = str(Path(__file__).parents[1] / "training")
sys.path.insert(0, HARNESS)

import harness  # noqa: E402

STEPS = 24
"""Four epochs: 4 shards of 24 images, 16 of which make a batch."""


def fill(bucket: Bucket, count: int = 4) -> str:
    for shard in range(count):
        bucket.write(f"a-{shard}.tar", tar(range(24 * shard, 24 * shard + 24)))
    return f"s3://{bucket.name}/a-*.tar"


def settings(path: str, tmp_path: Path, objective: str = "vae_gan", **training: object):
    chosen = harness.settings(tmp_path / "none", objective, budget=f"{STEPS}steps", **training)
    data = replace(chosen.data, path=path, stream=True, size=8, flip=True)
    return replace(chosen, data=data)


def train(chosen: config.Config, out: Path, **options: object) -> Trainer:
    run = harness.trainer(chosen, out, data=open_data(chosen.data, workers=0), **options)
    run.run()
    return run


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BLOCK", 64)
    monkeypatch.setattr(stream, "AT_ONCE", 2)
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.mark.parametrize("objective", ["vae_gan", pytest.param("gan_vae", marks=pytest.mark.slow)])
def test_a_run_that_was_stopped_equals_one_that_was_not(
    objective: str, bucket: Bucket, tmp_path: Path
) -> None:
    chosen = settings(fill(bucket), tmp_path, objective)
    whole = train(chosen, tmp_path / "whole")
    assert whole.at.done
    batches = whole.learner.batches
    assert isinstance(batches, stream.StreamBatches) and batches._reader is None  # ended with it
    assert whole.model().info.trained.train_images is None  # nobody has counted them
    at = 7 if objective == "vae_gan" else 10
    stop = harness.signalling(signal.SIGTERM, lambda now: now.step == at)
    train(chosen, tmp_path / "run", change=stop)
    assert not harness.last(tmp_path / "run").meta["position"]["done"]
    train(chosen, tmp_path / "run", resume=True)
    assert harness.digest(tmp_path / "run") == harness.digest(tmp_path / "whole")


def test_changes_are_refused_or_begin_anew(bucket: Bucket, tmp_path: Path) -> None:
    chosen = settings(fill(bucket), tmp_path)
    stop = harness.signalling(signal.SIGTERM, lambda now: now.step == 7)
    train(chosen, tmp_path / "run", change=stop)
    bucket.write("a-9.tar", tar(range(300, 310)))
    with pytest.raises(ConfigError, match="shards: 1 added"):
        train(chosen, tmp_path / "run", resume=True)
    allowed = replace(chosen, training=replace(chosen.training, allow_changes=True))
    run = train(allowed, tmp_path / "run", resume=True)
    assert run.at.done
    assert any("order of the images begins anew" in text for text in run.display.texts)


def test_where_another_process_cannot_go_on_all_begin_anew(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(fill(bucket), tmp_path, allow_changes=True)
    stop = harness.signalling(signal.SIGTERM, lambda now: now.step == 7)
    train(chosen, tmp_path / "run", change=stop)
    stopped = harness.last(tmp_path / "run").step
    asked: list[tuple[float, ...]] = []

    def agree(self: Processes, *numbers: float) -> list[float]:
        asked.append(numbers)
        return [1.0] if len([one for one in asked if len(one) == 1]) == 1 else list(numbers)

    monkeypatch.setattr(Processes, "agree", agree)
    run = train(chosen, tmp_path / "run", resume=True)
    assert (0.0,) in asked  # this one could have gone on
    assert run.at.done and run.learner.batches.state()["begin"] == stopped
    assert any("order of the images begins anew" in text for text in run.display.texts)


@pytest.mark.slow
def test_numbers_that_are_not_finite_begin_another_order(bucket: Bucket, tmp_path: Path) -> None:
    chosen = settings(fill(bucket), tmp_path)
    spoilt = iter([True] * 200)
    rolled: list[int] = []

    def when(now: object) -> bool:
        return not rolled and now.step > 12 and next(spoilt)  # type: ignore[attr-defined]

    change = harness.spoilt(when)
    run = harness.trainer(
        chosen, tmp_path / "run", data=open_data(chosen.data, workers=0), change=change
    )
    back = run._roll_back
    run._roll_back = lambda: (rolled.append(run.at.step), back())  # type: ignore[assignment]
    run.run()
    assert rolled and run.at.done and run.at.rollbacks == 1
    meta = harness.last(tmp_path / "run").meta["stream"]
    assert meta["begin"] == 10  # the last healthy checkpoint


def test_a_shard_that_is_gone_ends_the_training(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(fill(bucket), tmp_path)
    data = open_data(chosen.data, workers=0)
    bucket.remove("a-3.tar")
    with pytest.raises(DataError, match=r"a-3\.tar does not exist"):
        harness.trainer(chosen, tmp_path / "run", data=data).run()


# -- many processes -----------------------------------------------------------------------------

PROGRAM = """
import os, sys, time
from pathlib import Path
import harness
from ganvae import config
from ganvae.data import open_data, stream
from ganvae.errors import GanvaeError
from ganvae.training import checkpoint
chosen, out, mode = config.load(sys.argv[1]), *sys.argv[2:]
stream.BLOCK, stream.AT_ONCE = 64, 2
names = open(f"{out}-{mode}-{os.environ['RANK']}.txt", "a")
def change(step, batch, now):
    for image in batch.image:
        print(hash(image.numpy().tobytes()), file=names, flush=True)
    if mode == "slow":
        time.sleep(0.5)
    return (yield from step)
try:
    run = harness.trainer(
        chosen, Path(out), resume=mode == "resume", change=change,
        data=open_data(chosen.data, workers=0),
    )
    run.run()
except GanvaeError as error:
    print("refused", error.exit_code, error, flush=True)
    sys.exit(error.exit_code)
print("rank", run.processes.rank, checkpoint.digest(run.learner.state()), flush=True)
"""


def launch(
    bucket: Bucket, path: str, out: Path, mode: str, processes: int = 2
) -> subprocess.Popen[str]:
    program = out.parent / "program.py"
    program.write_text(PROGRAM)
    (out.parent / "config.yaml").write_text(config.dump(settings(path, out.parent)))
    places = os.pathsep.join([HARNESS, os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone",
            "--nproc-per-node", str(processes), str(program), str(out.parent / "config.yaml"),
            str(out), mode,
        ],
        env=os.environ | bucket.environment | {"PYTHONPATH": places, "PYTHONHASHSEED": "0"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
    output = process.communicate(timeout=900)[0]
    assert process.returncode == 0, output
    return output


def read_by(out: Path, mode: str) -> list[list[str]]:
    return [Path(f"{out}-{mode}-{rank}.txt").read_text().split() for rank in (0, 1)]


@pytest.mark.slow
def test_two_processes_read_shards_of_their_own(bucket: Bucket, tmp_path: Path) -> None:
    path = fill(bucket)
    output = finish(launch(bucket, path, tmp_path / "whole", "plain"))
    digests = [line.split()[2] for line in output.splitlines() if line.startswith("rank ")]
    assert len(digests) == 2 and len(set(digests)) == 1  # one model
    chosen = replace(settings(path, tmp_path).data, flip=False)
    images = len(open_data(replace(chosen, stream=False), workers=0).train)
    first = [set(names[: images // 2 - 10]) for names in read_by(tmp_path / "whole", "plain")]
    assert first[0] and not first[0] & first[1]


@pytest.mark.slow
def test_one_of_two_processes_killed_in_the_middle_of_an_epoch(
    bucket: Bucket, tmp_path: Path
) -> None:
    path, out = fill(bucket), tmp_path / "run"
    process = launch(bucket, path, out, "slow")
    while not (out / "checkpoints" / "step-00000010").exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True)
    os.kill(int(listed.stdout.split()[1]), signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode
    assert not harness.last(out).meta["position"]["done"]
    alone = launch(bucket, path, out, "resume", processes=1)
    said = alone.communicate(timeout=900)[0]
    assert "refused 78" in said and "was trained by 2 process(es)" in said
    finish(launch(bucket, path, out, "resume"))
    finish(launch(bucket, path, tmp_path / "whole", "plain"))
    assert harness.digest(out) == harness.digest(tmp_path / "whole")


@pytest.mark.slow
def test_fewer_shards_than_processes(bucket: Bucket, tmp_path: Path) -> None:
    path = fill(bucket, count=1)
    said = launch(bucket, path, tmp_path / "run", "plain").communicate(timeout=900)[0]
    assert "refused 78 1 shards cannot be shared by 2 processes" in said


@pytest.mark.slow
def test_the_command_line_says_one_sentence(bucket: Bucket, tmp_path: Path) -> None:
    path = fill(bucket, count=2)
    cut = tar(range(30))[:9000]
    bucket.write("cut-0.tar", cut)
    cases = [
        ("s3://no-such-bucket-here/a.tar", {}, "does not exist"),
        (f"s3://{bucket.name}/cut-0.tar", {}, "truncated or damaged"),
        (path, {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no credentials"),
    ]
    command = [sys.executable, "-m", "ganvae", "train"]
    options = ["--data.stream", "--size", "8", "--data.cache", str(tmp_path / "cache")]
    for number, (source, changed, said) in enumerate(cases):
        out = tmp_path / f"run-{number}"
        done = subprocess.run(
            [*command, source, *options, "--out", str(out)],
            env=os.environ | bucket.environment | {"HOME": str(tmp_path)} | changed,
            capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == 65, done.stderr
        assert said in " ".join(done.stderr.split()) and "Traceback" not in done.stderr
        assert not (out / "checkpoints").exists()
