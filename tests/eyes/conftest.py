"""What several tests of feature networks use."""

import pytest

from ganvae.metrics import judge


@pytest.fixture(scope="session")
def lite0():
    return judge.load("efficientnet-lite0", 64)
