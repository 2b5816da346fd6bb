"""What CONTRIBUTING.md adds, of every kind: as printed, in a copy of the package."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
GENERIC = ["moves_the_networks_it_names", "micro_batches", "engine_changes_moved"]


TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
STEP = re.compile(
    r"(?:`(?P<new>ganvae/[\w/]+\.py)`|"
    r"(?:In `(?P<old>[\w/.]+)`, |and )after `(?P<anchor>[^\n]+)`):\n\n"
    r"```python\n(?P<code>.*?)```",
    re.DOTALL,
)


def added(folder: Path, section: str) -> set[str]:
    """Does what a section says, and returns the files that it touched."""
    touched: list[str] = []
    for step in STEP.finditer(section):
        code, path = step["code"], step["new"] or step["old"] or touched[-1]
        touched.append(path)
        if step["new"]:
            assert not (folder / path).exists(), path
            (folder / path).write_text(code, encoding="utf-8")
            continue
        text = (folder / path).read_text(encoding="utf-8")
        before, anchor, after = text.partition(step["anchor"])
        assert anchor and step["anchor"] not in after, f"{step['anchor']} in {path}"
        inside = not after.startswith("\n")
        more = code.strip() if inside else "\n" + code.rstrip("\n")
        (folder / path).write_text(before + anchor + more + after, encoding="utf-8")
    return set(touched)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """A copy of the package with everything added; how many files each addition touched."""
    folder = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "ganvae", folder / "ganvae", ignore=ignored)
    counts = {}
    for section in TEXT.split("\n## ")[1:]:
        title = section.partition("\n")[0]
        if title.startswith("Add a"):
            counts[title.removeprefix("Add ")] = len(added(folder, section))
    random = np.random.default_rng(0)
    np.savez(folder / "images.npz", images=random.integers(0, 256, (40, 16, 16), np.uint8))
    np.savez(folder / "coloured.npz", images=random.integers(0, 256, (40, 16, 16, 3), np.uint8))
    return folder, counts


@pytest.fixture(scope="module")
def copy(built: tuple[Path, dict[str, int]]) -> Path:
    return built[0]


def test_the_table_counts_the_files(built: tuple[Path, dict[str, int]]) -> None:
    rows = dict(re.findall(r"^\| (an? [\w ]+) \| (\d) \|", TEXT, re.MULTILINE))
    wanted = {name: int(count) for name, count in rows.items() if name != "a benchmark"}
    found = {name: count for name, count in built[1].items() if name != "a benchmark"}
    assert found == {("a task to train for" if name == "a trained task" else name): count
                     for name, count in wanted.items()}  # fmt: skip
    assert len(found) == 7


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

from ganvae import cli

assert "average" in cli.COMMANDS
command = ["average", "run", "--n", "3", "--out", "mean.png"]
cli.app(command, result_action="return_value")
"""
SMALL = [
    "--budget", "2steps", "--networks.width", "8", "--networks.latent", "4",
    "--objective.fit", "16", "--data.test-share", "0.4", "--evaluation.priors", "false",
    "--evaluation.size", "16", "--evaluation.importance", "1", "--training.previews", "0",
    "--training.evaluations", "0", "--training.tensorboard", "false", "--training.batch", "8",
]  # fmt: skip


def test_the_objective_is_trained_and_loaded_and_the_verb_is_a_command(copy: Path) -> None:
    """The mean of images is a picture of their size, enlarged, with a border."""
    assert "wrote mean.png" in python(copy, "-c", TRAIN)
    assert Image.open(copy / "mean.png").size == (4 * (16 + 2 * 2), 4 * (16 + 2 * 2))


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


USE = """
from pathlib import Path
import numpy as np, torch
from PIL import Image
import ganvae
from ganvae import cli, config, exports
from ganvae.data import open_data
from ganvae.networks import zoo
from ganvae.types import Shape

shape = Shape(channels=3, height=16, width=16, latent=4)
D = zoo.build("colour_discriminator", config.Networks(), shape)
x = torch.rand(5, 3, 16, 16)
assert D(x).shape == (5,) and torch.allclose(D(x), D(x.flip(3)), atol=1e-6)

for name in "abcd":
    Image.new("RGB", (16, 16), (ord(name), 0, 0)).save(f"{name}.png")
Path("some.paths").write_text("b.png\\nd.png\\na.png\\n")
data = open_data(config.Data(path="some.paths", size=16, test_share=1, cache="cache"))
assert data.test.names() == ["b.png", "d.png", "a.png"]
reds = ((data.test.images([0, 1, 2])[:, 0, 0, 0] + 1) * 127.5).round().tolist()
assert reds == [98, 100, 97]

run = ganvae.train("coloured.npz", task="colour", budget="2steps", out="colours", settings={
    "networks.width": 8, "networks.latent": 4, "training.batch": 8, "data.test_share": 0.4,
    "training.tensorboard": False, "training.evaluations": 1, "training.previews": 1,
    "evaluation.size": 16, "data.cache": "cache",
})
assert run.config.objective == "colouring" and run.model.info.from_sources
assert run.model.translate(torch.zeros(2, 1, 16, 16), 3).shape == (2, 3, 3, 16, 16)
assert run.evaluation["figures"]["kid"]["value"] is not None
assert "A row each: a held-out image" in run.report.read_text()
assert "colours grey images" in (run.path / "model" / "README.md").read_text()

(weights,) = exports.write(run.model, "npz", "weights")
name, value = next(iter(run.model.networks["generator"].state_dict().items()))
assert np.array_equal(np.load(weights)[f"generator.{name}"], value.numpy())
"""


def test_what_else_is_added_is_used(copy: Path) -> None:
    python(copy, "-c", USE)


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
