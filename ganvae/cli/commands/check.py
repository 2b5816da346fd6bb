"""``ganvae check``: defects of images, found before a training."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from ganvae.cli.options import SOURCES, Overrides
from ganvae.cli.printing import tell, tell_json
from ganvae.errors import DataError

Data = Annotated[str, Parameter(help=f"Images: {SOURCES}.")]
Size = Annotated[int | None, Parameter(help="Height and width in pixels (data.size).")]
Json = Annotated[
    bool,
    Parameter(help='Print everything found as JSON, with every name; "ok" if it is nothing.'),
]


def check(data: Data, /, *, size: Size = None, json: Json = False, overrides: Overrides) -> int:
    """Look at images before training: every defect, duplicate and leak.

    Ends with 65 where a training would refuse them, whatever else was found.
    """
    from ganvae import api
    from ganvae.cli.console import console
    from ganvae.cli.live import Tracker

    shortcut = {} if size is None else {"data.size": size}
    with Tracker(console()) as progress:
        report = api.check(data, settings=shortcut | overrides, progress=progress)
    if json:
        tell_json(report.to_dict())
    else:
        tell(*report.lines())
    return DataError.exit_code if report.problems else 0
