"""Simulated observational tables with known effects: the prior on which models are pretrained.

A simulator is a function ``(generator, rows, columns) -> SimulatedTable``; ``REGISTRY`` names them. Nothing is drawn
from, or fitted to, a table on which estimators are compared; real covariates ship with scikit-learn and
statsmodels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dowhy_cina.errors import InputError, InputTypeError, came, did_you_mean
from dowhy_cina.learning.simulators.confounding import (
    gaussian_process,
    kinks,
    quadratic_forms,
    ranks,
    score_driven,
    skewed,
    wide,
)
from dowhy_cina.learning.simulators.designs import (
    far_controls,
    kang_schafer,
    rare_treated,
    records,
    semi_synthetic,
    simulation_a,
    surface,
    targeted,
)
from dowhy_cina.learning.simulators.families import additive, linear, mixed, networks, structural, trees
from dowhy_cina.learning.simulators.table import SimulatedTable, Simulator, as_generator, check_shape

__all__ = ["DEFAULT_WEIGHTS", "REGISTRY", "SimulatedTable", "Simulator", "draw_table"]

REGISTRY: dict[str, Simulator] = {
    "mixed": mixed,
    "simulation_a": simulation_a,
    "scm": structural,
    "networks": networks,
    "trees": trees,
    "additive": additive,
    "linear": linear,
    "targeted": targeted,
    "rare_treated": rare_treated,
    "surface": surface,
    "kang_schafer": kang_schafer,
    "semi_synthetic": semi_synthetic,
    "far_controls": far_controls,
    "records": records,
    "gaussian_process": gaussian_process,
    "kinks": kinks,
    "ranks": ranks,
    "wide": wide,
    "score_driven": score_driven,
    "skewed": skewed,
    "quadratic_forms": quadratic_forms,
}

DEFAULT_WEIGHTS: dict[str, float] = {
    "mixed": 0.07,
    "simulation_a": 0.03,
    "scm": 0.06,
    "networks": 0.05,
    "trees": 0.05,
    "additive": 0.04,
    "linear": 0.03,
    "targeted": 0.06,
    "rare_treated": 0.05,
    "surface": 0.04,
    "kang_schafer": 0.03,
    "semi_synthetic": 0.06,
    "far_controls": 0.04,
    "records": 0.04,
    "gaussian_process": 0.09,
    "kinks": 0.05,
    "ranks": 0.04,
    "wide": 0.06,
    "score_driven": 0.05,
    "skewed": 0.03,
    "quadratic_forms": 0.03,
}


def simulator_names(names: Any, other: str = "") -> tuple[str, ...]:
    """Return names of simulators as a tuple; text is one name.

    Parameters
    ----------
    names : str or iterable of str
    other : str
        What else may be given, as it reads in the message.

    Raises
    ------
    InputError
        If there is none, or one that is not registered.
    InputTypeError
        If there are no names to go through.
    """
    expected = f"expected simulators ({', '.join(REGISTRY)}){other}"
    if isinstance(names, str):
        names = (names,)
    try:
        given = tuple(names)
    except TypeError as error:
        raise InputTypeError(f"{expected}, got {came(names)}; name them in a list.") from error
    unknown = [name for name in given if not (isinstance(name, str) and name in REGISTRY)]
    if unknown or not given:
        shown = [came(name) + (did_you_mean(name, REGISTRY) if isinstance(name, str) else "") for name in unknown[:5]]
        raise InputError(f"{expected}, got {', '.join(shown) or 'none'}.")
    return given


def draw_table(
    rng: np.random.Generator | int | None, rows: int, columns: int, *, families: str | Sequence[str] | None = None
) -> SimulatedTable:
    """Draw a table from one of the families.

    Parameters
    ----------
    rng : numpy.random.Generator, int or None
        Source of all randomness: equal generators give equal tables, and equal seeds do; None is another table each
        time. Anything else that :func:`numpy.random.default_rng` takes stands for a generator, too.
    rows, columns : int
        Shape of the covariates; at least 20 rows and 1 column.
    families : str or sequence of str, optional
        Names in ``REGISTRY`` to choose from; all by default. Their chances are proportional to ``DEFAULT_WEIGHTS``,
        or equal where a family registered later has no weight there.

    Returns
    -------
    SimulatedTable
        All values finite, at least 10 rows in each arm (fewer under 40 rows).

    Raises
    ------
    InputError, InputTypeError
        For a shape that is too small or no whole numbers, a family that is not registered, or what is neither a
        generator nor a seed.
    """
    rng, (rows, columns) = as_generator(rng), check_shape(rows, columns)
    names = list(DEFAULT_WEIGHTS) if families is None else simulator_names(families)
    weights = np.array([DEFAULT_WEIGHTS.get(name, float(np.mean(list(DEFAULT_WEIGHTS.values())))) for name in names])
    return REGISTRY[names[int(rng.choice(len(names), p=weights / weights.sum()))]](rng, rows, columns)
