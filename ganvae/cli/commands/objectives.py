"""``ganvae objectives``: what can be trained."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from ganvae import outline
from ganvae.cli.help import print_fields
from ganvae.cli.printing import tell, tell_json
from ganvae.errors import ConfigError

Name = Annotated[str | None, Parameter(help="Only this one, with its whole description.")]
Json = Annotated[bool, Parameter(help="Print them as JSON.")]


def objectives(name: Name = None, /, *, json: Json = False) -> None:
    """List the objectives with every field and default."""
    from ganvae.config import suggest

    known = outline.objectives()
    if name is not None and name.replace("-", "_") not in known:
        raise ConfigError(f"objective {name!r} does not exist{suggest(name, known)}")
    names = known if name is None else [name.replace("-", "_")]
    outlines = {one: outline.objective(one) for one in names}
    if json:
        tell_json({one: asdict(value) for one, value in outlines.items()})
        return
    for one, value in outlines.items():
        tell(*f"{one}: {value.doc}".split("\n")[: None if name else 1])
        print_fields(f"--objective {one}", outline.flat("objective", value.fields))
