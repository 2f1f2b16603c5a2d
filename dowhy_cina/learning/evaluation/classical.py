"""Classical estimators of the average effect, to stand beside: short, independent of the rest of the package.

Letters: N rows, D covariates.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dowhy_cina.learning.evaluation import learners
from dowhy_cina.learning.evaluation.learners import CLIP, FOLDS
from dowhy_cina.mathematics.scaling import Array

#: Effect and standard error; the latter NaN where the method has none.
Estimate = tuple[float, float]

#: Rows of an arm that the kernel ridge regression uses at most, and penalties that it chooses from.
MOST_ROWS = 2000
PENALTIES = 10.0 ** np.arange(-4, 3, 0.5)
#: Far above the rounding of a kernel of so many rows, far below the penalties.
_ROUNDING = 1e-8
NAN = float("nan")


def difference_in_means(x: Array, t: Array, y: Array) -> Estimate:
    """Mean outcome of the treated minus that of the controls."""
    treated, control = y[t == 1], y[t == 0]
    error = np.sqrt(treated.var() / treated.size + control.var() / control.size)
    return float(treated.mean() - control.mean()), float(error)


def linear_regression(x: Array, t: Array, y: Array) -> Estimate:
    """Coefficient of the treatment beside all covariates, with the robust standard error (HC1)."""
    import statsmodels.api as sm  # half a second that nobody else should wait for

    with warnings.catch_warnings():  # a covariate may be a combination of others; the treatment's coefficient stays
        warnings.simplefilter("ignore")
        fit = sm.OLS(y, np.column_stack([np.ones_like(t), t, x])).fit(cov_type="HC1")
    return float(fit.params[1]), float(fit.bse[1])


def _logistic_weights(x: Array, t: Array) -> Array:
    """Inverse probabilities of the treatments that rows had, by a logistic model."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    with warnings.catch_warnings():  # a separable table has no maximum; the ridge keeps the last iterate usable
        warnings.simplefilter("ignore")
        propensity = model.fit(x, t).predict_proba(x)[:, 1].clip(CLIP, 1 - CLIP)
    return np.asarray(t / propensity + (1 - t) / (1 - propensity))


def horvitz_thompson(x: Array, t: Array, y: Array) -> Estimate:
    """Inverse propensity weighting with a logistic model, not normalised."""
    scores = _logistic_weights(x, t) * np.where(t == 1, y, -y)
    return float(scores.mean()), float(scores.std() / np.sqrt(len(y)))


def double_machine_learning(x: Array, t: Array, y: Array) -> Estimate:
    """Partially linear double machine learning: boosted trees, cross-fitted in five folds.

    References
    ----------
    Chernozhukov et al. (2018), Double/debiased machine learning, Econometrics Journal 21(1).
    """
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    fitted = [cross_val_predict(_regression(), x, y, cv=folds.split(x, t))]
    fitted.append(cross_val_predict(_classification(), x, t, cv=folds.split(x, t), method="predict_proba")[:, 1])
    outcome, treatment = y - fitted[0], t - fitted[1]
    size = float(treatment @ treatment)
    effect = float(treatment @ outcome) / size
    return effect, float(np.linalg.norm(treatment * (outcome - effect * treatment)) / size)


def inverse_propensity(x: Array, t: Array, y: Array) -> Estimate:
    """Normalised inverse propensity weighting with a logistic model."""
    weights = _logistic_weights(x, t)
    means = [np.average(y[t == arm], weights=weights[t == arm]) for arm in (0, 1)]
    totals = [weights[t == arm].sum() for arm in (0, 1)]
    influence = np.where(t == 1, weights * (y - means[1]) / totals[1], -weights * (y - means[0]) / totals[0])
    return float(means[1] - means[0]), float(np.sqrt(np.sum(influence**2)))


def kernel_ridge(x: Array, t: Array, y: Array) -> Estimate:
    """Gaussian kernel ridge regression of the outcome in each arm, penalty by leave-one-out, averaged over all rows.

    The kernel's bandwidth is the square root of the number of columns, in standard deviations of a column.
    """
    z, width = StandardScaler().fit_transform(x), 0.5 / x.shape[1]
    means = []
    for arm in (0, 1):
        rows = np.random.default_rng(0).permutation(np.flatnonzero(t == arm))[:MOST_ROWS]
        centre, kernel = y[rows].mean(), rbf_kernel(z[rows], gamma=width)
        # A ridge regression on a root of the kernel is the one on the kernel; equal rows would leave it without a root.
        root = np.linalg.cholesky(kernel + _ROUNDING * np.eye(len(rows)))
        penalty = RidgeCV(PENALTIES, fit_intercept=False).fit(root, y[rows] - centre).alpha_
        model = KernelRidge(alpha=penalty, kernel="rbf", gamma=width).fit(z[rows], y[rows] - centre)
        means.append(centre + model.predict(z).mean())
    return float(means[1] - means[0]), NAN


def t_learner(x: Array, t: Array, y: Array) -> Estimate:
    """Boosted trees of the outcome in each arm, their difference averaged over all rows."""
    return float(np.mean(learners.t_learner(x, t, y, x, _regression))), NAN


def x_learner(x: Array, t: Array, y: Array) -> Estimate:
    """Boosted trees of imputed effects in each arm, blended by the propensity and averaged over all rows."""
    return float(np.mean(learners.x_learner(x, t, y, x, _regression, _classification))), NAN


def aipw(x: Array, t: Array, y: Array) -> Estimate:
    """Augmented inverse propensity weighting: boosted trees, cross-fitted in five folds."""
    scores = learners.doubly_robust_scores(x, t, y, _regression, _classification)
    return float(scores.mean()), float(scores.std() / np.sqrt(len(y)))


def _regression() -> Any:
    """LightGBM where it is installed, scikit-learn's boosted trees otherwise, in default settings."""
    try:
        from lightgbm import LGBMRegressor
    except ImportError:
        return HistGradientBoostingRegressor(random_state=0)
    return LGBMRegressor(verbose=-1, random_state=0, n_jobs=1)


def _classification() -> Any:
    try:
        from lightgbm import LGBMClassifier
    except ImportError:
        return HistGradientBoostingClassifier(random_state=0)
    return LGBMClassifier(verbose=-1, random_state=0, n_jobs=1)


#: Every method by its name.
METHODS: dict[str, Callable[[Array, Array, Array], Estimate]] = {
    "difference in means": difference_in_means,
    "linear regression": linear_regression,
    "IPW, logistic": inverse_propensity,
    "kernel ridge per arm": kernel_ridge,
    "T-learner, boosted trees": t_learner,
    "X-learner, boosted trees": x_learner,
    "AIPW, boosted trees": aipw,
}
