"""``python -m benchmarks NAME [OPTIONS]`` runs one benchmark; without a name, lists them."""

from __future__ import annotations

import ast
import sys
from importlib import import_module
from pathlib import Path


def summaries() -> dict[str, str]:
    """The first line of the docstring of every module that is a command, by its name."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        text = path.read_text(encoding="utf-8")
        if "\nRACE = " in text or "\ndef main(" in text:
            found[path.stem] = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    return found


def main() -> int | None:
    """Runs the module that the first argument names, with the arguments after it."""
    known = summaries()
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("python -m benchmarks NAME [OPTIONS]\n")
        for name, summary in known.items():
            print(f"  {name:11} {summary}")
        return 0
    name = sys.argv.pop(1)
    if name not in known:
        sys.exit(f"there is no benchmark {name!r}; there are {', '.join(known)}")
    sys.argv[0] = f"python -m benchmarks {name}"  # what argparse calls it
    module = import_module(f"benchmarks.{name}")
    if hasattr(module, "RACE"):
        return import_module("benchmarks.race").run(module.RACE, module.__doc__)
    return module.main()


if __name__ == "__main__":
    sys.exit(main())
