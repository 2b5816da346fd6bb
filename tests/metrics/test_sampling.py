"""Which rows are judged and shown."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ganvae.metrics.sampling import spread


@given(st.integers(0, 500), st.integers(1, 40))
def test_a_spread_is_even_from_the_first_to_the_last(total, n):
    found = spread(total, n)
    assert len(found) == min(n, total) and (np.diff(found) > 0).all()
    if len(found) > 1:
        assert (found[0], found[-1]) == (0, total - 1)
        assert np.diff(found).max() - np.diff(found).min() <= 1
