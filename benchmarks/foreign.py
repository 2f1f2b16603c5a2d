"""Populations of the foreign simulator: published designs and random functions, with effects that are known.

Written for ``benchmarks/trust.py`` alone, from other people's designs; no simulator of the package is used, and none
may learn from this one. Letters: N rows, D covariates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from foreign_functions import KINDS, Array, Function, Law, covariate_law, scaled, standardising

#: Rows of the population that functions are scaled on and attainable errors averaged over, and those of the truth.
REFERENCE_ROWS, TRUTH_ROWS = 10_000, 100_000
#: Propensities stay inside, so that the attainable error is finite and says something of a sample.
LEAST_PROPENSITY = 0.03
FEWEST_OF_AN_ARM = 8
#: Standard deviation of the logit of treatment.
OVERLAP = {"strong": 0.5, "medium": 1.0, "weak": 2.0}
#: Standard deviation of the effect, in that of the outcome's mean under control.
HETEROGENEITY = {"none": 0.0, "some": 0.3, "strong": 1.0}
COLUMN_CLASSES = ((2, 5), (6, 10), (11, 15), (16, 25), (26, 40))
ROW_CLASSES = ((150, 399), (400, 999), (1000, 3000))
DRIVER_SHARES = {"linear": 1, "quadratic": 1, "additive splines": 1, "ReLU network": 1, "Gaussian process": 2}
PUBLISHED_SHARE, NULL_SHARE, NOISE_COLUMNS_SHARE, BINARY_SHARE = 0.25, 1 / 3, 0.25, 0.12
#: Share of the outcomes whose mean contains the very function that drives the treatment.
SHARED_SHARE = dict.fromkeys(KINDS, 0.25) | {"Gaussian process": 0.5}


@dataclass(frozen=True)
class Population:
    """Law of covariates, treatment and outcome.

    Attributes
    ----------
    family, driver : str
        Name of the design, or of what drives the treatment where functions are random; and what drives the treatment.
    law : callable
        Draws covariates (N, D).
    propensity, base, effect : callable
        Of the covariates (N, D): chance of treatment, mean outcome under control, effect on the mean; (N,).
    noise : callable
        Standard deviation of the outcome around its mean (N,); not looked at where the outcome is binary.
    binary : bool
        Whether the outcome is 0 or 1, with base and base + effect its chances.
    tails : str
        Law of the noise: "normal", "laplace" or "t5".
    """

    family: str
    driver: str
    law: Law
    propensity: Function
    base: Function
    effect: Function
    noise: Function
    binary: bool = False
    tails: str = "normal"

    def sample(self, rng: np.random.Generator, rows: int) -> tuple[Array, Array, Array]:
        """Covariates (N, D), treatment and outcome (N,) of independent rows."""
        x = self.law(rng, rows)
        t = (rng.random(rows) < self.propensity(x)).astype(np.float64)
        mean = self.base(x) + t * self.effect(x)
        if self.binary:
            return x, t, (rng.random(rows) < mean).astype(np.float64)
        return x, t, mean + self.noise(x) * _standard_noise(rng, self.tails, rows)

    def truth(self, rng: np.random.Generator) -> float:
        """Average effect: the mean over a large draw of the covariates."""
        effects = self.effect(self.law(rng, TRUTH_ROWS // 100))
        if np.ptp(effects) == 0:
            return float(effects[0])
        parts = [self.effect(self.law(rng, TRUTH_ROWS // 10)).mean() for _ in range(10)]
        return float(np.mean(parts))

    def influence(self, x: Array, t: Array, y: Array) -> Array:
        """Scores of AIPW with the true propensity and means, whose mean is the oracle's estimate; (N,)."""
        e, base, effect = self.propensity(x), self.base(x), self.effect(x)
        residual = y - base - t * effect
        return np.asarray(effect + residual * (t / e - (1 - t) / (1 - e)))

    def attainable(self, rng: np.random.Generator, rows: int) -> float:
        """Standard error of the efficient estimate from so many rows, by the mean squared influence function."""
        x = self.law(rng, REFERENCE_ROWS)
        e, base, effect = self.propensity(x), self.base(x), self.effect(x)
        variances = [self.noise(x) ** 2] * 2
        if self.binary:
            variances = [mean * (1 - mean) for mean in (base, base + effect)]
        squared = variances[1] / e + variances[0] / (1 - e) + (effect - effect.mean()) ** 2
        return float(np.sqrt(squared.mean() / rows))


def _standard_noise(rng: np.random.Generator, tails: str, rows: int) -> Array:
    """Noise of variance 1."""
    if tails == "laplace":
        return rng.laplace(size=rows) / np.sqrt(2)
    if tails == "t5":
        return rng.standard_t(5, size=rows) / np.sqrt(5 / 3)
    return rng.normal(size=rows)


def expit(values: Array) -> Array:
    """Logistic function, cut to the propensities that are allowed."""
    return np.asarray(1 / (1 + np.exp(-values.clip(-30, 30)))).clip(LEAST_PROPENSITY, 1 - LEAST_PROPENSITY)


def random_population(rng: np.random.Generator, columns: int) -> tuple[Population, dict[str, str]]:
    """Population of random functions, and the names of its classes; a third has no effect at all."""
    law = covariate_law(rng, columns)
    active = np.sort(rng.permutation(columns)[: _active_columns(rng, columns)])
    reference = law(rng, REFERENCE_ROWS)[:, active]
    standard = standardising(reference)
    z = standard(reference)

    def drawn(kind: str) -> Function:
        return scaled(KINDS[kind](rng, len(active)), z)

    shares = np.array(list(DRIVER_SHARES.values()), dtype=float)
    driver = str(rng.choice(list(DRIVER_SHARES), p=shares / shares.sum()))
    index = drawn(driver)
    overlap, offset = str(rng.choice(list(OVERLAP))), float(rng.uniform(-0.8, 0.8))
    steepness = OVERLAP[overlap]
    shared = rng.random() < SHARED_SHARE[driver]
    own = drawn(driver if shared else str(rng.choice(list(KINDS))))
    carried = float(rng.choice([-1, 1]) * rng.uniform(0.5, 1.0)) if shared else 0.0
    null = rng.random() < NULL_SHARE
    heterogeneity = "none" if null else str(rng.choice(list(HETEROGENEITY)))
    level = 0.0 if null else float(rng.choice([-1, 1]) * rng.uniform(0.2, 1.0))
    modifier, spread = drawn(str(rng.choice(list(KINDS)))), HETEROGENEITY[heterogeneity]
    noise, uneven = float(np.exp(rng.uniform(np.log(0.3), np.log(1.5)))), 0.6 * (rng.random() < 0.25)
    slope = drawn("linear")

    def base(x: Array) -> Array:
        v = standard(x[:, active])
        return carried * index(v) + np.sqrt(1 - carried**2) * own(v)

    def effect(x: Array) -> Array:
        # Nothing is drawn into a constant effect, so that it is one to the last bit.
        return np.full(len(x), level) + (spread * modifier(standard(x[:, active])) if spread else 0.0)

    population = Population(
        driver,
        driver,
        law,
        lambda x: expit(offset + steepness * index(standard(x[:, active]))),
        base,
        effect,
        lambda x: noise * np.exp(uneven * slope(standard(x[:, active])).clip(-2, 2)),
        tails=str(rng.choice(["normal", "normal", "laplace", "t5"])),
    )
    if rng.random() < BINARY_SHARE:
        population = _binary(population)
    classes = {"overlap": overlap, "heterogeneity": heterogeneity, "noise columns": str(len(active) < columns)}
    return population, classes | {"null": str(null)}


def _active_columns(rng: np.random.Generator, columns: int) -> int:
    """Columns that any function depends on: all of them, or in a quarter of the tables as few as a third."""
    if rng.random() < NOISE_COLUMNS_SHARE:
        return int(rng.integers(max(1, columns // 3), columns + 1))
    return columns


def _binary(population: Population) -> Population:
    """The population with the chance of an outcome of 1 logistic in what was the mean."""
    base, effect = population.base, population.effect
    return replace(
        population,
        base=lambda x: expit(base(x)),
        effect=lambda x: expit(base(x) + effect(x)) - expit(base(x)),
        binary=True,
    )


class ForeignTable(NamedTuple):
    """A sample (N, D), (N,), (N,), the population's effect, the attainable standard error, and names of its classes."""

    x: Array
    t: Array
    y: Array
    effect: float
    attainable: float
    classes: dict[str, str]


def foreign_table(index: int, seed: int = 0) -> ForeignTable:
    """Table of this number: the same whatever else is drawn, and whatever the package's version."""
    from foreign_designs import published_population

    for attempt in range(100):
        rng = np.random.default_rng([20_261_128, seed, index, attempt])
        fewest, most = COLUMN_CLASSES[index % len(COLUMN_CLASSES)]
        low, high = ROW_CLASSES[int(rng.integers(len(ROW_CLASSES)))]
        rows, columns = int(np.exp(rng.uniform(np.log(low), np.log(high + 1)))), int(rng.integers(fewest, most + 1))
        published = rng.random() < PUBLISHED_SHARE
        population, classes = (published_population if published else random_population)(rng, columns)
        x, t, y = population.sample(rng, rows)
        if min(t.sum(), rows - t.sum()) < FEWEST_OF_AN_ARM or len(np.unique(y)) < 2:
            continue
        classes = classes | {
            "family": population.family,
            "driver": population.driver,
            "columns": f"{fewest}-{most}",
            "rows": f"{low}-{high}",
            "outcome": "binary" if population.binary else "continuous",
        }
        return ForeignTable(x, t, y, population.truth(rng), population.attainable(rng, rows), classes)
    raise RuntimeError(f"no table {index} with {FEWEST_OF_AN_ARM} rows of each arm in 100 attempts")
