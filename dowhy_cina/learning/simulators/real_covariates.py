"""Real covariates that ship with scikit-learn and statsmodels; no table on which effect estimators are compared.

Letters: N rows, D covariates, L rows of a real table.
"""

from __future__ import annotations

import importlib
from functools import lru_cache

import numpy as np

from dowhy_cina.learning.simulators.table import FloatArray

#: Real tables and the library that each ships with.
REAL_TABLES = {
    "anes96": "statsmodels",
    "breast_cancer": "sklearn",
    "diabetes": "sklearn",
    "digits": "sklearn",
    "fair": "statsmodels",
    "modechoice": "statsmodels",
    "randhie": "statsmodels",
    "star98": "statsmodels",
    "wine": "sklearn",
}
MOST_LEVELS = 12  # columns with at most so many values may be one-hot encoded
JITTER = 0.05  # of a continuous column that is drawn with repetition, in standard deviations


@lru_cache(maxsize=len(REAL_TABLES))
def real_table(name: str) -> tuple[FloatArray, tuple[str, ...]]:
    """Columns of a real table, shape (L, D), and their names; read once per process and not to be changed."""
    # Each library is imported only when one of its tables is drawn.
    if REAL_TABLES[name] == "sklearn":
        bunch = getattr(importlib.import_module("sklearn.datasets"), f"load_{name}")()
        values, names = np.asarray(bunch.data, dtype=np.float64), tuple(map(str, bunch.feature_names))
    else:
        frame = importlib.import_module(f"statsmodels.datasets.{name}").load_pandas().data
        values, names = frame.to_numpy(dtype=np.float64), tuple(map(str, frame.columns))
    kept = np.ptp(values, axis=0) > 0
    return values[:, kept], tuple(name for name, keep in zip(names, kept, strict=True) if keep)


@lru_cache(maxsize=2 * len(REAL_TABLES))
def _encoded(name: str, one_hot: bool) -> FloatArray:
    """Columns of a real table; those with few values one-hot encoded if asked for."""
    values = real_table(name)[0]
    if not one_hot:
        return values
    blocks = []
    for column in values.T:
        levels = np.unique(column)
        few = 2 < levels.size <= MOST_LEVELS
        blocks.append((column[:, None] == levels).astype(np.float64) if few else column[:, None])
    return np.hstack(blocks)


def _block(rng: np.random.Generator, rows: int, most: int) -> FloatArray:
    """Random rows of a random table, with at most so many of its columns."""
    name = tuple(REAL_TABLES)[int(rng.integers(len(REAL_TABLES)))]
    values = _encoded(name, bool(rng.random() < 0.4))
    columns = rng.permutation(values.shape[1])[:most]
    repeated = rows > len(values)
    drawn = rng.integers(len(values), size=rows) if repeated else rng.permutation(len(values))[:rows]
    block = np.ascontiguousarray(values[drawn][:, columns])
    if repeated:
        continuous = (block != np.floor(block)).any(axis=0)
        block += JITTER * block.std(axis=0) * continuous * rng.normal(size=block.shape)
    return block


def real_covariates(rng: np.random.Generator, rows: int, columns: int) -> FloatArray:
    """Real covariates of any shape: rows and columns at random, tables side by side where one is not wide enough.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all randomness.
    rows, columns : int
        Shape wanted; more rows than a table has are drawn with repetition, their continuous columns jittered.

    Returns
    -------
    (N, D) array
        Covariates in raw units, in random column order.
    """
    blocks, width = [], 0
    while width < columns:
        blocks.append(_block(rng, rows, columns - width))
        width += blocks[-1].shape[1]
    return np.hstack(blocks)[:, rng.permutation(columns)]
