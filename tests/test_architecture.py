"""The house rules that a reader relies on, kept by reading the source."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ganvae
from ganvae import cli

ROOT = Path(ganvae.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
COMMANDS = sorted(path for path in (ROOT / "cli" / "commands").glob("*.py") if path.stem[0] != "_")

# From the lowest room to the highest, and which of those before it each may import, or which file
# of them. It may also import what stands before "networks": that is for everyone.
ROOMS: dict[str, set[str]] = {
    "version": set(),
    "errors": set(),
    "progress": set(),
    "outline": set(),
    "task": set(),
    "telling": set(),
    "types": set(),
    "foreign": set(),
    "files": set(),
    "config": set(),
    "eyes": set(),
    "networks": {"eyes"},
    "losses": set(),
    "objectives": {"losses"},
    "data": set(),
    "models": {"networks"},
    "metrics": {"eyes"},
    "tasks": {"models", "data"},
    "exports": {"models"},
    "training": {
        "objectives.base",
        "eyes",
        "losses.augmentation",
        "models",
        "data",
        "metrics",
        "networks",
    },
    "bulk": {"models", "data", "metrics", "tasks", "training.lock"},
    "pages": {"objectives", "models", "data", "metrics", "training.log"},
    "runs": {"objectives", "models", "data", "metrics", "tasks", "training", "pages"},
    "api": {"models", "data", "training", "pages", "runs"},
    "__init__": {"api"},
    "cli": {
        *("objectives", "models", "tasks", "exports", "training", "bulk", "pages", "runs", "api"),
    },
    "__main__": {"cli"},
}
ORDER = list(ROOMS)
EVERYONES = set(ORDER[: ORDER.index("eyes")])
TORCH_FREE = [
    "",
    ".config",
    ".outline",
    ".errors",
    ".files",
    ".telling",
    ".pages.scores",
    ".foreign",
    ".cli",
    ".cli.console",
    ".cli.live",
    ".progress",
    ".task",
    ".version",
]


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "__init__"


def _imports(path: Path) -> set[str]:
    """The files of the package that one imports: at its head, in functions, for types alone."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            for alias in node.names:
                inside = f"{module}.{alias.name}"
                found.add(inside if _is_file(inside) else module)
    inside = {name.removeprefix("ganvae").removeprefix(".") or "__init__" for name in found
              if name.split(".")[0] == "ganvae"}  # fmt: skip
    return inside - {_name(path)}


def _is_file(name: str) -> bool:
    path = ROOT.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_imports_run_one_way(path: Path) -> None:
    name = _name(path)
    room = name.split(".")[0]
    assert room in ROOMS, f"{name}: a new room needs its place and a rule here"
    below = set(ORDER[: ORDER.index(room)])
    allowed = {room} | (EVERYONES & below) | ROOMS[room]
    for imported in _imports(path):
        parts = imported.split(".")
        assert parts[0] in {room} | below, f"{name} is below {imported} and must not import it"
        prefixes = {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
        assert prefixes & allowed, f"{name} must not import {imported}"


def test_rooms_lean_on_lower_rooms_alone() -> None:
    for number, room in enumerate(ORDER):
        assert {rule.split(".")[0] for rule in ROOMS[room]} <= set(ORDER[:number]), room


def test_the_map_of_the_house_is_true() -> None:
    text = (ROOT.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)(?:\.py|/)` \| (.+?) \| (.*?) ?\|$", text, re.MULTILINE)
    found = {room: set(filter(None, imports.split(", "))) for room, _, imports in rows}
    assert list(found) == ORDER and found == ROOMS
    inside = {
        path.name.removesuffix(".py") for path in ROOT.iterdir() if path.name[-4:] != ".typed"
    }
    assert inside - {"__pycache__"} == set(ROOMS)


def test_no_file_imports_itself_in_a_circle() -> None:
    graph = {_name(path): _imports(path) for path in FILES}
    while graph:
        ready = {name for name, imports in graph.items() if not imports & graph.keys()}
        assert ready, f"these import each other in a circle, or stand on one: {sorted(graph)}"
        graph = {name: imports for name, imports in graph.items() if name not in ready}


def test_networks_and_losses_do_not_know_each_other() -> None:
    for path in FILES:
        rooms = {name.split(".")[0] for name in _imports(path)}
        if _name(path).startswith("networks"):
            assert "losses" not in rooms
        if _name(path).startswith("losses"):
            assert "networks" not in rooms


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_nothing_dangerous_is_imported_or_called(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    banned = {"torchvision", "pickle", "cloudpickle", "dill", "shelve", "marshal", "lightning"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & banned
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in banned
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if called == "torch.load":
                assert options.get("weights_only") == "True", "torch.load must not unpickle"
            if called in ("np.load", "numpy.load"):
                assert options.get("allow_pickle", "False") == "False"
            assert called not in ("eval", "exec", "yaml.unsafe_load", "yaml.full_load")


def _code(text: str) -> int:
    """Lines of code: neither blank, nor a comment, nor a docstring."""
    told = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines = enumerate(map(str.strip, text.splitlines()), 1)
    return sum(bool(line) and line[0] != "#" and number not in told for number, line in lines)


@pytest.mark.parametrize("path", sorted((ROOT / "objectives").glob("*.py")), ids=_name)
def test_an_objective_is_one_short_file_with_its_paper(path: Path) -> None:
    if path.stem in ("__init__", "base", "registry"):
        return
    text = path.read_text(encoding="utf-8")
    assert _code(text) <= 60
    assert "https://" in text, "name the paper"


def test_a_command_is_one_short_file_of_its_name() -> None:
    assert sorted(cli.COMMANDS) == [path.stem for path in COMMANDS]
    for path in COMMANDS:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert path.stem in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        others = [name for name in _imports(path) if name.startswith("cli.commands")]
        assert not others, f"{path.name}: what commands share has its home in ganvae/cli"


@pytest.mark.parametrize("path", sorted((ROOT / "cli").rglob("*.py")), ids=_name)
def test_the_command_line_is_thin(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno and node.end_lineno - node.lineno < 40, node.name


def test_nothing_but_the_entry_point_knows_the_command_line() -> None:
    for path in FILES:
        if _name(path).split(".")[0] not in ("cli", "__main__"):
            assert not [name for name in _imports(path) if name.split(".")[0] == "cli"], path


def test_what_help_needs_does_not_import_torch() -> None:
    modules = [f"ganvae{module}" for module in TORCH_FREE]
    commands = ", ".join(f"ganvae.{_name(path)}" for path in COMMANDS)
    for names in [*modules, commands]:
        code = f"import sys, {names}; sys.exit('torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], check=False)
        assert done.returncode == 0, f"{names} imports torch"


def test_every_module_says_what_it_is_for() -> None:
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert not text.strip() or ast.get_docstring(ast.parse(text)), path


def test_every_runtime_dependency_is_pinned() -> None:
    root = ROOT.parent
    if not (root / "constraints.txt").exists():
        pytest.skip("not a checkout")
    lines = (root / "constraints.txt").read_text().splitlines()
    pins = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    text = (root / "pyproject.toml").read_text()
    wanted = {
        line.strip().strip('"').split("==")[0].split(">=")[0].split("[")[0].lower()
        for line in text.splitlines()
        if line.startswith('  "') and ">=" in line
    }
    assert wanted and not wanted - pins
    assert not [line for line in lines if "://" in line or "+cpu" in line]
