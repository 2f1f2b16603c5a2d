"""Random functions of standardised covariates.

Letters: N rows, K active columns, M features, H hidden units. Every mechanism maps ``(generator, (N, K))`` to ``(N,)``;
``random_function`` brings the result to mean 0 and standard deviation 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dowhy_cina.learning.simulators.table import FloatArray

Mechanism = Callable[[np.random.Generator, FloatArray], FloatArray]

EXTREME = 8.0  # standard deviations beyond which a function is cut, so that exponentials downstream stay finite


def unit(values: FloatArray) -> FloatArray:
    """Centre and scale to standard deviation 1 along the rows; a constant becomes 0."""
    centred = values - values.mean(axis=0)
    scale = np.sqrt(np.mean(centred * centred, axis=0))
    usable = scale > 1e-9
    inverse = np.where(usable, 1 / np.where(usable, scale, 1.0), 0.0)
    return np.asarray(np.clip(centred * inverse, -EXTREME, EXTREME))


def standard_view(rng: np.random.Generator, covariates: FloatArray) -> FloatArray:
    """Standardise columns for the mechanisms; half the time skewed columns act on a compressed scale."""
    view = unit(covariates)
    return unit(np.arcsinh(3 * view)) if rng.random() < 0.4 else view


def _coefficients(rng: np.random.Generator, size: int) -> FloatArray:
    """Draw coefficients whose magnitudes range from equal to dominated by a few."""
    values = rng.normal(size=size)
    style = rng.random()
    if style < 0.3:
        values = np.sign(values)
    elif style < 0.6:
        values = values * np.arange(1, size + 1) ** -rng.uniform(0.5, 2.0)
    return values


def _subset(rng: np.random.Generator, view: FloatArray, most: int) -> FloatArray:
    """Keep a random subset of at most ``most`` columns."""
    count = int(rng.integers(1, min(view.shape[1], most) + 1))
    return view[:, rng.choice(view.shape[1], count, replace=False)]


def linear(rng: np.random.Generator, view: FloatArray) -> FloatArray:
    """Linear function of all columns."""
    return view @ _coefficients(rng, view.shape[1])


def polynomial(rng: np.random.Generator, view: FloatArray) -> FloatArray:
    """Linear terms plus random squares, cubes and pairwise products."""
    terms = int(rng.integers(1, 2 + min(view.shape[1], 12)))
    left, right, third = rng.integers(view.shape[1], size=(3, terms))
    products = unit(view[:, left] * view[:, right] * np.where(rng.random(terms) < 0.2, view[:, third], 1.0))
    return rng.uniform(0, 1) * unit(linear(rng, view)) + unit(products @ _coefficients(rng, terms))


def additive(rng: np.random.Generator, view: FloatArray) -> FloatArray:
    """Sum of one-dimensional functions: sines, hinges, steps, bumps, saturations and squares."""
    columns = view.shape[1]
    shape = rng.integers(6, size=columns)
    knot = rng.normal(0, 0.8, columns)
    rate = np.exp(rng.uniform(-0.7, 1.1, columns))
    bent = view - knot
    for kind, curve in enumerate(CURVES):
        chosen = np.flatnonzero(shape == kind)
        if chosen.size:
            bent[:, chosen] = curve(bent[:, chosen], rate[chosen])
    return unit(bent) @ _coefficients(rng, columns)


CURVES: tuple[Callable[[FloatArray, FloatArray], FloatArray], ...] = (
    lambda z, rate: np.sin(rate * z),
    lambda z, rate: np.maximum(z, 0.0),
    lambda z, rate: (z > 0).astype(np.float64),
    lambda z, rate: np.exp(-((rate * z) ** 2)),
    lambda z, rate: np.tanh(rate * z),
    lambda z, rate: z * z,
)


def trees(rng: np.random.Generator, view: FloatArray) -> FloatArray:
    """Sum of random symmetric trees: each leaf is a cell of 1 to 5 splits placed at observed values."""
    rows, columns = view.shape
    count, depth = int(rng.integers(1, 16)), int(rng.integers(1, 6))
    split = rng.integers(columns, size=(count, depth))
    threshold = view[rng.integers(rows, size=(count, depth)), split]
    leaf_values = rng.normal(size=(count, 2**depth))
    total = np.zeros(rows)
    for tree in range(count):
        leaf = (view[:, split[tree]] > threshold[tree]) @ (2 ** np.arange(depth))
        total += leaf_values[tree][leaf]
    return total


def network(rng: np.random.Generator, view: FloatArray) -> FloatArray:
    """Random multilayer perceptron with one to three hidden layers."""
    activation = ACTIVATIONS[int(rng.integers(len(ACTIVATIONS)))]
    hidden = view
    for _ in range(int(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15]))):
        width = int(rng.integers(3, 25))
        weights = rng.normal(size=(hidden.shape[1], width)) * np.exp(rng.uniform(-0.3, 0.9))
        hidden = activation(hidden @ weights / np.sqrt(hidden.shape[1]) + rng.normal(0, 0.7, width))
    return hidden @ _coefficients(rng, hidden.shape[1])


ACTIVATIONS: tuple[Callable[[FloatArray], FloatArray], ...] = (
    np.tanh,
    lambda z: np.maximum(z, 0.0),
    np.sin,
    lambda z: z / (1 + np.exp(-np.clip(z, -30, 30))),
)


def smooth(rng: np.random.Generator, view: FloatArray) -> FloatArray:
    """Draw from a Gaussian process by random Fourier features, from very smooth to wiggly, one scale per column."""
    features = 40
    columns = view.shape[1]
    scale = np.exp(rng.normal(0, 0.7, columns)) * np.exp(rng.uniform(-1.0, 0.9)) / np.sqrt(columns)
    frequency = rng.normal(size=(columns, features)) * scale[:, None]
    waves: FloatArray = np.cos(view @ frequency + rng.uniform(0, 2 * np.pi, features))
    return waves @ rng.normal(size=features)


def interactions(rng: np.random.Generator, view: FloatArray) -> FloatArray:
    """Linear part plus threshold interactions: a column counts only where others pass a threshold."""
    rows, columns = view.shape
    terms = int(rng.integers(1, 6))
    gate = np.ones((rows, terms))
    for _ in range(int(rng.integers(1, 4))):
        chosen = rng.integers(columns, size=terms)
        gate *= view[:, chosen] > view[rng.integers(rows, size=terms), chosen]
    lever = np.where(rng.random(terms) < 0.5, 1.0, view[:, rng.integers(columns, size=terms)])
    return rng.uniform(0, 1.5) * unit(linear(rng, view)) + unit((gate * lever) @ _coefficients(rng, terms))


def single_index(rng: np.random.Generator, view: FloatArray) -> FloatArray:
    """One-dimensional curve of a linear index."""
    index = unit(linear(rng, view))
    links: tuple[Callable[[FloatArray], FloatArray], ...] = (
        lambda z: np.exp(np.clip(rng.uniform(0.3, 1.2) * z, -5, 5)),
        lambda z: z + rng.uniform(0.3, 1.5) * z * z,
        lambda z: np.sin(rng.uniform(1, 3) * z),
        lambda z: np.tanh(rng.uniform(1, 5) * (z - rng.normal())),
        lambda z: np.maximum(z - rng.normal(0, 0.7), 0.0),
    )
    return links[int(rng.integers(len(links)))](index)


def gaussian_process(rng: np.random.Generator, view: FloatArray) -> FloatArray:
    """Draw from a Gaussian process in all columns by random Fourier features.

    The lengthscale is between half and three times the root of the number of columns, about the distance of two rows,
    and mostly near it, with one factor per column in a third of the draws; in a fifth of them a second process has a
    lengthscale of its own.
    """
    total = np.zeros(view.shape[0])
    narrow = view.astype(np.float32)  # the cosines take a tenth of the time, and their error is far below the noise
    for _ in range(1 + int(rng.random() < 0.2)):
        columns = view.shape[1]
        length = np.sqrt(columns) * np.clip(np.exp(rng.normal(0.1, 0.5)), 0.5, 3.0)
        relevance = np.exp(rng.normal(0, 0.7, columns)) if rng.random() < 1 / 3 else np.ones(columns)
        relevance /= np.sqrt(np.mean(relevance**2))
        frequency = rng.normal(size=(columns, FEATURES)) * (relevance / length)[:, None]
        phase = rng.uniform(0, 2 * np.pi, FEATURES).astype(np.float32)
        waves = np.cos(narrow @ frequency.astype(np.float32) + phase)
        total += rng.uniform(0.3, 1.0) * unit((waves @ rng.normal(size=FEATURES).astype(np.float32)).astype(np.float64))
    return total


FEATURES = 128  # random Fourier features of a Gaussian process


def kinks(rng: np.random.Generator, view: FloatArray) -> FloatArray:
    """Sum of ramps, hinges, thresholds, triangle waves and sines, of single columns or slanted; at times products."""
    rows, columns = view.shape
    terms = int(rng.integers(2, 13))
    slant = np.zeros((columns, terms))
    for _ in range(int(rng.choice([1, 1, 2, 4]))):
        slant[rng.integers(columns, size=terms), np.arange(terms)] += rng.normal(size=terms)
    line = unit(view @ slant) - rng.normal(0, 0.8, terms)
    width = rng.uniform(0.1, 1.5, terms)
    shape = rng.integers(len(BENDS), size=terms)
    bent = np.empty((rows, terms))
    for kind, bend in enumerate(BENDS):
        chosen = np.flatnonzero(shape == kind)
        bent[:, chosen] = bend(line[:, chosen], width[chosen])
    total = unit(unit(bent) @ _coefficients(rng, terms))
    if rng.random() < 0.4:
        left, right = rng.integers(columns, size=(2, int(rng.integers(1, 6))))
        products = unit(view[:, left] * view[:, right])
        total = total + rng.uniform(0.3, 1.5) * unit(products @ _coefficients(rng, left.size))
    return total


BENDS: tuple[Callable[[FloatArray, FloatArray], FloatArray], ...] = (
    lambda z, width: np.clip(z, 0.0, width),
    lambda z, width: np.maximum(z, 0.0) + 0.3 * np.minimum(z, 0.0) * (width - 1),
    lambda z, _: (z > 0).astype(np.float64),
    lambda z, width: np.abs((z / (width + 0.5)) % 2 - 1),
    lambda z, width: np.sin(z * np.pi / (width + 0.5)),
)


def ranks(rng: np.random.Generator, view: FloatArray) -> FloatArray:
    """Interactions of the columns' ranks: products, the smaller, the difference, which is larger, gates."""
    active = _subset(rng, view, 8)
    ordered = np.sort(active, axis=0)
    # Equal values have equal ranks, from -1 to 1: a column of two values is a column of two values still.
    sides = [
        np.column_stack([np.searchsorted(o, a, side) for o, a in zip(ordered.T, active.T, strict=True)])
        for side in ("left", "right")
    ]
    rank = (sides[0] + sides[1]) / len(view) - 1
    terms = int(rng.integers(1, 9))
    left, right = (rank[:, rng.integers(rank.shape[1], size=terms)] for _ in range(2))
    shape, place = rng.integers(len(MEETINGS), size=terms), rng.uniform(-0.7, 0.7, terms)
    met = np.empty_like(left)
    for kind, meeting in enumerate(MEETINGS):
        chosen = np.flatnonzero(shape == kind)
        met[:, chosen] = meeting(left[:, chosen], right[:, chosen], place[chosen])
    main = unit(linear(rng, rank))
    return rng.uniform(0, 1) * main + unit(unit(met) @ _coefficients(rng, terms))


MEETINGS: tuple[Callable[[FloatArray, FloatArray, FloatArray], FloatArray], ...] = (
    lambda a, b, _: a * b,
    lambda a, b, _: np.minimum(a, b),
    lambda a, b, _: np.abs(a - b),
    lambda a, b, place: (a > b + place).astype(np.float64),
    lambda a, b, place: np.where(a > place, b, 0.0),
)


def quadratic(rng: np.random.Generator, view: FloatArray) -> FloatArray:
    """Quadratic form in all columns: squares along several directions, of either sign, beside a linear part."""
    columns = view.shape[1]
    directions = int(rng.integers(1, 1 + min(2 * columns, 30)))
    along = unit(view @ rng.normal(size=(columns, directions)))
    return rng.uniform(0, 0.7) * unit(linear(rng, view)) + unit(along**2 @ rng.normal(size=directions))


MECHANISMS: dict[str, Mechanism] = {
    "linear": linear,
    "polynomial": polynomial,
    "additive": additive,
    "trees": trees,
    "network": network,
    "smooth": smooth,
    "interactions": interactions,
    "single_index": single_index,
    "gaussian_process": gaussian_process,
    "kinks": kinks,
    "ranks": ranks,
}


def random_function(rng: np.random.Generator, view: FloatArray, kinds: Sequence[str] | None = None) -> FloatArray:
    """Draw a function of the columns and evaluate it on the rows.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all randomness.
    view : (N, K) array
        Standardised active columns.
    kinds : sequence of str, optional
        Mechanisms to draw from; all of them by default.

    Returns
    -------
    (N,) array
        Mean 0 and standard deviation 1 (exactly 0 where every active column is constant).
    """
    names = tuple(kinds) if kinds else tuple(MECHANISMS)
    values = unit(MECHANISMS[names[int(rng.integers(len(names)))]](rng, view))
    if len(names) > 1 and rng.random() < 0.25:
        other = MECHANISMS[names[int(rng.integers(len(names)))]](rng, _subset(rng, view, 8))
        values = unit(values + rng.uniform(0.2, 1) * unit(other))
    if not values.any():
        values = unit(view.sum(axis=1))
    return values
