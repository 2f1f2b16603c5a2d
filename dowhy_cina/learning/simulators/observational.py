"""Designs after observational studies: real covariates, treated far from the controls, records full of categories.

Letters: N rows, D covariates.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dowhy_cina.learning.simulators.assembly import assemble, draw_switches, views
from dowhy_cina.learning.simulators.covariates import mixed_covariates, real_covariates
from dowhy_cina.learning.simulators.mechanisms import random_function, unit
from dowhy_cina.learning.simulators.table import FloatArray, SimulatedTable


def semi_synthetic(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Real covariates with simulated treatment and outcome."""
    covariates = real_covariates(rng, rows, columns)
    for_treatment, for_outcome = views(rng, covariates)
    index = random_function(rng, for_treatment)
    prognosis = random_function(rng, for_outcome)
    return assemble(rng, "semi_synthetic", covariates, index, prognosis, draw_switches(rng), for_outcome)


def far_controls(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Few treated in a poor corner, most controls far away from them, and responses that level off in between.

    A lasting, unobserved standing shows in lagged earnings with a spike at zero and one at a cap, and in most other
    covariates. Who is treated depends on these, steeply; earnings after treatment follow the lags, and the selection
    index itself where the relation is not linear. Treated responses mostly level off away from the treated, so that the
    effect on all rows is far from the effect on the treated.
    """
    standing = rng.normal(size=rows)
    lags = min(columns, int(rng.integers(1, 5)))
    covariates = np.hstack([_earnings(rng, standing, lags), _traits(rng, standing, columns - lags)])
    view = unit(covariates)
    past = unit(view[:, :lags].mean(axis=1))
    index = unit(-rng.uniform(0.3, 1.5) * past + _linear(rng, view[:, lags:]) + 0.3 * random_function(rng, view))
    index = unit(index + float(rng.choice([0.0, rng.uniform(-0.2, 0.0), rng.uniform(0.1, 0.8)])) * index**2)
    bent = unit(np.tanh(rng.normal(0, 1.5) * (index - rng.normal())))
    carried = rng.uniform(0.5, 1.5) * past - rng.uniform(0, 1.2) * index + rng.uniform(0, 0.8) * bent
    own = rng.uniform(0.2, 0.8) * _linear(rng, view) + rng.uniform(0, 0.5) * random_function(rng, view)
    prognosis = unit(carried + own)
    switches = draw_switches(rng)
    switches = replace(
        switches,
        share=float(np.exp(rng.uniform(np.log(0.01), np.log(0.06)))),
        overlap=float(rng.uniform(2.5, 6.0)),
        targeting=0.0,
        effect_size=0.4 * switches.effect_size,
        heterogeneity="flat" if rng.random() < 0.7 else switches.heterogeneity,
        null=bool(rng.random() < 0.05),
        outcome=str(rng.choice(["censored", "zero_inflated", "heavy_tailed", "lognormal"], p=[0.5, 0.3, 0.1, 0.1])),
    )
    return assemble(rng, "far_controls", covariates, index, prognosis, switches, view)


def _earnings(rng: np.random.Generator, standing: FloatArray, lags: int) -> FloatArray:
    """Lagged earnings (N, lags) that a floor of zero and a cap cut off."""
    noise = unit(rng.normal(size=(standing.size, 1)) + rng.uniform(0.2, 1) * rng.normal(size=(standing.size, lags)))
    level = standing[:, None] + rng.uniform(0.3, 1.0) * noise
    floor, cap = rng.uniform(-1.8, 0.0), rng.choice([rng.uniform(0.6, 2.0), np.inf])
    earnings = np.clip(level, floor, cap) - floor
    return np.asarray((earnings if rng.random() < 0.6 else np.expm1(earnings)) * 1e4)


def _traits(rng: np.random.Generator, standing: FloatArray, columns: int) -> FloatArray:
    """Other covariates (N, columns), many of them discrete, more or less related to the standing."""
    if not columns:
        return np.empty((standing.size, 0))
    emphasis = {"binary": 3.0, "ordinal": 1.0, "count": 0.7, "gaussian": 1.0, "skewed": 0.3}
    traits = mixed_covariates(rng, standing.size, columns, emphasis, one_hot=float(rng.choice([0.0, 0.3])))
    related = np.flatnonzero(rng.random(columns) < 0.6)
    latent = rng.normal(0, 1, related.size) * standing[:, None] + rng.normal(size=(standing.size, related.size))
    # Sorting a column by the latent keeps its marginal distribution and makes it depend on the standing.
    rank = np.argsort(np.argsort(latent, axis=0), axis=0)
    traits[:, related] = np.take_along_axis(np.sort(traits[:, related], axis=0), rank, axis=0)
    return traits


def _linear(rng: np.random.Generator, view: FloatArray) -> FloatArray:
    """Standardised linear function of some columns, zero without any."""
    return unit(view @ (rng.normal(size=view.shape[1]) * (rng.random(view.shape[1]) < 0.5)))


def records(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Administrative records: binary columns and one-hot blocks by the hundred, a binary outcome, targeted selection.

    Risk depends on a handful of columns beside a weak sum over many; who is treated follows the risk and columns of its
    own; effects are small.
    """
    emphasis = {"binary": 5.0, "ordinal": 1.5, "count": 0.7, "gaussian": 0.3}
    covariates = mixed_covariates(rng, rows, columns, emphasis, one_hot=float(rng.uniform(0.3, 0.9)))
    for_treatment, for_outcome = views(rng, covariates)
    strong = random_function(rng, for_outcome[:, : int(rng.integers(1, 11))])
    weak = _linear(rng, unit(covariates))
    prognosis = unit(rng.uniform(0.2, 1) * strong + rng.uniform(0, 1) * weak)
    index = random_function(rng, for_treatment)
    switches = draw_switches(rng)
    switches = replace(
        switches,
        targeting=float(rng.choice([-1.0, 1.0]) * rng.uniform(0.2, 1.0)),
        overlap=float(rng.uniform(0.3, 2.5)),
        effect_size=float(rng.choice([1.0, 0.3])) * switches.effect_size,
        outcome=str(rng.choice(["binary", "count", "zero_inflated"], p=[0.8, 0.1, 0.1])),
    )
    return assemble(rng, "records", covariates, index, prognosis, switches, for_outcome)
