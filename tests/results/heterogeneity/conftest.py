"""Scores with known nuisances, so that what is tested is what is done with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest


@dataclass
class Scored:
    """Linear effects 1 + x + 2 b, treatment by a known propensity, scores with the true nuisances."""

    covariates: pd.DataFrame
    treatment: np.ndarray
    effects: np.ndarray
    scores: np.ndarray
    target: np.ndarray


def draw(rows, seed, target="ate", noise=1.0):
    rng = np.random.default_rng(seed)
    x, b = rng.normal(size=rows), rng.integers(0, 2, rows).astype(float)
    propensity = 1 / (1 + np.exp(-0.7 * x + 0.3 * b))
    t = (rng.random(rows) < propensity).astype(float)
    effects = 1 + x + 2 * b
    residual = noise * rng.normal(size=rows)
    q = {"ate": np.ones(rows), "att": t}[target]
    q = q / q.sum()
    if target == "ate":
        influence = effects - effects.mean() + (t / propensity - (1 - t) / (1 - propensity)) * residual
    else:
        ratio = t - (1 - t) * propensity / (1 - propensity)
        influence = rows * q * (effects - q @ effects) + rows * ratio * residual / t.sum()
    scores = influence - influence.mean() + q @ effects + influence.mean()
    return Scored(pd.DataFrame({"x": x, "b": b}), t, effects, scores, q)


@pytest.fixture
def scored():
    return draw
