"""``ganvae evaluate``: a model judged again."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from ganvae.cli.options import Machine, Model, Overrides
from ganvae.cli.printing import tell_json, tell_scores
from ganvae.cli.work import working

Data = Annotated[
    str | None,
    Parameter(help="Images to judge it on; unset: those that the run was trained on."),
]
Json = Annotated[bool, Parameter(help="Print the scores as JSON.")]


def evaluate(
    model: Model,
    /,
    *,
    data: Data = None,
    machine: Machine = Machine(),
    json: Json = False,
    overrides: Overrides,
) -> None:
    """Judge a model on images that it was not trained on.

    A run that is judged on its own images has its evaluation.json and report.html renewed. Other
    images are all judged by, unless --data.test-share asks for the part that is held out of them.
    """
    from ganvae import api

    with working(machine) as progress:
        scores = api.evaluate(
            model, data, settings=overrides, device=machine.device, progress=progress
        )
    (tell_json if json else tell_scores)(scores)
