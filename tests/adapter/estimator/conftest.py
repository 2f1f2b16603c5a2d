"""A table with confounders, a modifier, an instrument and a mediator, its model in DoWhy, and a plainer one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from dowhy import CausalModel
from dowhy.causal_estimator import CausalEstimator

from dowhy_cina import CinaEstimator

GRAPH = "digraph {x -> t; x -> y; z -> t; z -> y; c -> y; c -> t; t -> y; m -> y; i -> t; t -> d; d -> y}"
PLAIN_GRAPH = "digraph {x -> t; x -> y; z -> t; z -> y; t -> y}"


def draw_frame(rows: int = 300, seed: int = 0) -> pd.DataFrame:
    """Draw a table whose effect is 2 + m, so 2 on average and also in the treated."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 4)), columns=["x", "z", "m", "i"])
    frame["c"] = rng.choice(["a", "b", "c"], size=rows)
    logit = frame.x - 0.5 * frame.z + 0.5 * (frame.c == "a") + 0.5 * frame.i
    frame["t"] = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(int)
    frame["d"] = frame.t + 0.0
    noise = 0.5 * rng.normal(size=rows)
    frame["y"] = (2 + frame.m) * frame.t + frame.x + 0.5 * frame.z + (frame.c == "b") + noise
    return frame


def identify(frame: pd.DataFrame, graph: str = GRAPH, treatment: str | list[str] = "t"):
    model = CausalModel(frame, treatment=treatment, outcome="y", graph=graph)
    return model, model.identify_effect(proceed_when_unidentifiable=True)


@pytest.fixture(scope="session")
def make_frame():
    return draw_frame


@pytest.fixture(scope="session")
def make_model():
    """Give a function that makes the model of a table, and its estimand."""
    return identify


@pytest.fixture(scope="session")
def make_plain_model():
    return lambda frame: identify(frame, PLAIN_GRAPH)


@pytest.fixture(scope="module")
def frame():
    return draw_frame()


@pytest.fixture(scope="module")
def problem(frame):
    return identify(frame)


@pytest.fixture(scope="module")
def estimate(problem):
    model, estimand = problem
    return model.estimate_effect(
        estimand, method_name="backdoor.cina", confidence_intervals=True, test_significance=True
    )


@pytest.fixture
def plain(frame):
    """Give a small frame, a model and an estimand of its own to a test that changes them."""
    table = frame[["x", "z", "t", "y"]].head(160).copy()
    return (table, *identify(table, PLAIN_GRAPH))


@pytest.fixture
def no_bootstrap(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a bootstrap was started that nobody asked for")

    for owner in (CausalEstimator, CinaEstimator):
        monkeypatch.setattr(owner, "_generate_bootstrap_estimates", refuse)
        monkeypatch.setattr(owner, "_test_significance_with_bootstrap", refuse)


@pytest.fixture(autouse=True)
def _seeded():
    """DoWhy's simulations draw from numpy's global state."""
    np.random.seed(0)
