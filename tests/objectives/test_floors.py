"""Every objective but unit reaches its floor in the demonstration's time."""

import pytest

from benchmarks.floors import FLOORS, train
from ganvae import objectives


def test_every_objective_but_unit_has_a_floor() -> None:
    assert sorted([*FLOORS, "unit"]) == objectives.names()


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOORS)
def test_three_minutes_of_fashion_mnist_pass_the_floor(name: str) -> None:
    assert train(name, "3m", 2000)["kid"] < FLOORS[name]
