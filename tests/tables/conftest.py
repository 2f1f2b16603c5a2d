"""A table with columns of every kind."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="session")
def mixed_frame():
    """Function that draws one."""
    return draw_mixed_frame


def draw_mixed_frame(rows=60, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.normal(40, 10, rows),
            "smoker": rng.random(rows) < 0.4,
            "visits": rng.poisson(2, rows).astype(np.int8),
            "site": pd.Categorical(
                rng.choice(["north", "south", "west"], rows), categories=["north", "south", "west", "x"]
            ),
            "sex": rng.choice(["f", "m"], rows),
            "income": rng.lognormal(10, 1, rows),
        }
    )
    frame.loc[[3, 8], "income"] = np.nan
    frame.loc[[5], "sex"] = None
    return frame
