"""Joint laws of columns before they are given types: factors, blocks, bands, clusters, heavy tails, unequal spread.

Letters: N rows, D columns, F factors, K clusters. Every law maps ``(generator, N, D)`` to (N, D) columns of about unit
scale.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dowhy_cina.learning.simulators.mechanisms import unit
from dowhy_cina.learning.simulators.table import FloatArray

Law = Callable[[np.random.Generator, int, int], FloatArray]


def independent(rng: np.random.Generator, rows: int, columns: int) -> FloatArray:
    """Independent columns: all gaussian or all uniform."""
    if rng.random() < 0.6:
        return rng.normal(size=(rows, columns))
    return rng.uniform(-np.sqrt(3), np.sqrt(3), size=(rows, columns))


def correlated_gaussians(rng: np.random.Generator, rows: int, columns: int) -> FloatArray:
    """Unit-variance gaussians, independent or sharing a few factors."""
    noise = rng.normal(size=(rows, columns))
    if rng.random() < 0.25 or columns == 1:
        return noise
    factors = int(rng.integers(1, 2 + min(columns, 12) // 2))
    loading = rng.normal(size=(factors, columns)) * (rng.random((factors, columns)) < rng.uniform(0.2, 1))
    loading /= np.maximum(np.sqrt((loading**2).sum(axis=0)), 1e-9)
    common = rng.beta(1.2, rng.uniform(0.5, 3), columns) * (loading != 0).any(axis=0)
    shared = (rng.normal(size=(rows, factors)) @ loading) * np.sqrt(common)
    return np.asarray(shared + noise * np.sqrt(1 - common))


def blocks(rng: np.random.Generator, rows: int, columns: int) -> FloatArray:
    """Blocks of columns that each follow a factor of their own, the factors correlated among themselves."""
    count = int(rng.integers(1, 2 + columns // 3))
    block = np.sort(rng.integers(count, size=columns))
    general = rng.uniform(0, 0.6)
    factor = np.sqrt(general) * rng.normal(size=(rows, 1)) + np.sqrt(1 - general) * rng.normal(size=(rows, count))
    loading = np.sqrt(rng.uniform(0.2, 0.97, count))[block] * rng.choice([-1.0, 1.0], columns, p=[0.2, 0.8])
    noise = rng.normal(size=(rows, columns))
    return np.asarray(factor[:, block] * loading + noise * np.sqrt(1 - loading**2))


def banded(rng: np.random.Generator, rows: int, columns: int) -> FloatArray:
    """Gaussians whose correlation falls geometrically with the distance of their columns."""
    correlation = rng.uniform(0.2, 0.95)
    values = rng.normal(size=(rows, columns))
    for column in range(1, columns):
        values[:, column] *= np.sqrt(1 - correlation**2)
        values[:, column] += correlation * values[:, column - 1]
    return values


def clusters(rng: np.random.Generator, rows: int, columns: int) -> FloatArray:
    """Two to seven clusters of unequal size, spread and shape, from overlapping to far apart."""
    count = int(rng.integers(2, 8))
    member = rng.choice(count, size=rows, p=rng.dirichlet(np.full(count, 2.0)))
    apart = rng.uniform(0.3, 3.0)
    centre = apart * rng.normal(size=(count, columns)) * (rng.random(columns) < rng.uniform(0.3, 1))
    spread = np.exp(rng.normal(0, 0.4, (count, 1)) + rng.normal(0, rng.uniform(0, 0.5), (count, columns)))
    return unit(centre[member] + spread[member] * correlated_gaussians(rng, rows, columns))


def heavy_tails(rng: np.random.Generator, rows: int, columns: int) -> FloatArray:
    """Columns of Student's law: one scale for the whole row, or one for each entry."""
    freedom = rng.uniform(2.1, 8.0)
    shape = (rows, 1) if rng.random() < 0.5 else (rows, columns)
    return unit(correlated_gaussians(rng, rows, columns) / np.sqrt(rng.chisquare(freedom, shape) / freedom))


def unequal_spread(rng: np.random.Generator, rows: int, columns: int) -> FloatArray:
    """Columns of which many spread more, or lie elsewhere, where another column is large."""
    values = correlated_gaussians(rng, rows, columns)
    source = rng.integers(columns, size=columns)
    strength = rng.uniform(0.2, 0.9, columns) * (rng.random(columns) < 0.6)
    bend = rng.normal(0, 0.5, columns) * (rng.random(columns) < 0.4)
    driver = values[:, source]
    return unit(values * np.exp(strength * np.clip(driver, -4, 4)) + bend * driver**2)


LAWS: dict[str, Law] = {
    "independent": independent,
    "correlated_gaussians": correlated_gaussians,
    "blocks": blocks,
    "banded": banded,
    "clusters": clusters,
    "heavy_tails": heavy_tails,
    "unequal_spread": unequal_spread,
}
