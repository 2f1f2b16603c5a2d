"""Random covariate tables: mixed types, correlated, collinear, skewed, discrete, in raw units.

Letters: N rows, D covariates, L levels of a categorical covariate.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from scipy.special import ndtr, ndtri

from dowhy_cina.learning.simulators.latents import LAWS, correlated_gaussians
from dowhy_cina.learning.simulators.table import FloatArray, IntArray

Transform = Callable[[np.random.Generator, FloatArray], FloatArray]


def _uniform(latent: FloatArray) -> FloatArray:
    """Map a gaussian to about uniform (logistic approximation of its distribution function)."""
    return np.asarray(1 / (1 + np.exp(-1.702 * np.clip(latent, -6, 6))))


def _cut(probability: FloatArray) -> FloatArray:
    """Threshold that a gaussian passes with about the given probability."""
    return np.asarray(-np.log(probability / (1 - probability)) / 1.702)


def _gaussian(rng: np.random.Generator, latent: FloatArray) -> FloatArray:
    columns: int = latent.shape[1]
    return np.asarray(latent * np.exp(rng.normal(0, 1, columns)) + rng.normal(0, 3, columns))


def _flat(rng: np.random.Generator, latent: FloatArray) -> FloatArray:
    return np.asarray(_uniform(latent) * np.exp(rng.normal(0, 1, latent.shape[1])))


def _skewed(rng: np.random.Generator, latent: FloatArray) -> FloatArray:
    columns: int = latent.shape[1]
    return np.asarray(np.exp(latent * rng.uniform(0.3, 1.2, columns) + rng.normal(0, 2, columns)))


def _exponential(rng: np.random.Generator, latent: FloatArray) -> FloatArray:
    return np.asarray(-np.log(1 - _uniform(latent)) * np.exp(rng.normal(0, 1, latent.shape[1])))


def _heavy(rng: np.random.Generator, latent: FloatArray) -> FloatArray:
    return np.asarray(np.sinh(np.clip(latent, -6, 6) * rng.uniform(0.7, 1.5, latent.shape[1])))


def _count(rng: np.random.Generator, latent: FloatArray) -> FloatArray:
    columns: int = latent.shape[1]
    return np.asarray(np.floor(np.exp(latent * rng.uniform(0.3, 0.9, columns) + rng.uniform(-0.5, 2.5, columns))))


def _zero_inflated(rng: np.random.Generator, latent: FloatArray) -> FloatArray:
    columns: int = latent.shape[1]
    above = np.maximum(latent - _cut(rng.uniform(0.15, 0.9, columns)), 0.0)
    return np.asarray(above ** rng.uniform(0.8, 2, columns) * np.exp(rng.normal(2, 2, columns)))


def _binary(rng: np.random.Generator, latent: FloatArray) -> FloatArray:
    columns: int = latent.shape[1]
    rare = np.exp(rng.uniform(np.log(0.01), np.log(0.15), columns))
    probability = np.where(rng.random(columns) < 0.3, rare, rng.uniform(0.1, 0.9, columns))
    return (latent > _cut(probability)).astype(np.float64)


def _ordinal(rng: np.random.Generator, latent: FloatArray) -> FloatArray:
    levels = rng.integers(3, 12, latent.shape[1])
    return np.asarray(np.floor(_uniform(latent) ** np.exp(rng.normal(0, 0.5, latent.shape[1])) * levels))


TRANSFORMS: dict[str, Transform] = {
    "gaussian": _gaussian,
    "flat": _flat,
    "skewed": _skewed,
    "exponential": _exponential,
    "heavy": _heavy,
    "count": _count,
    "zero_inflated": _zero_inflated,
    "binary": _binary,
    "ordinal": _ordinal,
}


def _one_hot_blocks(rng: np.random.Generator, covariates: FloatArray, latent: FloatArray, share: float) -> None:
    """Overwrite about ``share`` of the columns by one-hot blocks of unequal categories, in place."""
    columns = covariates.shape[1]
    start, budget = 0, round(share * columns)
    while budget - start >= 2:
        most = 12 if rng.random() < 0.8 else 60  # a state or an occupation among sexes and age groups
        levels = min(int(rng.integers(3, most)), budget - start)
        block = slice(start, start + levels)
        level = np.argmax(latent[:, block] + rng.normal(0, 1, levels), axis=1)
        covariates[:, block] = level[:, None] == np.arange(levels)
        start += levels


def _near_duplicates(rng: np.random.Generator, covariates: FloatArray) -> None:
    """Overwrite some columns by noisy copies or powers of others, in place."""
    rows, columns = covariates.shape
    count = int(rng.integers(1, 2 + columns // 6))
    target, source = rng.integers(columns, size=(2, count))
    copied = covariates[:, source]
    discrete = (copied == np.floor(copied)).all(axis=0)
    noise = rng.normal(size=(rows, count)) * copied.std(axis=0) * np.exp(rng.uniform(-4, 0, count))
    covariates[:, target] = np.where(discrete, copied[rng.integers(rows, size=rows)], copied + noise)
    kept = discrete & (rng.random(count) < 0.9)
    flip = rng.random((rows, int(kept.sum()))) < 0.1
    covariates[:, target[kept]] = np.where(flip, covariates[:, target[kept]], copied[:, kept])


def mixed_covariates(
    rng: np.random.Generator,
    rows: int,
    columns: int,
    emphasis: Mapping[str, float] | None = None,
    one_hot: float | None = None,
) -> FloatArray:
    """Draw a covariate table of mixed types.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all randomness.
    rows, columns : int
        Shape of the table.
    emphasis : mapping of str to float, optional
        Prior weight of each type named in ``TRANSFORMS``; by default types are mixed anew for each table, and one
        table in six is gaussian throughout.
    one_hot : float, optional
        Share of columns in one-hot blocks; drawn by default.

    Returns
    -------
    (N, D) array
        Finite covariates in raw units.
    """
    return typed_columns(rng, correlated_gaussians(rng, rows, columns), emphasis, one_hot)


def typed_columns(
    rng: np.random.Generator,
    latent: FloatArray,
    emphasis: Mapping[str, float] | None = None,
    one_hot: float | None = None,
) -> FloatArray:
    """Give columns (N, D) of unit scale their types, one-hot blocks and near-duplicates; as ``mixed_covariates``."""
    columns = latent.shape[1]
    kind = _draw_kinds(rng, columns, emphasis)
    covariates = latent.copy()
    for position, transform in enumerate(TRANSFORMS.values()):
        chosen = np.flatnonzero(kind == position)
        if chosen.size:
            covariates[:, chosen] = transform(rng, latent[:, chosen])
    share = one_hot if one_hot is not None else float(rng.choice([0.0, rng.uniform(0, 0.7)], p=[0.6, 0.4]))
    _one_hot_blocks(rng, covariates, latent, share)
    if columns > 2 and rng.random() < 0.25:
        _near_duplicates(rng, covariates)
    return covariates


def any_covariates(rng: np.random.Generator, rows: int, columns: int, laws: Sequence[str] = tuple(LAWS)) -> FloatArray:
    """Draw a covariate table of any kind.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all randomness.
    rows, columns : int
        Shape of the table.
    laws : sequence of str, optional
        Joint laws to choose from, named in ``latents.LAWS``; all by default.

    Returns
    -------
    (N, D) array
        Nearly half of the tables have columns of the law as they are, a third give them types, one in five is real.
    """
    style = rng.random()
    if style < 0.2:
        return real_covariates(rng, rows, columns)
    latent = LAWS[laws[int(rng.integers(len(laws)))]](rng, rows, columns)
    return latent if style < 0.65 else typed_columns(rng, latent)


def _draw_kinds(rng: np.random.Generator, columns: int, emphasis: Mapping[str, float] | None) -> IntArray:
    """Draw a type for each column."""
    if emphasis is None and rng.random() < 1 / 6:
        return np.zeros(columns, dtype=np.int64)
    weights = np.array([1.0 if emphasis is None else emphasis.get(name, 0.0) for name in TRANSFORMS])
    mixture = weights * rng.gamma(0.6, size=weights.size) if emphasis is None else weights
    mixture = mixture + 1e-6 * weights
    return rng.choice(weights.size, size=columns, p=mixture / mixture.sum())


#: Real tables and the library that each ships with.
REAL_TABLES = {
    "anes96": "statsmodels",
    "breast_cancer": "sklearn",
    "diabetes": "sklearn",
    "digits": "sklearn",
    "digits_components": "sklearn",
    "fair": "statsmodels",
    "iris": "sklearn",
    "macrodata": "statsmodels",
    "modechoice": "statsmodels",
    "randhie": "statsmodels",
    "star98": "statsmodels",
    "wine": "sklearn",
}
MOST_LEVELS = 12  # columns with at most so many values may be one-hot encoded
JITTER = 0.05  # of a continuous column that is drawn with repetition, in standard deviations
COMPONENTS = 20  # leading principal components of the images in ``digits``


@lru_cache(maxsize=len(REAL_TABLES))
def real_table(name: str) -> tuple[FloatArray, tuple[str, ...]]:
    """Columns of a real table, shape (L, D), and their names; read once per process and not to be changed."""
    if name == "digits_components":
        values = real_table("digits")[0]
        left, scale, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
        return (left * scale)[:, :COMPONENTS], tuple(f"component {k}" for k in range(COMPONENTS))
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
    """Random rows of a random table, or new ones like them, with at most so many of its columns."""
    name = tuple(REAL_TABLES)[int(rng.integers(len(REAL_TABLES)))]
    values = _encoded(name, bool(rng.random() < 0.4))
    values = values[:, rng.permutation(values.shape[1])[:most]]
    if rng.random() < 0.3:
        return _alike(rng, values, rows)
    repeated = rows > len(values)
    drawn = rng.integers(len(values), size=rows) if repeated else rng.permutation(len(values))[:rows]
    block = np.ascontiguousarray(values[drawn])
    if repeated:
        continuous = (block != np.floor(block)).any(axis=0)
        block += JITTER * block.std(axis=0) * continuous * rng.normal(size=block.shape)
    return block


def _alike(rng: np.random.Generator, values: FloatArray, rows: int) -> FloatArray:
    """New rows with the columns' own values and about their rank correlations (gaussian copula)."""
    scores = ndtri((np.argsort(np.argsort(values, axis=0), axis=0) + 0.5) / len(values))
    factor = np.linalg.cholesky(scores.T @ scores / len(values) + 0.01 * np.eye(values.shape[1]))
    latent = rng.normal(size=(rows, values.shape[1])) @ (factor / np.linalg.norm(factor, axis=1, keepdims=True)).T
    place = np.minimum((ndtr(latent) * len(values)).astype(np.int64), len(values) - 1)
    return np.take_along_axis(np.sort(values, axis=0), place, axis=0)


def real_covariates(rng: np.random.Generator, rows: int, columns: int) -> FloatArray:
    """Real covariates of any shape: rows and columns at random, tables side by side where one is not wide enough.

    In three blocks of ten the rows are new ones, with the columns' values and rank correlations.

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
