"""Published simulation designs as populations of the foreign simulator.

Columns beyond those that a design names have no influence. Letters: N rows, D covariates.

References
----------
Friedman (1991), Multivariate adaptive regression splines, Annals of Statistics 19: three regression functions.
Belloni, Chernozhukov & Hansen (2014), Inference on treatment effects after selection among high-dimensional controls,
Review of Economic Studies 81: approximately sparse treatment and outcome.
Wager & Athey (2018), Estimation and inference of heterogeneous treatment effects using random forests, JASA 113.
Kunzel et al. (2019), Metalearners for estimating heterogeneous treatment effects, PNAS 116: simulations 1 to 6, the
first with a tenth of the rows treated instead of a hundredth.
Hahn, Murray & Carvalho (2020), Bayesian regression tree models for causal inference, Bayesian Analysis 15.
Nie & Wager (2021), Quasi-oracle estimation of heterogeneous treatment effects, Biometrika 108: setups A to D.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from foreign import NULL_SHARE, OVERLAP, REFERENCE_ROWS, Population, expit
from foreign_functions import Array, Function, Law, autoregressive, scaled
from scipy import stats


@dataclass(frozen=True)
class Design:
    """Law of the covariates (N, D) and functions of them (N,), the noise with a spread that does not vary."""

    law: Law
    propensity: Function
    base: Function
    effect: Function
    noise: float


Maker = Callable[[np.random.Generator, int], Design]


def _uniform(columns: int) -> Law:
    return lambda rng, rows: rng.uniform(size=(rows, columns))


def _constant(value: float) -> Function:
    return lambda x: np.full(len(x), value)


def _softplus(values: Array) -> Array:
    return np.logaddexp(0, values)


def _step(values: Array, slope: float, place: float) -> Array:
    return np.asarray(1 / (1 + np.exp(-slope * (values - place))))


def _around(main: Function, propensity: Function, effect: Function, law: Law, noise: float) -> Design:
    """Nie and Wager's form: y = b(x) + (t - 1/2) tau(x) + noise."""
    return Design(law, propensity, lambda x: main(x) - effect(x) / 2, effect, noise)


def nie_wager_a(rng: np.random.Generator, columns: int) -> Design:
    """Difficult main effect, easy propensity."""

    def main(x: Array) -> Array:
        return np.sin(np.pi * x[:, 0] * x[:, 1]) + 2 * (x[:, 2] - 0.5) ** 2 + x[:, 3] + 0.5 * x[:, 4]

    def propensity(x: Array) -> Array:
        return np.sin(np.pi * x[:, 0] * x[:, 1]).clip(0.1, 0.9)

    noise = float(rng.choice([0.5, 1.0, 2.0]))
    return _around(main, propensity, lambda x: (x[:, 0] + x[:, 1]) / 2, _uniform(columns), noise)


def nie_wager_b(rng: np.random.Generator, columns: int) -> Design:
    """Randomised trial."""

    def main(x: Array) -> Array:
        return np.maximum(np.maximum(x[:, 0] + x[:, 1], x[:, 2]), 0) + np.maximum(x[:, 3] + x[:, 4], 0)

    def effect(x: Array) -> Array:
        return x[:, 0] + _softplus(x[:, 1])

    return _around(main, _constant(0.5), effect, autoregressive(0, columns), float(rng.choice([0.5, 1.0, 2.0])))


def nie_wager_c(rng: np.random.Generator, columns: int) -> Design:
    """Easy propensity, difficult main effect, constant effect."""
    law, noise = autoregressive(0, columns), float(rng.choice([0.5, 1.0, 2.0]))
    return _around(
        lambda x: 2 * _softplus(x[:, 0] + x[:, 1] + x[:, 2]),
        lambda x: expit(-x[:, 1] - x[:, 2]),
        _constant(1.0),
        law,
        noise,
    )


def nie_wager_d(rng: np.random.Generator, columns: int) -> Design:
    """Unrelated arms."""

    def arms(x: Array) -> tuple[Array, Array]:
        return np.maximum(x[:, :3].sum(axis=1), 0), np.maximum(x[:, 3] + x[:, 4], 0)

    return _around(
        lambda x: sum(arms(x)) / 2,
        lambda x: 1 / (1 + np.exp(-x[:, 0]) + np.exp(-x[:, 1])).clip(1 / 0.97, 1 / 0.03),
        lambda x: arms(x)[0] - arms(x)[1],
        autoregressive(0, columns),
        float(rng.choice([0.5, 1.0, 2.0])),
    )


def kunzel_1(rng: np.random.Generator, columns: int) -> Design:
    """Few treated, a simple effect."""
    slopes = rng.uniform(-5, 5, columns)
    return Design(
        autoregressive(float(rng.uniform(0, 0.5)), columns),
        _constant(0.1),
        lambda x: x @ slopes + 5 * (x[:, 0] > 0.5),
        lambda x: 8.0 * (x[:, 1] > 0.1),
        1.0,
    )


def kunzel_2(rng: np.random.Generator, columns: int) -> Design:
    """Two unrelated linear arms."""
    slopes = rng.uniform(1, 30, (2, columns))
    law = autoregressive(float(rng.uniform(0, 0.5)), columns)
    return Design(law, _constant(0.5), lambda x: x @ slopes[0], lambda x: x @ (slopes[1] - slopes[0]), 1.0)


def kunzel_3(rng: np.random.Generator, columns: int) -> Design:
    """Two unrelated nonlinear arms."""

    def arm(x: Array) -> Array:
        return 2 * _step(x[:, 0], 12, 0.5) * _step(x[:, 1], 12, 0.5)

    return Design(
        autoregressive(float(rng.uniform(0, 0.5)), columns),
        _constant(0.5),
        lambda x: -arm(x),
        lambda x: 2 * arm(x),
        1.0,
    )


def kunzel_4(rng: np.random.Generator, columns: int) -> Design:
    """No effect, one linear outcome."""
    slopes = np.where(np.arange(columns) < 5, rng.uniform(1, 30, columns), 0.0)
    law = autoregressive(float(rng.uniform(0, 0.5)), columns)
    return Design(law, _constant(0.5), lambda x: x @ slopes, _constant(0.0), 1.0)


def kunzel_5(rng: np.random.Generator, columns: int) -> Design:
    """No effect, an outcome that is linear in three pieces of the last column."""
    slopes = rng.uniform(-15, 15, columns)
    block = np.arange(columns) * 4 // columns

    def base(x: Array) -> Array:
        piece = np.digitize(x[:, -1], [-0.4, 0.4])
        return np.sum(x * slopes * (block[None, :] >= piece[:, None]), axis=1)

    return Design(autoregressive(float(rng.uniform(0, 0.5)), columns), _constant(0.5), base, _constant(0.0), 1.0)


def beta_confounded(rng: np.random.Generator, columns: int) -> Design:
    """No effect, a bump of the propensity in the column behind the outcome: Kunzel's 6, Wager and Athey's first."""
    bump = stats.beta(2, 4)
    noise = float(rng.choice([0.3, 1.0]))
    return Design(
        _uniform(columns), lambda x: (1 + bump.pdf(x[:, 0])) / 4, lambda x: 2 * x[:, 0] - 1, _constant(0.0), noise
    )


def wager_athey_2(rng: np.random.Generator, columns: int) -> Design:
    """Randomised, with an effect that rises steeply in two columns."""

    def effect(x: Array) -> Array:
        return (1 + _step(x[:, 0], 20, 1 / 3)) * (1 + _step(x[:, 1], 20, 1 / 3))

    return Design(_uniform(columns), _constant(0.5), _constant(0.0), effect, 1.0)


def hahn(rng: np.random.Generator, columns: int) -> Design:
    """Targeted selection: the propensity is steep in the outcome's mean; linear or not, constant effect or not."""
    level = np.array([2.0, -1.0, -4.0])
    nonlinear, varies = rng.random(2) < 0.5

    def law(generator: np.random.Generator, rows: int) -> Array:
        x = generator.normal(size=(rows, columns))
        x[:, 3], x[:, 4] = x[:, 3] > 0, generator.integers(3, size=rows)
        return x

    def base(x: Array) -> Array:
        group = level[x[:, 4].astype(int)]
        return -6 + group + 6 * np.abs(x[:, 2] - 1) if nonlinear else 1 + group + x[:, 0] * x[:, 2]

    spread = float(base(law(rng, REFERENCE_ROWS)).std())

    def propensity(x: Array) -> Array:
        return 0.8 * stats.norm.cdf(3 * base(x) / spread - 0.5 * x[:, 0]) + 0.1

    return Design(law, propensity, base, (lambda x: 1 + 2 * x[:, 1] * x[:, 3]) if varies else _constant(3.0), 1.0)


def friedman(rng: np.random.Generator, columns: int) -> Design:
    """One of Friedman's functions as outcome; treatment follows it, or two of its columns."""
    which = int(rng.integers(1, 4)) if columns >= 5 else int(rng.integers(2, 4))

    def curve(x: Array) -> Array:
        if which == 1:
            return 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
        a, b, c, d = 100 * x[:, 0], np.pi * (40 + 520 * x[:, 1]), x[:, 2], 1 + 10 * x[:, 3]
        reactance = b * c - 1 / (b * d)
        return np.hypot(a, reactance) if which == 2 else np.arctan(reactance / np.maximum(a, 1e-9))

    law = _uniform(columns)
    reference = law(rng, REFERENCE_ROWS)
    base = scaled(curve, reference)
    index = base if rng.random() < 0.5 else scaled(lambda x: x[:, 1] - x[:, 2], reference)
    steepness, level = OVERLAP[str(rng.choice(list(OVERLAP)))], float(rng.choice([-0.5, 0.5]))
    effect = _constant(level) if rng.random() < 0.5 else lambda x: level + x[:, 0] - x[:, 3]
    noise = float(rng.choice([0.2, 0.5, 1.0]))
    return Design(law, lambda x: expit(steepness * index(x)), base, effect, noise)


def belloni(rng: np.random.Generator, columns: int) -> Design:
    """Coefficients of the treatment and of the outcome that fall as 1 / j^2."""
    slopes = 1 / (1.0 + np.arange(columns)) ** 2
    strength, level = float(rng.choice([0.5, 1.0, 1.5])), float(rng.choice([0.25, 0.5, 1.0]))
    return Design(
        autoregressive(0.5, columns),
        lambda x: expit(strength * (x @ slopes)),
        lambda x: x @ slopes,
        _constant(level),
        1.0,
    )


#: Every design with the columns that it needs.
DESIGNS: dict[str, tuple[int, Maker]] = {
    "Nie and Wager A": (5, nie_wager_a),
    "Nie and Wager B": (5, nie_wager_b),
    "Nie and Wager C": (3, nie_wager_c),
    "Nie and Wager D": (5, nie_wager_d),
    "Kunzel 1": (2, kunzel_1),
    "Kunzel 2": (2, kunzel_2),
    "Kunzel 3": (2, kunzel_3),
    "Kunzel 4": (2, kunzel_4),
    "Kunzel 5": (4, kunzel_5),
    "beta confounded": (2, beta_confounded),
    "Wager and Athey 2": (2, wager_athey_2),
    "Hahn": (5, hahn),
    "Friedman": (4, friedman),
    "Belloni": (2, belloni),
}


def published_population(rng: np.random.Generator, columns: int) -> tuple[Population, dict[str, str]]:
    """Population of a published design, its effect set to zero in a third, and the names of its classes."""
    name = str(rng.choice([name for name, (needed, _) in DESIGNS.items() if needed <= columns]))
    design = DESIGNS[name][1](rng, columns)
    if rng.random() < NULL_SHARE:
        design = replace(design, effect=_constant(0.0))
    x = design.law(rng, REFERENCE_ROWS)
    e, effect = design.propensity(x), design.effect(x)
    spread = effect.std() / max(design.base(x).std(), design.noise)
    classes = {
        "overlap": ("strong", "medium", "weak")[int(np.searchsorted([0.7, 1.5], np.log(e / (1 - e)).std()))],
        "heterogeneity": ("none", "some", "strong")[int(np.searchsorted([1e-9, 0.5], spread))],
        "noise columns": str(columns > DESIGNS[name][0]),
        "null": str(not effect.any()),
    }
    population = Population(
        name, "published design", design.law, design.propensity, design.base, design.effect, _constant(design.noise)
    )
    return population, classes
