"""Random functions and covariates of the foreign simulator, which shares no code with the simulators of the package.

Letters: N rows, D covariates, K columns of products or projections, M features, H hidden units. A function is drawn
once, with parameters that stay, and can then be evaluated at any rows: a population has it, not a table.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

Array = npt.NDArray[np.float64]
Function = Callable[[Array], Array]
Law = Callable[[np.random.Generator, int], Array]

#: Features of a Gaussian process: enough that one draw of them does not show in its smoothness.
FEATURES = 128
#: Knots of a spline, in standard deviations of its column, and where columns are cut before they enter it.
KNOTS = np.linspace(-2.5, 2.5, 7)


def linear(rng: np.random.Generator, columns: int) -> Function:
    """Linear function, dense with normal coefficients or sparse with equal ones."""
    slopes = rng.normal(size=columns)
    if rng.random() < 0.5:
        slopes = np.where(rng.permutation(columns) < max(1, columns // 3), np.sign(slopes), 0.0)
    return lambda z: z @ slopes


def quadratic(rng: np.random.Generator, columns: int) -> Function:
    """Linear function plus signed squares of one to three random projections."""
    slopes, rank = rng.normal(size=columns) / np.sqrt(columns), int(rng.integers(1, 4))
    projections = rng.normal(size=(columns, rank)) / np.sqrt(columns)
    signs, weight = rng.choice([-1.0, 1.0], rank), rng.uniform(0.3, 1.0)
    return lambda z: z @ slopes + weight * (z @ projections) ** 2 @ signs


def splines(rng: np.random.Generator, columns: int) -> Function:
    """Sum of cubic splines of single columns, their values at the knots a random walk."""
    chosen = rng.permutation(columns)[: int(rng.integers(1, min(columns, 10) + 1))]
    curves = [CubicSpline(KNOTS, np.cumsum(rng.normal(size=len(KNOTS)))) for _ in chosen]
    return lambda z: sum(
        (curve(z[:, k].clip(KNOTS[0], KNOTS[-1])) for k, curve in zip(chosen, curves, strict=True)), np.zeros(len(z))
    )


def relu_network(rng: np.random.Generator, columns: int) -> Function:
    """Network of two hidden layers of rectified units with He's initial weights."""
    width = int(rng.integers(8, 65))
    first, second = (rng.normal(size=(n, width)) * np.sqrt(2 / n) for n in (columns, width))
    biases, last = 0.5 * rng.normal(size=(2, width)), rng.normal(size=width)
    return lambda z: np.maximum(np.maximum(z @ first + biases[0], 0) @ second + biases[1], 0) @ last


def gaussian_process(rng: np.random.Generator, columns: int) -> Function:
    """Draw of a Gaussian process of lengthscale about sqrt(D), by random Fourier features.

    Two rows are correlated by .13 to .64 on average: with less, nobody could learn anything of it from other rows.
    """
    lengthscale = rng.choice([0.7, 1.0, 1.5]) * np.sqrt(columns)
    frequencies = rng.normal(size=(columns, FEATURES)) / lengthscale
    phases, amplitudes = rng.uniform(0, 2 * np.pi, FEATURES), rng.normal(size=FEATURES)
    return lambda z: np.cos(z @ frequencies + phases) @ amplitudes


#: What may drive treatment, outcome and effect.
KINDS: dict[str, Callable[[np.random.Generator, int], Function]] = {
    "linear": linear,
    "quadratic": quadratic,
    "additive splines": splines,
    "ReLU network": relu_network,
    "Gaussian process": gaussian_process,
}


def scaled(function: Function, reference: Array) -> Function:
    """The function with mean 0 and standard deviation 1 over reference rows (N, D); a constant becomes 0."""
    values = function(reference)
    centre, scale = float(values.mean()), float(values.std())
    return lambda x: (function(x) - centre) / scale if scale > 1e-12 else np.zeros(len(x))


def standardising(reference: Array) -> Function:
    """Standardisation of columns (N, D) by the means and standard deviations of reference rows."""
    centre, scale = reference.mean(axis=0), np.maximum(reference.std(axis=0), 1e-12)
    return lambda x: (x - centre) / scale


def autoregressive(correlation: float, columns: int) -> Law:
    """Law of normal columns whose correlations fall geometrically with their distance."""
    places = np.arange(columns)
    root = np.linalg.cholesky(correlation ** np.abs(places[:, None] - places))
    return lambda rng, rows: rng.normal(size=(rows, columns)) @ root.T


def mixed(law: Law, rng: np.random.Generator, columns: int) -> Law:
    """Another law with some columns made binary, counts or skewed, each with parameters that stay."""
    kinds = rng.choice(["as it is", "binary", "count", "skewed"], columns, p=[0.4, 0.3, 0.15, 0.15])
    thresholds = rng.normal(0, 0.7, columns)

    def draw(generator: np.random.Generator, rows: int) -> Array:
        x = law(generator, rows)
        for k, (kind, threshold) in enumerate(zip(kinds, thresholds, strict=True)):
            if kind == "binary":
                x[:, k] = x[:, k] > threshold
            elif kind == "count":
                x[:, k] = np.floor(np.exp(0.5 + 0.6 * x[:, k]))
            elif kind == "skewed":
                x[:, k] = np.exp(0.7 * x[:, k])
        return x

    return draw


def covariate_law(rng: np.random.Generator, columns: int) -> Law:
    """Independent, correlated, uniform or mixed columns."""
    style = rng.random()
    if style < 0.25:
        return autoregressive(0.0, columns)
    if style < 0.5:
        return autoregressive(float(rng.uniform(0.3, 0.7)), columns)
    if style < 0.65:
        return lambda generator, rows: generator.uniform(size=(rows, columns))
    return mixed(autoregressive(float(rng.uniform(0.0, 0.5)), columns), rng, columns)
