"""Tables that tests of several rooms draw."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="session")
def linear_table():
    """Draw covariates, a confounded treatment and an outcome linear in them."""

    def draw(rows=600, columns=4, seed=0, effect=2.0):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(rows, columns))
        t = (rng.random(rows) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
        y = x @ np.arange(1.0, columns + 1) + effect * t + rng.normal(size=rows)
        return x, t, y

    return draw
