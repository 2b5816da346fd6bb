"""What the pages say exists."""

import re
from pathlib import Path

import pytest
import yaml

from ganvae import cli, config, objectives, outline

ROOT = Path(__file__).parents[1]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
PAGES = [page for page in PAGES if "_build" not in page.parts]
page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def known() -> set[str]:
    """The dotted names of all settings, those of every objective included."""
    sections = {name: outline.read("ganvae.config", name.capitalize()).fields for name in
                config.SECTIONS}  # fmt: skip
    found = {key for name, fields in sections.items() for key, _ in outline.flat(name, fields)}
    for name in objectives.names():
        found |= {key for key, _ in outline.flat("objective", outline.objective(name).fields)}
    return found


@page
def test_settings_are_real(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    sections = "|".join(["objective", *config.SECTIONS])
    named = set(re.findall(rf"--((?:{sections})\.[\w.-]+\w)", text))
    named |= set(re.findall(rf"[`\"]((?:{sections})\.[a-z_]+(?:\.[a-z0-9_]+)*)[`\"]", text))
    real = known() | {"objective.optim", "objective.representation.optim"}
    wrong = {name for name in named if name.replace("-", "_").replace(".no_", ".") not in real}
    allowed = {"networks.py", "training.md", "data.md", "evaluation.json"}
    if page.name == "CONTRIBUTING.md":
        allowed |= {"objective.beta", "objective.smooth"}
    assert not wrong - allowed


@page
def test_configurations_are_understood(page: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for block in blocks:
        for document in yaml.safe_load_all(block):
            if "apiVersion" not in document:
                config.parse(document)


@page
def test_commands_are_real(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    commands = {name for name in cli.app if not name.startswith("-")}
    named = set(re.findall(r"(?:^|`|bin/|-m )ganvae ([a-z]+)", text, re.MULTILINE))
    added = set(re.findall(r"`ganvae/cli/commands/([a-z]+)\.py`:\n\n```python", text))
    assert named <= commands | added


def test_every_objective_has_a_page() -> None:
    pages = {path.stem for path in (ROOT / "docs" / "objectives").glob("*.md")}
    assert set(objectives.names()) <= pages
