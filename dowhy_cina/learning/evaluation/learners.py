"""Textbook learners of conditional effects on any regression and classification, without the rest of the package.

Letters: N rows, D covariates, M rows whose effects are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dowhy_cina.mathematics.scaling import Array

#: Makes an unfitted model of scikit-learn's kind.
Maker = Callable[[], Any]

FOLDS = 5
#: Propensities are cut here, as in the published comparisons.
CLIP = 1e-3
#: Those of boosted trees are far too sure of themselves, and what divides by them is cut here: the bound among .001,
#: .01, .02 and .05 with the smallest errors on published tables.
TREES_CLIP = 0.05
RIDGE_PENALTIES = 10.0 ** np.arange(-3, 5, 0.5)


def ridge() -> Any:
    """Ridge regression of standardised covariates, its penalty by leave-one-out."""
    return make_pipeline(StandardScaler(), RidgeCV(RIDGE_PENALTIES))


def t_learner(x: Array, t: Array, y: Array, at: Array, regression: Maker) -> Array:
    """Difference of a regression in each arm.

    Parameters
    ----------
    x : (N, D) array
    t, y : (N,) array
        Treatment, 0 or 1, and outcome.
    at : (M, D) array
    regression : callable

    Returns
    -------
    (M,) array
        Effects in the outcome's unit.
    """
    control, treated = (regression().fit(x[t == arm], y[t == arm]).predict(at) for arm in (0, 1))
    effects: Array = treated - control
    return effects


def x_learner(x: Array, t: Array, y: Array, at: Array, regression: Maker, classification: Maker) -> Array:
    """Regressions of imputed effects in each arm, blended by the propensity; arguments as in :func:`t_learner`.

    References
    ----------
    Kunzel et al. (2019), Metalearners for estimating heterogeneous treatment effects, PNAS 116(10).
    """
    treated = t == 1
    control_mean, treated_mean = (regression().fit(x[t == arm], y[t == arm]) for arm in (0, 1))
    of_controls = regression().fit(x[~treated], treated_mean.predict(x[~treated]) - y[~treated])
    of_treated = regression().fit(x[treated], y[treated] - control_mean.predict(x[treated]))
    propensity = classification().fit(x, t).predict_proba(at)[:, 1].clip(CLIP, 1 - CLIP)
    effects: Array = propensity * of_controls.predict(at) + (1 - propensity) * of_treated.predict(at)
    return effects


def doubly_robust_scores(x: Array, t: Array, y: Array, regression: Maker, classification: Maker) -> Array:
    """Doubly robust scores of the rows, cross-fitted in five folds; arguments as in :func:`t_learner`.

    Returns
    -------
    (N,) array
        In the outcome's unit; their mean is the augmented estimate of the average effect.
    """
    scores = np.empty_like(y)
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(x, t):
        propensity = classification().fit(x[train], t[train]).predict_proba(x[test])[:, 1]
        propensity = propensity.clip(TREES_CLIP, 1 - TREES_CLIP)
        means = []
        for arm in (0, 1):
            rows = train[t[train] == arm]
            means.append(regression().fit(x[rows], y[rows]).predict(x[test]))
        residual = y[test] - np.where(t[test] == 1, means[1], means[0])
        ratio = t[test] / propensity - (1 - t[test]) / (1 - propensity)
        scores[test] = means[1] - means[0] + ratio * residual
    return scores


def dr_learner(x: Array, t: Array, y: Array, at: Array, regression: Maker, classification: Maker) -> Array:
    """Regression of the doubly robust scores; arguments as in :func:`t_learner`.

    References
    ----------
    Kennedy (2023), Towards optimal doubly robust estimation of heterogeneous causal effects, EJS 17(2).
    """
    scores = doubly_robust_scores(x, t, y, regression, classification)
    effects: Array = regression().fit(x, scores).predict(at)
    return effects
