"""Tables of real covariates with treatments and outcomes from trees, ramps, networks and linear functions.

The covariates are those that scikit-learn and statsmodels bundle. The package's own simulators draw covariates from
some of the same data sets: only the surfaces are foreign here. Letters: L rows of a data set, N of a table, D
covariates.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from foreign import FEWEST_OF_AN_ARM, HETEROGENEITY, NULL_SHARE, OVERLAP, ForeignTable, expit
from foreign_functions import Array, standardising
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.model_selection import StratifiedKFold

DATASETS = ("diabetes", "breast_cancer", "wine", "digits", "fair", "anes96", "star98", "randhie")
MOST_ROWS, DIGITS_COMPONENTS = 2000, 15
#: Most of a data set that a table holds, so that tables differ.
LARGEST_SHARE = 0.8
#: Of the populations whose outcome's mean contains what drives the treatment.
SHARED_SHARE = 1 / 3
#: Folds of AIPW, and where its propensities are cut, as in the package's comparisons.
FOLDS, CLIP = 5, 0.05
Surface = Callable[[np.random.Generator, Array], Array]


@lru_cache(maxsize=len(DATASETS))
def covariates(name: str) -> Array:
    """Numbers (L, D) of a data set; principal components of the images of digits."""
    loaders = {"diabetes": load_diabetes, "breast_cancer": load_breast_cancer, "wine": load_wine, "digits": load_digits}
    if name in loaders:
        values = np.asarray(loaders[name]().data, dtype=np.float64)
        return PCA(DIGITS_COMPONENTS, random_state=0).fit_transform(values) if name == "digits" else values
    frame = importlib.import_module(f"statsmodels.datasets.{name}").load_pandas().data
    return np.asarray(frame.to_numpy(dtype=np.float64))


def trees(rng: np.random.Generator, z: Array) -> Array:
    """Sum of binary trees of depth 2 to 4, each split at a row's value of a random column."""
    total = np.zeros(len(z))
    for _ in range(int(rng.integers(3, 16))):
        leaf, depth = np.zeros(len(z), dtype=int), int(rng.integers(2, 5))
        for level in range(depth):
            # A split of its own for each node, unlike trees that ask one question per level.
            column, row = rng.integers(z.shape[1], size=2**level), rng.integers(len(z), size=2**level)
            leaf = 2 * leaf + (z[np.arange(len(z)), column[leaf]] > z[row, column][leaf])
        total += rng.normal(size=2**depth)[leaf]
    return total


def ramps(rng: np.random.Generator, z: Array) -> Array:
    """Sum of ramps: projections on up to three columns that rise between two quantiles and are level outside."""
    total = np.zeros(len(z))
    for _ in range(int(rng.integers(2, 9))):
        chosen = rng.permutation(z.shape[1])[: int(rng.integers(1, 4))]
        index = z[:, chosen] @ rng.normal(size=len(chosen))
        low, high = np.quantile(index, np.sort(rng.uniform(0.05, 0.95, 2)))
        total += rng.normal() * ((index - low) / max(high - low, 1e-9)).clip(0, 1)
    return total


def network(rng: np.random.Generator, z: Array) -> Array:
    """One hidden layer of logistic units."""
    units = int(rng.integers(4, 33))
    weights, biases = 2 * rng.normal(size=(z.shape[1], units)) / np.sqrt(z.shape[1]), rng.normal(size=units)
    return np.asarray(1 / (1 + np.exp(-(z.clip(-5, 5) @ weights + biases))) @ rng.normal(size=units))


def linear(rng: np.random.Generator, z: Array) -> Array:
    """Linear in all columns, outliers cut."""
    return z.clip(-5, 5) @ rng.normal(size=z.shape[1])


SURFACES: dict[str, Surface] = {"trees": trees, "ramps": ramps, "network": network, "linear": linear}


@dataclass(frozen=True)
class RealPopulation:
    """The rows of a data set (L, D) with their propensity, mean under control and effect (L,), and one noise level."""

    x: Array
    propensity: Array
    base: Array
    effect: Array
    noise: float
    classes: dict[str, str]

    def sample(self, rng: np.random.Generator, rows: int) -> tuple[npt.NDArray[np.intp], Array, Array]:
        """Numbers of rows without repetition, their treatment and outcome (N,)."""
        chosen = rng.permutation(len(self.x))[:rows]
        t = (rng.random(rows) < self.propensity[chosen]).astype(np.float64)
        y = self.base[chosen] + t * self.effect[chosen] + self.noise * rng.normal(size=rows)
        return chosen, t, y

    def attainable(self, rows: int) -> float:
        """Standard error of the efficient estimate from so many rows, by the mean squared influence function."""
        spread = self.effect.var() * (1 - rows / len(self.x))  # rows are not repeated
        e = self.propensity
        return float(np.sqrt((np.mean(self.noise**2 / (e * (1 - e))) + spread) / rows))


def surface(rng: np.random.Generator, z: Array) -> tuple[str, Array]:
    """Kind and values of a random surface with mean 0 and variance 1, half the time beside a linear part."""
    kind = str(rng.choice(list(SURFACES)))
    values = unit(SURFACES[kind](rng, z))
    return kind, unit(values + rng.uniform(0.3, 1) * unit(linear(rng, z))) if rng.random() < 0.5 else values


def real_population(rng: np.random.Generator, name: str) -> RealPopulation:
    """Draw surfaces on the rows of a data set; a third has no effect, a third of the outcomes follow the treatment."""
    x = covariates(name)
    z = standardising(x)(x)
    (driver, index), (_, own), (_, modifier) = (surface(rng, z) for _ in range(3))
    overlap, null = str(rng.choice(list(OVERLAP))), rng.random() < NULL_SHARE
    heterogeneity = "none" if null else str(rng.choice(list(HETEROGENEITY)))
    carried = rng.choice([-0.5, 0.5]) if rng.random() < SHARED_SHARE else 0.0
    level = 0.0 if null else rng.choice([-1, 1]) * rng.uniform(0.2, 1.0)
    return RealPopulation(
        x,
        expit(rng.uniform(-1, 1) + OVERLAP[overlap] * index),
        carried * index + np.sqrt(1 - carried**2) * own,
        level + HETEROGENEITY[heterogeneity] * modifier,
        float(np.exp(rng.uniform(np.log(0.3), np.log(1.5)))),
        {"family": name, "driver": driver, "overlap": overlap, "heterogeneity": heterogeneity, "null": str(null)},
    )


def real_table(index: int, seed: int = 0) -> ForeignTable:
    """Table of this number: rows of a data set without repetition; the effect is the mean over all its rows."""
    name = DATASETS[index % len(DATASETS)]
    for attempt in range(100):
        rng = np.random.default_rng([20_261_129, seed, index, attempt])
        population = real_population(rng, name)
        most = min(MOST_ROWS, int(LARGEST_SHARE * len(population.x)))
        rows = int(np.exp(rng.uniform(np.log(min(150, most)), np.log(most + 1))))
        chosen, t, y = population.sample(rng, rows)
        if min(t.sum(), rows - t.sum()) >= FEWEST_OF_AN_ARM:
            classes = population.classes | {"rows": "400-2000" if rows >= 400 else "below 400"}
            effect = float(population.effect.mean())
            return ForeignTable(population.x[chosen], t, y, effect, population.attainable(rows), classes)
    raise RuntimeError(f"no table {index} with {FEWEST_OF_AN_ARM} rows of each arm in 100 attempts")


def unit(values: Array) -> Array:
    """Mean 0 and variance 1 over the rows of the data set; a constant becomes 0."""
    return (values - values.mean()) / max(float(values.std()), 1e-12)


def aipw(x: Array, t: Array, y: Array) -> tuple[float, float]:
    """Effect and standard error by AIPW: histogram gradient boosted trees in default settings, cross-fitted."""
    scores = np.empty_like(y)
    for fit, rest in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(x, t):
        model = HistGradientBoostingClassifier(random_state=0).fit(x[fit], t[fit])
        e = model.predict_proba(x[rest])[:, 1].clip(CLIP, 1 - CLIP)
        arms = (fit[t[fit] == arm] for arm in (0, 1))
        means = [HistGradientBoostingRegressor(random_state=0).fit(x[arm], y[arm]).predict(x[rest]) for arm in arms]
        residual = y[rest] - np.where(t[rest] == 1, means[1], means[0])
        scores[rest] = means[1] - means[0] + residual * (t[rest] / e - (1 - t[rest]) / (1 - e))
    return float(scores.mean()), float(scores.std() / np.sqrt(len(y)))
