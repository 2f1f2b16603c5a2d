"""Outcomes of random functions for rows whose covariates and treatments are given: effects that are known, unlabelled.

The functions come from the mechanisms of all families; in most tables they follow the left-out propensity score, too, as
where treatment follows what is expected.

Letters: N rows, D covariates.
"""

from __future__ import annotations

import numpy as np

from dowhy_cina.learning.simulators.assembly import observe, treated_response
from dowhy_cina.learning.simulators.confounding import active_columns, hard_switches
from dowhy_cina.learning.simulators.mechanisms import random_function, standard_view, unit
from dowhy_cina.learning.simulators.table import FloatArray, SimulatedTable


def random_outcome(
    rng: np.random.Generator,
    covariates: FloatArray,
    treatment: FloatArray,
    propensity: FloatArray,
    score: FloatArray,
) -> SimulatedTable:
    """Put a random outcome on rows with their own treatment.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all randomness.
    covariates : (N, D) array
        In any unit.
    treatment : (N,) array
        0 for control, 1 for treated.
    propensity : (N,) array
        Estimated without the row itself, inside (0, 1): the table's propensity.
    score : (N,) array
        The same about its mean, in its standard deviations, or in more than these where it says little.

    Returns
    -------
    SimulatedTable
        Mean outcomes under either treatment are known exactly. A quarter has no effect; otherwise it is constant or
        varies with the covariates or the score.
    """
    switches = hard_switches(rng)
    view = active_columns(rng, standard_view(rng, covariates))
    # The share of a score that says little is small: its noise depends on the treatment.
    followed = float(rng.choice([0.0, rng.uniform(0.1, 0.7), rng.uniform(0.7, 1.0)], p=[0.35, 0.45, 0.2]))
    followed *= min(1.0, float(score.var()))
    index = unit(score)
    prognosis = unit(
        followed * random_function(rng, index[:, None]) + np.sqrt(1 - followed**2) * random_function(rng, view)
    )
    treated = prognosis if switches.null else treated_response(rng, prognosis, index, propensity, switches, view)
    spread = unit(random_function(rng, view, ["linear"]))
    responses = prognosis, treated
    return observe(rng, "random_outcome", covariates, (treatment, propensity), responses, switches, spread)
