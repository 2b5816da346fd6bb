"""What CONTRIBUTING.md adds, an objective and a metric: as printed, in a copy of the package."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
GENERIC = ["moves_the_networks_it_names", "micro_batches", "engine_changes_moved"]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with two more files, and some images."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    added = re.findall(r"`(ganvae/[\w/]+\.py)`:\n\n```python\n(.*?)```", text, re.DOTALL)
    assert len(added) == 2
    folder = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "ganvae", folder / "ganvae", ignore=ignored)
    for path, code in added:
        (folder / path).write_text(code, encoding="utf-8")
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16), np.uint8)
    np.savez(folder / "images.npz", images=images)
    return folder


def python(folder: Path, *arguments: str) -> str:
    """What a process prints that finds the copy before the installed package."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_fields_become_options_and_its_docstrings_help(copy: Path) -> None:
    told = python(copy, "-m", "ganvae", "objectives", "rae")
    assert "deterministic autoencoder" in told
    assert "--objective.smooth" in told and "--objective.optim.lr" in told
    assert "Weight of ½‖z‖²." in told


TRAIN = """
from pathlib import Path
import ganvae
from ganvae import objectives
from ganvae.data import open_data
from ganvae.runs.settings import settle
from ganvae.training import checkpoint
from ganvae.training.trainer import Trainer

settings = {
    "data.path": "images.npz", "objective": "rae", "objective.beta": 0.1, "objective.fit": 16,
    "networks.width": 8, "networks.latent": 4, "training.batch": 8, "training.budget": "3steps",
    "training.tensorboard": False, "training.evaluations": 0, "training.previews": 1,
}
chosen, out = settle(settings, out="run")
objective = objectives.build(chosen.objective, chosen.objective_options)
result = Trainer(chosen, objective, open_data(chosen.data), out).run()
assert result.status == "done" and result.position.step == 3 and objective.beta == 0.1
before, after = (checkpoint.load(out / "checkpoints" / f"step-0000000{i}") for i in (0, 3))
for role in ("encoder", "decoder"):
    first, last = (c.state[f"networks.{role}"] for c in (before, after))
    assert any(not first[name].equal(last[name]) for name in first), role
model = ganvae.load("run")
assert model.info.objective == "rae" and bool(model.prior.fitted)
assert model.reconstruct(model.generate(2)).shape == (2, 1, 16, 16)
"""
SMALL = [
    "--budget", "2steps", "--networks.width", "8", "--networks.latent", "4",
    "--objective.fit", "16", "--data.test-share", "0.4", "--evaluation.priors", "false",
    "--evaluation.size", "16", "--evaluation.importance", "1", "--training.previews", "0",
    "--training.evaluations", "0", "--training.tensorboard", "false", "--training.batch", "8",
]  # fmt: skip


def test_it_trains_and_is_loaded(copy: Path) -> None:
    python(copy, "-c", TRAIN)


def test_the_metric_is_in_the_evaluation_the_table_and_the_report(copy: Path) -> None:
    out = copy / "judged"
    told = ["train", "images.npz", "--objective", "rae", "--out", str(out), *SMALL]
    table = python(copy, "-m", "ganvae", *told)
    found = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    report = (out / "report.html").read_text(encoding="utf-8")
    keys = list(found["figures"])
    assert keys[keys.index("diversity") + 1] == "shift" == list(found["reference"])[-1]
    assert found["figures"]["shift"]["value"] > 0
    assert "Shift-EffLite0" in table and "Shift-EffLite0" in report


def test_the_generic_tests_pick_it_up(copy: Path) -> None:
    shutil.copytree(ROOT / "tests" / "objectives", copy / "tests" / "objectives")
    shutil.copy(ROOT / "tests" / "conftest.py", copy / "tests")
    only = "rae and (" + " or ".join(GENERIC) + ")"
    told = python(
        copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib",
        "tests/objectives/test_objectives.py", "-k", only,
    )  # fmt: skip
    assert f"{2 * len(GENERIC)} passed" in told  # with classes and without


def test_it_keeps_the_limits_it_names(copy: Path) -> None:
    code = (copy / "ganvae" / "objectives" / "rae.py").read_text(encoding="utf-8")
    assert len(code.splitlines()) <= 80
    assert max(map(len, code.splitlines())) <= 99
