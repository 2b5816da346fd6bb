"""``python -m benchmarks NAME [OPTIONS]`` runs one benchmark; without a name, lists them."""

from __future__ import annotations

import ast
import sys
from importlib import import_module
from pathlib import Path


def summaries() -> dict[str, str]:
    """The first line of the docstring of every module that is a command, by its name."""
    texts = {path.stem: path.read_text("utf-8") for path in Path(__file__).parent.glob("[!_]*.py")}
    commands = {n: t for n, t in texts.items() if "\nRACE = " in t or "\ndef main(" in t}
    docs = {name: ast.get_docstring(ast.parse(text)) or "" for name, text in commands.items()}
    return {name: doc.partition("\n")[0] for name, doc in sorted(docs.items())}


def main() -> int | None:
    """Runs the module that the first argument names, with the arguments after it."""
    known = summaries()
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("python -m benchmarks NAME [OPTIONS]\n")
        print("\n".join(f"  {name:11} {summary}" for name, summary in known.items()))
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
