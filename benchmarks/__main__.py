"""``python -m benchmarks NAME [OPTIONS]`` runs one benchmark; without a name, lists them."""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path


def names() -> list[str]:
    """The modules of this folder, sorted."""
    files = Path(__file__).parent.glob("*.py")
    return sorted(path.stem for path in files if not path.stem.startswith("_"))


def summary(name: str) -> str:
    """The first line of a module's docstring."""
    text = (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def main() -> None:
    """Runs the module that the first argument names, with the arguments after it."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("python -m benchmarks NAME [OPTIONS]\n")
        for name in names():
            print(f"  {name:10} {summary(name)}")
        return
    name = sys.argv[1]
    if name not in names():
        sys.exit(f"there is no benchmark {name!r}; there are {', '.join(names())}")
    sys.argv = [f"benchmarks.{name}", *sys.argv[2:]]
    runpy.run_module(f"benchmarks.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
