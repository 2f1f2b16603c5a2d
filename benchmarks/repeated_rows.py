"""Rows that belong together, and groups with hardly any rows of an arm: what the trust figures measure of them.

Letters: C clusters, N rows, D covariates.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from foreign import foreign_table
from foreign_functions import Array
from intervals import Sample

import dowhy_cina

CLUSTERS, CLUSTER_ROWS = 100, 4
#: Group sizes from the largest to the thinnest, as shares of the rows.
GROUP_SHARES = np.array([0.3, 0.2, 0.15, 0.1, 0.08, 0.06, 0.04, 0.03, 0.02, 0.012, 0.008])


class ClusteredSample(NamedTuple):
    """Rows with their clusters (N,), and the means of each cluster."""

    rows: Sample
    cluster: np.ndarray
    means: Sample


def clustered_sample(index: int, seed: int = 0) -> ClusteredSample:
    """100 clusters of 4 rows, treatment and covariates those of the cluster, residuals with a common part; effect 1."""
    rng = np.random.default_rng([20_261_130, seed, index])
    x = rng.normal(size=(CLUSTERS, 5))
    t = np.zeros(CLUSTERS)
    while not 10 <= t.sum() <= CLUSTERS - 10:
        t = (rng.random(CLUSTERS) < 1 / (1 + np.exp(0.6 * x[:, 1] - 0.8 * x[:, 0]))).astype(np.float64)
    mean = x[:, 0] + 0.5 * x[:, 2] + np.sin(2 * x[:, 3]) + t + rng.normal(size=CLUSTERS)
    y = mean[:, None] + rng.normal(size=(CLUSTERS, CLUSTER_ROWS))
    cluster = np.repeat(np.arange(CLUSTERS), CLUSTER_ROWS)
    return ClusteredSample(
        Sample(x[cluster], t[cluster], y.ravel(), 1.0), cluster, Sample(x, t, np.asarray(y.mean(axis=1)), 1.0)
    )


def doubled(index: int, seed: int = 0) -> dict[str, float]:
    """What changes where every row comes twice at half the weight, as its own cluster, exactly or nearly.

    Returns
    -------
    dict
        Changes of value, relative to the larger of value and standard error, and of the standard error, relative to
        itself; for copies with a jitter of 1e-6 sd of each column and of the outcome, that of the value in standard
        errors.
    """
    table = foreign_table(index, seed)
    once = dowhy_cina.estimate_effect(table.x, table.t, table.y)
    assert once.standard_error is not None
    found: dict[str, float] = {}
    rng = np.random.default_rng([20_261_131, seed, index])
    for name, jitter in (("", 0.0), (" with jitter", 1e-6)):
        x = np.vstack([table.x, table.x + jitter * table.x.std(axis=0) * rng.normal(size=table.x.shape)])
        y = np.concatenate([table.y, table.y + jitter * table.y.std() * rng.normal(size=len(table.y))])
        pairs, halves = np.tile(np.arange(len(table.y)), 2), np.full(len(y), 0.5)
        twice = dowhy_cina.estimate_effect(x, np.tile(table.t, 2), y, cluster=pairs, sample_weight=halves)
        assert twice.standard_error is not None
        scale = once.standard_error if jitter else max(abs(once.value), once.standard_error)
        found[f"value{name}"] = abs(twice.value - once.value) / scale
        found[f"standard error{name}"] = abs(twice.standard_error / once.standard_error - 1)
    return found


def grouped_table(index: int, seed: int = 0) -> tuple[pd.DataFrame, Array, Array]:
    """Table of 300 to 1,500 rows without any effect; its eleven sites, some thin, drive treatment and outcome."""
    rng = np.random.default_rng([20_261_132, seed, index])
    rows = int(np.exp(rng.uniform(np.log(300), np.log(1500))))
    site = rng.choice(len(GROUP_SHARES), rows, p=GROUP_SHARES / GROUP_SHARES.sum())
    x = rng.normal(size=(rows, 4))
    tendency, level = rng.normal(0, 0.8, (2, len(GROUP_SHARES)))
    logit = tendency[site] + 0.7 * x[:, 0] - 0.5 * x[:, 1]
    t = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.float64)
    y = level[site] + x[:, 0] + 0.5 * x[:, 2] ** 2 + rng.normal(size=rows) * (1 + 0.5 * (x[:, 3] > 0))
    frame = pd.DataFrame(x, columns=[f"x{k}" for k in range(4)])
    return frame.assign(site=pd.Categorical([f"site {code:02d}" for code in site])), t, y


def equality_p_values(count: int, seed: int = 0) -> Iterator[float]:
    """P-values of equal effects in the sites of tables without any effect; NaN where fewer than two can be compared."""
    tables = [grouped_table(index, seed) for index in range(count)]
    for result in dowhy_cina.estimate_effects(tables):
        found = result.group_effects("site").p_value
        yield float("nan") if found is None else found
