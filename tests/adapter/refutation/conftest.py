"""A table of mixed columns, its model in DoWhy, an estimate, and the setting that refits are drawn from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from dowhy import CausalModel

from dowhy_cina.adapter.refutation.tables import read_setting

CAUSES = ["x", "z", "flag", "kind", "text", "count"]


def draw_frame(rows=240, seed=0, effect=1.0):
    """Draw covariates of every kind; the effect is constant."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 2)), columns=["x", "z"])
    frame["flag"] = rng.random(rows) < 0.4
    frame["kind"] = pd.Categorical(rng.choice(["a", "b", "c"], size=rows))
    frame["text"] = rng.choice(["up", "down"], size=rows)
    frame["count"] = rng.integers(0, 9, size=rows)
    frame["t"] = (rng.random(rows) < 1 / (1 + np.exp(-frame.x + 0.5 * frame.flag))).astype(int)
    frame["y"] = effect * frame.t + frame.x + 0.3 * frame["count"] + (frame.kind == "b") + rng.normal(size=rows)
    return frame


def estimated(frame, causes, method="backdoor.cina", **options):
    model = CausalModel(frame, "t", "y", common_causes=list(causes))
    estimand = model.identify_effect()
    return model, estimand, model.estimate_effect(estimand, method_name=method, **options)


@pytest.fixture(scope="session")
def make_frame():
    return draw_frame


@pytest.fixture(scope="session")
def make_estimate():
    """Give a function that makes model, estimand and estimate of a table."""
    return estimated


@pytest.fixture(scope="session")
def frame():
    return draw_frame()


@pytest.fixture(scope="session")
def problem(frame):
    return estimated(frame, CAUSES)


@pytest.fixture(scope="session")
def make_setting():
    return lambda problem: read_setting(problem[0]._data, *problem[1:])


@pytest.fixture(scope="session")
def setting(problem):
    return read_setting(problem[0]._data, *problem[1:])
