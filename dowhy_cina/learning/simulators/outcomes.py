"""Outcomes of random functions for rows whose covariates and treatments are given: effects that are known, unlabelled.

The functions come from the mechanisms of all families. In most tables they follow the propensity of treatment, too, as
where treatment follows what is expected: estimated from other rows, by trees or by random functions, so that it says
nothing of a row's own treatment and is none of the functions that the estimator itself would fit.

Letters: N rows, M rows that are left out, D covariates, K random functions.
"""

from __future__ import annotations

import numpy as np

from dowhy_cina.learning.simulators.assembly import observe, treated_response
from dowhy_cina.learning.simulators.confounding import active_columns, hard_switches
from dowhy_cina.learning.simulators.mechanisms import random_function, standard_view, unit
from dowhy_cina.learning.simulators.table import FloatArray, SimulatedTable

#: Propensities are kept off 0 and 1 by this share of the rarer arm: they are estimated.
FLOOR = 0.2
#: Most rows that the propensity is estimated from.
MOST_ROWS = 3000
#: Rows of an arm without which there is no estimate.
SMALLEST_ARM = 5
#: Random functions of one estimate, and the mechanisms that are cheap enough for so many.
FUNCTIONS = 40
CHEAP = ("linear", "additive", "kinks", "trees", "interactions", "polynomial", "network", "ranks")


def random_outcome(
    rng: np.random.Generator,
    covariates: FloatArray,
    treatment: FloatArray,
    left_out: tuple[FloatArray, FloatArray],
) -> SimulatedTable:
    """Put a random outcome on rows with their own treatment.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all randomness.
    covariates : (N, D) array
    treatment : (N,) array
        0 for control, 1 for treated.
    left_out : pair of (M, D) and (M,) arrays
        Covariates and treatments of other rows of the kind, which the propensity is estimated from.

    Returns
    -------
    SimulatedTable
        Mean outcomes under either treatment are known exactly. A quarter has no effect; otherwise it is constant or
        varies with the covariates or the propensity.
    """
    switches = hard_switches(rng)
    propensity = left_out_propensity(rng, left_out, covariates)
    index = unit(np.log(propensity / (1 - propensity)))
    view = active_columns(rng, standard_view(rng, covariates))
    followed = float(rng.choice([0.0, rng.uniform(0.1, 0.7), rng.uniform(0.7, 1.0)], p=[0.3, 0.4, 0.3]))
    straight = rng.choice([-1.0, 1.0]) * index if rng.random() < 0.5 else random_function(rng, index[:, None])
    prognosis = unit(followed * straight + np.sqrt(1 - followed**2) * random_function(rng, view))
    treated = prognosis if switches.null else treated_response(rng, prognosis, index, propensity, switches, view)
    spread = unit(random_function(rng, view, ["linear"]))
    responses = prognosis, treated
    return observe(rng, "random_outcome", covariates, (treatment, propensity), responses, switches, spread)


def left_out_propensity(
    rng: np.random.Generator, left_out: tuple[FloatArray, FloatArray], covariates: FloatArray
) -> FloatArray:
    """Probability of treatment (N,) by boosted trees or by ridge regression on random functions, of other rows."""
    others, treatment = left_out
    if len(treatment) > MOST_ROWS:
        chosen = rng.permutation(len(treatment))[:MOST_ROWS]
        others, treatment = others[chosen], treatment[chosen]
    treated, count = float(treatment.sum()), len(treatment)
    share = (treated + 1) / (count + 2)
    if min(treated, count - treated) < SMALLEST_ARM:
        return np.full(len(covariates), share)
    if rng.random() < 0.5:
        estimate = _by_trees(rng, others, treatment, covariates)
    else:
        estimate = _by_functions(rng, others, treatment, covariates)
    floor = FLOOR * min(share, 1 - share)
    return np.clip(estimate, floor, 1 - floor)


def _by_trees(
    rng: np.random.Generator, others: FloatArray, treatment: FloatArray, covariates: FloatArray
) -> FloatArray:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    trees = HistGradientBoostingClassifier(
        learning_rate=float(rng.uniform(0.08, 0.25)),
        max_iter=int(rng.integers(15, 40)),
        max_leaf_nodes=int(rng.integers(2, 9)),
        max_bins=32,
        early_stopping=False,
        random_state=int(rng.integers(2**31)),
    )
    # A worker process would wait for the threads that OpenMP had before the fork.
    with threadpool_limits(1, "openmp"):
        probability: FloatArray = trees.fit(others, treatment).predict_proba(covariates)[:, 1]
    return probability


def _by_functions(
    rng: np.random.Generator, others: FloatArray, treatment: FloatArray, covariates: FloatArray
) -> FloatArray:
    count = len(treatment)
    view = standard_view(rng, np.vstack([others, covariates]))
    features = np.column_stack([random_function(rng, active_columns(rng, view), CHEAP) for _ in range(FUNCTIONS)])
    known, share = features[:count], float(treatment.mean())
    penalty = np.exp(rng.uniform(np.log(1.0), np.log(30.0)))
    gram = known.T @ known + penalty * np.eye(FUNCTIONS)
    return np.asarray(share + features[count:] @ np.linalg.solve(gram, known.T @ (treatment - share)))
