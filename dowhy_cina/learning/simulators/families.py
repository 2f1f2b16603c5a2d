"""Generic families: random functions over random covariates.

Letters: N rows, D covariates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dowhy_cina.learning.simulators.assembly import assemble, draw_switches, views
from dowhy_cina.learning.simulators.covariates import correlated_gaussians, mixed_covariates
from dowhy_cina.learning.simulators.mechanisms import random_function, standard_view, unit
from dowhy_cina.learning.simulators.table import FloatArray, SimulatedTable


def _generic(
    rng: np.random.Generator, family: str, covariates: FloatArray, kinds: Sequence[str] | None
) -> SimulatedTable:
    """Draw selection and response from the same mechanisms."""
    for_treatment, for_outcome = views(rng, covariates)
    index = random_function(rng, for_treatment, kinds)
    prognosis = random_function(rng, for_outcome, kinds)
    return assemble(rng, family, covariates, index, prognosis, draw_switches(rng), for_outcome)


def mixed(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Any mechanism over covariates of any type."""
    return _generic(rng, "mixed", mixed_covariates(rng, rows, columns), None)


def trees(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Random tree ensembles for selection and response."""
    return _generic(rng, "trees", mixed_covariates(rng, rows, columns), ("trees",))


def additive(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Additive one-dimensional functions for selection and response."""
    return _generic(rng, "additive", mixed_covariates(rng, rows, columns), ("additive",))


def networks(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Random multilayer perceptrons for selection and response, often of every column."""
    plain = rng.random() < 0.5
    covariates = correlated_gaussians(rng, rows, columns) if plain else mixed_covariates(rng, rows, columns)
    if rng.random() < 0.5:
        return _generic(rng, "networks", covariates, ("network",))
    view = standard_view(rng, covariates)
    index, prognosis = (random_function(rng, view, ("network",)) for _ in range(2))
    return assemble(rng, "networks", covariates, index, prognosis, draw_switches(rng), view)


def linear(rng: np.random.Generator, rows: int, columns: int) -> SimulatedTable:
    """Linear selection and response with hardly any noise, and arms that drift far apart.

    The textbook's simulation: a linear regression is exact there, and whatever smooths has to extrapolate.
    """
    plain = rng.random() < 0.6
    covariates = correlated_gaussians(rng, rows, columns) if plain else mixed_covariates(rng, rows, columns)
    view = standard_view(rng, covariates)
    shared = rng.uniform(0, 1, columns)
    index, prognosis = (unit(view @ (shared + rng.uniform(0, 1) * rng.normal(size=columns))) for _ in range(2))
    switches = draw_switches(rng)
    switches = replace(
        switches,
        overlap=float(rng.uniform(0.3, 6.0)),
        heterogeneity=str(rng.choice(["constant", "weak", "separate"], p=[0.6, 0.2, 0.2])),
        noise_share=float(np.exp(rng.uniform(np.log(1e-6), np.log(0.5)))),
        outcome="gaussian",
    )
    return assemble(rng, "linear", covariates, index, prognosis, switches, view)
