"""Treatment assignment with a wanted treated share and strength of selection.

Letters: N rows.
"""

from __future__ import annotations

import numpy as np

from dowhy_cina.learning.simulators.mechanisms import unit
from dowhy_cina.learning.simulators.table import FloatArray


def expit(logit: FloatArray) -> FloatArray:
    """Logistic function, safe at any logit."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logit, -35, 35))))


def smallest_arm(rows: int) -> int:
    """Rows that each arm holds at least: 10, fewer in tables under 40 rows."""
    return 10 if rows >= 40 else max(2, rows // 5)


def bent_index(rng: np.random.Generator, index: FloatArray) -> FloatArray:
    """Bend the index of a part of the tables: saturating or in steps instead of proportional."""
    style = rng.random()
    if style < 0.1:
        return unit(np.tanh(2 * index))
    if style < 0.2:
        return unit(np.floor(rng.uniform(0.5, 1.5) * index))
    return index


def propensities(index: FloatArray, share: float, overlap: float) -> FloatArray:
    """Probability of treatment whose logit is ``overlap * index`` plus the constant that gives the treated share.

    Parameters
    ----------
    index : (N,) array
        Standardised index.
    share : float
        Mean probability wanted.
    overlap : float
        Standard deviation of the logit; 0 is a randomised experiment.

    Returns
    -------
    (N,) array
        Probabilities kept off 0 and 1 by 0.003, or by a twentieth of the rarer share where that is less.
    """
    floor = min(0.003, share / 20, (1 - share) / 20)
    logit = overlap * index
    sample = logit[:: max(1, logit.size // 1024)]  # rows are exchangeable: a slice is enough to place the constant
    low, high = -40.0, 40.0
    for _ in range(30):
        middle = (low + high) / 2
        if np.clip(expit(sample + middle), floor, 1 - floor).mean() < share:
            low = middle
        else:
            high = middle
    return np.clip(expit(logit + (low + high) / 2), floor, 1 - floor)


def assign(rng: np.random.Generator, propensity: FloatArray) -> FloatArray:
    """Draw treatments from their probabilities.

    A draw that leaves an arm nearly empty is repeated; where that does not help the likeliest rows are moved.

    Returns
    -------
    (N,) array
        0 or 1; each arm has at least ``smallest_arm`` rows.
    """
    rows, least = propensity.size, smallest_arm(propensity.size)
    for _ in range(20):
        treatment = (rng.random(rows) < propensity).astype(np.float64)
        if least <= treatment.sum() <= rows - least:
            return treatment
    order = np.argsort(propensity + 1e-9 * rng.random(rows))
    treatment[order[-least:]] = 1.0
    treatment[order[:least]] = 0.0
    return treatment
