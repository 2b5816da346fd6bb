"""The command line through its entry point: help, sentences, exit codes, a whole small run."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from ganvae import cli, config, files, outline, tasks
from ganvae.errors import ConfigError
from ganvae.runs.judging import time_to_judge

COMMANDS = [
    "train", "evaluate", "generate", "reconstruct", "interpolate", "encode", "check", "objectives",
    "direction", "edit", "complete", "translate", "compare", "bulk",
]  # fmt: skip
QUICK = [
    "--size=16", "--networks.width=8", "--networks.latent=4", "--networks.components=2",
    "--training.batch=16", "--training.previews=1", "--training.evaluations=0",
    "--training.tensorboard=false", "--evaluation.samples=16", "--evaluation.importance=2",
    "--objective.representation.fit=64", "--evaluation.priors=false",
]  # fmt: skip


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pictures of other sizes than asked for, in folders."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for number in range(60):
        pixels = random.integers(0, 256, (18 + number % 5, 20, 3), np.uint8)
        path = folder / f"kind {number % 3}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


@pytest.fixture(scope="session")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    command = ["train", str(photos), "--budget", "8steps", "--out", str(out), "--json", *QUICK]
    done = ganvae(*command)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr  # plain where it is no terminal
    assert "training for 8steps" in done.stderr
    told = json.loads(done.stdout)
    assert told["status"] == "done" and told["step"] == 8 and told["run"] == str(out)
    assert told["evaluation"]["figures"]["kid"]["judge"] == "EffLite0@64"
    return out


def ganvae(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A real process."""
    command = [sys.executable, "-m", "ganvae", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and error, in this process."""
    code = cli.run(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# -- help -----------------------------------------------------------------------------------------


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; from ganvae.cli import run\n"
        "for name in sys.argv[1:]:\n"
        "    code = run([*name.split(), '--help'])\n"
        "    assert not code and not {'torch', 'numpy'} & {*sys.modules}, name"
    )
    command = [sys.executable, "-c", code, "", *COMMANDS]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr
    shown = done.stdout.split("Usage: ganvae ")[1:]
    assert [text.split()[0] for text in shown] == ["COMMAND", *COMMANDS]
    assert all(f" {name} " in shown[0] for name in COMMANDS)


def test_help_is_quick() -> None:
    spent = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert ganvae("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.8  # .25 s of one core on a quiet machine; `make benchmark` measures it


def test_help_and_dry_run_show_every_default(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, shown, _ = said(capsys, "train", "--help")
    assert code == 0
    for name, _ in config.flatten({s: vars(getattr(config.Config(), s)) for s in config.SECTIONS}):
        assert f"--{name.replace('_', '-')} " in shown
    for name in ("objective.optim.lr", "objective.representation.beta", "objective.share"):
        assert f"--{name} " in shown
    _, other, _ = said(capsys, "train", "--objective", "vae_gan", "--help")
    assert "--objective.gamma " in other and "--objective.share " not in other

    code, text, _ = said(capsys, "train", "photos", "--size", "32", "--seed=7", "--dry-run")
    assert code == 0
    document = yaml.safe_load(text)
    assert document["data"]["path"] == "photos" and document["data"]["size"] == 32
    assert document["training"]["seed"] == 7
    assert set(document["objective"]) == {
        "name",
        *(f.name for f in outline.objective("gan_vae").fields),
    }
    assert config.parse(document).training.seed == 7
    assert not Path("runs").exists()


def test_objectives_lists_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = said(capsys, "objectives")
    assert code == 0
    for name in outline.objectives():
        assert f"{name}: " in text
    _, one, _ = said(capsys, "objectives", "gan-vae", "--json")
    told = json.loads(one)
    assert [item["name"] for item in told["gan_vae"]["fields"]][:2] == ["optim", "representation"]


# -- settings among the options -------------------------------------------------------------------


def test_settings_are_cut_out_of_the_options() -> None:
    line = (
        "train p --training.batch 32 --data.flip --data.no-labels --data.size=64 "
        "--objective.beta -2 --training.compile no --out x -- --data.z 4"
    )
    rest, found = cli.split(line.split())
    assert " ".join(rest) == "train p --out x -- --data.z 4"
    assert found == {
        "training.batch": "32", "data.flip": "true", "data.labels": "false", "data.size": "64",
        "objective.beta": "-2", "training.compile": "no",
    }  # fmt: skip


def test_a_switch_does_not_swallow_the_data() -> None:
    assert cli.split(["train", "--data.flip", "photos"])[0] == ["train", "photos"]


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ("trian", 78, 'Did you mean "train"?'),
        ("train --bugdet 3m", 78, "Did you mean --budget?"),
        ("train --size big", 78, "--size"),
        ("generate", 78, "MODEL"),
        ("train --objective gna_vae", 78, "did you mean 'gan_vae'?"),
        ("train --training.bugdet 3m", 78, "did you mean 'budget'?"),
        ("train --training.batch", 78, "training.batch must be a whole number"),
        ("train --objective.bta 3", 78, "--objective.bta does not exist"),
        ("train --objective.share much", 78, "share must be"),
        ("train --budget 5parsecs", 78, "'5parsecs'"),
        ("train --config nowhere.yaml", 78, "nowhere.yaml: No such file"),
        ("train nowhere/", 65, "nowhere"),
        ("train --resume", 78, "to resume: name it with --out"),
        ("train --resume --out typo", 78, "nothing to resume in typo: name the run's directory"),
        ("train --out= digits", 78, "an argument is empty"),
        ("check nowhere/", 65, "nowhere"),
        ("objectives vea", 78, "did you mean 'vae'?"),
        (
            "train digits --training.bf16 maybe",
            78,
            "'maybe' is more than this command takes",
        ),
        ("objectives --training.batch 3", 78, "--training.batch is no option of this command"),
        ("generate nowhere", 78, "nowhere"),
        ("generate nowhere --threads 0", 78, "--threads must be from 1 to 1024"),
        ("evaluate nowhere", 78, "nowhere"),
    ],
)
def test_bad_input_is_one_sentence_and_a_code(
    arguments: str, code: int, sentence: str,
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    found, out, err = said(capsys, *arguments.split())
    assert sentence in err
    assert found == code
    assert err.startswith("ganvae: ") and err.count("\n") == 1 and "Traceback" not in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []  # nothing begun


def test_what_could_not_begin_can_be_tried_again(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", str(photos), "--out", str(tmp_path / "run"), "--budget=2steps"]
    for _ in range(2):
        code, _, err = said(capsys, *arguments, "--size=7")
        assert code == 78 and "already holds files" not in err
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_debug_shows_the_trace(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = said(capsys, "--debug", "train", "--config", "nowhere.yaml")
    assert code == 78 and "Traceback" in err and "ConfigError" in err


def test_control_characters_of_names_do_not_reach_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _, err = said(capsys, "train", "--config", "\x1b[31mred\nline.yaml")
    assert code == 78 and "\x1b" not in err and err.count("\n") == 1


def test_an_unexpected_fault_is_a_sentence_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(tokens: list[str]) -> int:
        raise RuntimeError("out of cheese")

    monkeypatch.setattr(cli, "_dispatch", broken)
    code, _, err = said(capsys, "train")
    assert code == 1 and "out of cheese" in err and "Traceback" not in err


def test_only_what_this_package_warns_of_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for place in (config.__file__, np.__file__):
        cli._note(f"of {Path(place).name}", UserWarning, place, 1)
    assert capsys.readouterr().err == "ganvae: note: of config.py\n"


def test_a_closed_pipe_is_no_fault() -> None:
    command = f"{sys.executable} -m ganvae objectives | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("aae: ") and done.stderr == ""


# -- a whole run ----------------------------------------------------------------------------------


def test_a_run_leaves_what_it_should(trained: Path) -> None:
    for name in (
        "config.yaml", "metrics.jsonl", "evaluation.json", "report.html", "samples.png",
        "reconstructions.png", "interpolation.png", "model/config.json",
        "model/model.safetensors", "model/README.md",
    ):  # fmt: skip
        assert (trained / name).stat().st_size > 0, name
    assert list((trained / "previews").glob("step-*.png"))
    assert not any(files.is_scratch(path) for path in trained.rglob("*"))
    kept = config.load(trained / "config.yaml")
    assert (
        kept.training.budget == "8steps" and kept.objective_options["representation"]["fit"] == 64
    )
    evaluation = json.loads((trained / "evaluation.json").read_text())
    assert evaluation["environment"]["versions"]["torch"]
    html = (trained / "report.html").read_text()
    assert "KID-EffLite0" in html and "http://" not in html


def test_a_run_that_exists_is_refused_and_kept(
    trained: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (trained / "evaluation.json").read_bytes()
    code, _, err = said(capsys, "train", str(photos), "--out", str(trained), "--budget", "1steps")
    assert code == 78 and "already holds files" in err and "--resume" in err
    code, _, err = said(
        capsys, "train", "--out", str(trained), "--resume", "--training.batch=8", "--debug"
    )
    assert code == 78 and "training.batch: 16 -> 8" in err
    assert (trained / "evaluation.json").read_bytes() == before
    assert config.load(trained / "config.yaml").training.batch == 16


@pytest.mark.parametrize("config_of", ["nobody", "another tool", "playbooks"])
def test_a_folder_that_is_no_run_is_not_resumed_and_stays_as_it_is(
    config_of: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # S3
    mine = tmp_path / "mine"
    names = ["deep/.tmp-work/thesis.txt", f".tmp-{'0' * 32}", "report.html", "samples.png"]
    names += {"nobody": [], "another tool": ["config.yaml"], "playbooks": ["a.yaml", "b.yaml"]}[
        config_of
    ]
    for name in [*names, "checkpoints/step-00000005", "checkpoints/step-00000006/x"]:
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        (mine / name).write_text("title: mine\n")
    before = contents(mine)
    code, _, err = said(capsys, "train", str(photos), "--resume", "--out", str(mine))
    assert code == 78 and "no run of ganvae" in err and "vae on" in err
    code, _, err = said(capsys, "train", str(photos), "--out", str(mine))
    assert code == 78 and "already holds files" in err
    assert contents(mine) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_mistyped_run_is_not_begun(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # R6
    code, _, err = said(capsys, "train", str(photos), "--resume", "--out", str(tmp_path / "typo"))
    assert code == 78 and "or give --begin to begin gan_vae on" in err
    assert not list(tmp_path.iterdir())


def test_a_run_whose_checkpoints_are_gone_does_not_begin_anew(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # R6
    run = tmp_path / "run"
    shutil.copytree(trained, run, ignore=shutil.ignore_patterns("checkpoints"))
    before = contents(run)
    code, _, err = said(capsys, "train", "--resume", "--out", str(run))
    assert code == 78 and "its checkpoints are gone" in err
    after = contents(run)
    after.pop(".lock", None), before.pop(".lock", None)
    assert after == before


@pytest.mark.parametrize("name", ["model", "previews", "metrics.jsonl", "evaluation.json"])
def test_a_run_is_not_written_through_links(
    name: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, aside = tmp_path / "run", tmp_path / "aside"
    shutil.copytree(trained, run)
    (run / name).rename(aside)
    (run / name).symlink_to(aside)
    before = contents(tmp_path)
    command = ["evaluate", str(run)] if name == "evaluation.json" else ["train", "--resume"]
    code, _, err = said(
        capsys, *command, *([] if command[1:] == [str(run)] else ["--out", str(run)])
    )
    assert code == 65 and f"{name} is a link" in err and (run / name).is_symlink()
    after = contents(tmp_path)
    assert all(after[key] == before[key] for key in before if "aside" in key)


def test_resuming_a_finished_run_only_judges_it_again(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = (trained / "model" / "model.safetensors").read_bytes()
    code, out, _ = said(capsys, "train", "--out", str(trained), "--resume")
    assert code == 0
    assert "KID-EffLite0" in out and f"report: {trained / 'report.html'}" in out
    assert (trained / "model" / "model.safetensors").read_bytes() == model
    tried = [line.strip() for line in out.split("next:")[1].strip().splitlines()]
    assert len(tried) == 3
    for line in tried:  # each is a command that parses
        assert line.startswith("ganvae ")
        rest, _ = cli.split(line.split()[1:])
        cli.app.parse_args(rest, print_error=False, exit_on_error=False)


def test_a_run_is_judged_again_with_other_settings(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = said(
        capsys, "evaluate", str(trained), "--json", "--evaluation.samples=5",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["figures"]["kid"]["n_generated"] == 5


def test_a_model_directory_alone_needs_to_be_told_the_images(
    trained: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = said(capsys, "evaluate", str(trained / "model"))
    assert code == 78 and "name the images" in err
    code, out, _ = said(
        capsys, "evaluate", str(trained / "model"), "--data", str(photos), "--json",
        "--evaluation.samples=5", "--evaluation.importance=2",
    )  # fmt: skip
    assert code == 0 and json.loads(out)["figures"]["kid"]["n_generated"] == 5


def test_generate_is_a_function_of_its_seed(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        out = tmp_path / f"{name}.png"
        code, told, _ = said(
            capsys,
            "generate",
            str(trained),
            "--n",
            "4",
            "--seed",
            seed,
            "--out",
            str(out),
            "--json",
        )
        assert code == 0 and json.loads(told)["files"] == [str(out)]
        made.append(np.asarray(Image.open(out)))
    assert (made[0] == made[1]).all() and (made[0] != made[2]).any()


def test_a_fault_within_a_task_is_no_configuration(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("shapes differ")

    monkeypatch.setattr(tasks, "generate", broken)
    code, _, err = said(capsys, "generate", str(trained))
    assert code == 1 and "shapes differ" in err


def test_check_finds_a_broken_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (20, 20), "red").save(tmp_path / "a.png")
    Image.new("RGB", (20, 20), "blue").save(tmp_path / "b.png")
    (tmp_path / "broken.png").write_bytes(b"<html>")
    code, out, _ = said(capsys, "check", str(tmp_path), "--size", "16", "--json")
    told = json.loads(out)
    assert code == 65 and told["images"] == 2 and told["defects"][0][0].endswith("broken.png")
    code, out, _ = said(capsys, "check", str(tmp_path), "--size=16", "--data.max_bad=0.5")
    assert code == 0 and "broken.png" in out


# -- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_continue(
    number: int, code: int, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    arguments = ["train", str(photos), "--budget", "10m", "--out", str(out), *QUICK]
    process = subprocess.Popen(
        [sys.executable, "-m", "ganvae", *arguments], stderr=subprocess.PIPE, text=True
    )
    try:
        _wait_for(
            lambda: (out / "metrics.jsonl").exists() and (out / "metrics.jsonl").stat().st_size
        )
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code
    last = err.strip().splitlines()[-1]
    assert "stopped and saved at step" in last and f"ganvae train --resume --out {out}" in last
    assert "Traceback" not in err
    assert (out / "config.yaml").exists() and not (out / "evaluation.json").exists()


def test_a_signal_while_judging_keeps_the_model_and_says_how_to_judge_it(
    photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    arguments = ["train", str(photos), "--budget", "2steps", "--out", str(out), *QUICK]
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW_JUDGE, *arguments], stderr=subprocess.PIPE, text=True
    )
    try:
        _wait_for(lambda: (tmp_path / "judging").exists())
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and time.monotonic() - began < 20
    last = err.strip().splitlines()[-1]
    assert "the training is done" in last and f"ganvae evaluate {out}" in last
    assert (out / "model" / "config.json").exists() and not (out / "evaluation.json").exists()
    assert cli.run(["evaluate", str(out)]) == 0
    assert (out / "report.html").exists()


_SLOW_JUDGE = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from ganvae import cli, metrics
def slow(*args, **kwargs):
    out = Path(sys.argv[sys.argv.index("--out") + 1])
    (out.parent / "judging").touch()
    time.sleep(60)
metrics.evaluate = slow
sys.exit(cli.run(sys.argv[1:]))
"""


def test_sigterm_before_the_training_is_143(photos: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW_START, "train", str(photos), "--out", str(tmp_path / "r")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()  # it has begun
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143 and err.count("\n") == 1
    assert not (tmp_path / "r").exists()


_SLOW_START = """
import sys, time
from ganvae import cli
def slow(*args, **kwargs):
    print("begun", flush=True)
    time.sleep(60)
cli._dispatch = slow
sys.exit(cli.run(sys.argv[1:]))
"""


def _wait_for(condition: Any, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


# -- in Python ------------------------------------------------------------------------------------


def test_judging_has_an_end_after_a_budget_in_time_alone() -> None:
    def seconds(**settings: str) -> float | None:
        return time_to_judge(config.override(config.Config(), settings))

    assert seconds(**{"training.budget": "30s"}) == 25
    assert seconds(**{"training.budget": "300steps"}) is None
    assert seconds(**{"training.budget": "2kimg", "evaluation.budget": "2m"}) == 120


def test_a_python_call_does_the_same(photos: Path, tmp_path: Path) -> None:
    import ganvae as library

    settings = dict(part.removeprefix("--").split("=") for part in QUICK[1:])
    run = library.train(
        photos, objective="gan", size=16, budget="3steps", out=tmp_path / "run",
        settings={k: v for k, v in settings.items() if not k.startswith("objective")},
    )  # fmt: skip
    assert run.status == "done" and run.report.exists()
    assert run.evaluation["figures"]["kid"]["value"] is not None
    again = library.load(tmp_path / "run")
    assert (again.generate(2, seed=0) == run.model.generate(2, seed=0)).all()
    with pytest.raises(ConfigError, match="already holds files"):
        library.train(photos, out=tmp_path / "run")


def test_threads_wait_without_spinning_unless_told_otherwise() -> None:
    code = (
        "import os, sys; from ganvae import cli; sys.argv = ['ganvae', '--version']\n"
        "try: cli.main()\n"
        "except SystemExit: print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    )
    told = {"OMP_WAIT_POLICY": "active"}
    clean = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    for given, expected in (({}, "passive"), (told, "active")):
        done = subprocess.run(
            [sys.executable, "-c", code], env=clean | given, capture_output=True, text=True
        )
        assert done.stdout.splitlines()[-1] == f"{expected} False"
