"""Regressions of the effect on covariates.

Letters: N rows, P terms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from dowhy_cina.errors import InputError
from dowhy_cina.mathematics.concentration import effective_number
from dowhy_cina.mathematics.scaling import Array, unit_of, usual_arithmetic
from dowhy_cina.results.heterogeneity.scores import (
    Codes,
    check_level,
    cluster_codes,
    contributions,
    in_size,
    modifier_columns,
    real_numbers,
)
from dowhy_cina.tables.reading import check_unique

#: Stands in for the weight zero of a row outside the target, which enters a projection by its residual alone.
_NO_WEIGHT = 1e-10
_BAND_DRAWS = 4000
#: Sizes of scores and of covariates of which a regression can take fourth powers.
_SMALLEST_SIZE, _LARGEST_SIZE = 1e-70, 1e70
#: Least singular value of columns of length one: below, squares of the design lose what tells a column from others.
_SMALLEST_ANGLE = 1e-7
#: Leverage from which a row decides a coefficient by itself.
_LARGEST_LEVERAGE = 1 - 1e-8
#: Quantiles at which natural splines have their knots, by the rows there are.
_KNOTS = ((0, (0.1, 0.5, 0.9)), (150, (0.05, 0.35, 0.65, 0.95)), (500, (0.05, 0.275, 0.5, 0.725, 0.95)))


@usual_arithmetic()
def best_linear_projection(
    pseudo_outcomes: npt.ArrayLike,
    covariates: pd.DataFrame,
    cluster: Any = None,
    weights: npt.ArrayLike | None = None,
    shared_error: float = 0.0,
) -> Any:
    """Regress the effect on covariates: the best linear approximation to how it varies.

    Parameters
    ----------
    pseudo_outcomes, cluster, weights, shared_error
        As in `group_effects`; of the regression it is the constant's.
    covariates : DataFrame, N rows
        Numbers and booleans as they are, anything else as an indicator per level but the first. The regression's
        constant is called "constant", or "(constant)" beside a covariate of that name.

    Returns
    -------
    statsmodels.regression.linear_model.RegressionResults
        With HC3 standard errors, or cluster-robust ones, and t distributions with ``df_resid_inference`` degrees of
        freedom: one less than the effective number of rows (clusters) that carry the noise of the coefficient for which
        they are fewest. Its ``summary()`` is the usual table; only coefficients, standard errors and tests mean
        something, not the explained variance of the scores.

    Raises
    ------
    InputError
        As `group_effects`, and if a covariate has missing values, is constant, is a combination of the others or has
        the name of another.
    InputTypeError
        If a covariate holds complex numbers or containers.

    References
    ----------
    Semenova & Chernozhukov (2021), as for `group_effects`.
    """
    size = in_size(pseudo_outcomes)[1]
    if not _SMALLEST_SIZE <= size <= _LARGEST_SIZE:
        raise InputError(
            f"expected scores of a size between {_SMALLEST_SIZE:g} and {_LARGEST_SIZE:g}, whose squares are numbers, "
            f"got {size:.3g}. Estimate for the outcome in another unit."
        )
    fit, codes = _project(pseudo_outcomes, _design(covariates), cluster, weights, shared_error)
    # statsmodels' table has room for one number of degrees of freedom: that of the least certain coefficient. On the
    # wrapper that fit() returns it would not reach intervals and tests.
    fit._results.df_resid_inference = float(_freedom(fit, codes, np.eye(len(fit.params))).min())
    return fit


@usual_arithmetic()
def effect_curve(
    pseudo_outcomes: npt.ArrayLike,
    modifier: npt.ArrayLike,
    level: float = 0.95,
    cluster: Any = None,
    weights: npt.ArrayLike | None = None,
    points: int = 81,
    shared_error: float = 0.0,
) -> pd.DataFrame:
    """Average effect along one covariate of numbers, by a natural cubic spline of the pseudo-outcomes.

    Parameters
    ----------
    pseudo_outcomes, level, cluster, weights, shared_error
        As in `group_effects`.
    modifier : array-like, shape (N,)
        Finite numbers.
    points : int
        Grid points between the 2.5th and the 97.5th percentile.

    Returns
    -------
    DataFrame
        Index: the modifier; columns ``effect``, ``standard_error``, ``lower``, ``upper`` (pointwise), ``band_lower``,
        ``band_upper`` (holding the whole curve at once with this probability).

    Raises
    ------
    InputError, InputTypeError
        As `best_linear_projection`.
    """
    check_level(level)
    values = real_numbers(modifier, "modifier")
    unit = float(unit_of(np.abs(values).max(initial=0.0)))
    values = values * unit
    if not np.isfinite(values).all():
        raise InputError("expected finite numbers along the curve, got missing or infinite ones; leave these rows out.")
    if np.ptp(values) == 0:
        raise InputError("expected a covariate that varies along the curve, got a constant one.")
    knots = _knots(values)
    scores, size = in_size(pseudo_outcomes)
    fit, codes = _project(scores, pd.DataFrame(_spline(values, knots)), cluster, weights, shared_error / size)
    first, last = np.quantile(values, [0.025, 0.975])
    grid = np.linspace(first, last, points)
    basis = np.column_stack([np.ones(points), _spline(grid, knots)])
    covariance = np.asarray(fit.cov_params())
    effect = basis @ np.asarray(fit.params)
    error = np.sqrt(np.einsum("ij,jk,ik->i", basis, covariance, basis).clip(0))
    freedom = _freedom(fit, codes, basis)
    half = np.maximum(stats.t.isf((1 - level) / 2, freedom), 0) * error
    # The largest ratio along the grid, of coefficients drawn about their estimate, and the level of each that it means.
    draws = np.random.default_rng(0).multivariate_normal(np.zeros(len(covariance)), covariance, _BAND_DRAWS, "ignore")
    widest = np.abs(draws @ basis.T / np.maximum(error, np.finfo(float).tiny)).max(axis=1)
    # At least the smallest number: where all errors but one are zero the largest ratio has no bound.
    each = max(float(stats.norm.sf(np.quantile(widest, level))), float(np.finfo(float).tiny))
    band = np.maximum(stats.t.isf(each, freedom) * error, half)
    return size * pd.DataFrame(
        {
            "effect": effect,
            "standard_error": error,
            "lower": effect - half,
            "upper": effect + half,
            "band_lower": effect - band,
            "band_upper": effect + band,
        },
        index=grid / unit,
    )


def _project(
    pseudo_outcomes: npt.ArrayLike, design: pd.DataFrame, cluster: Any, weights: Any, shared_error: float
) -> tuple[Any, Codes | None]:
    """Weighted least squares of the scores with robust errors and one that all rows share, and the clusters' codes.

    A constant is put before the design.
    """
    import statsmodels.api as sm  # half a second that nobody else should wait for

    added, q = contributions(pseudo_outcomes, weights)
    if len(design) != len(q):
        raise InputError(f"expected covariates for each of {len(q)} rows, got {len(design)}.")
    q = np.maximum(q * len(q), _NO_WEIGHT)
    terms = design.reset_index(drop=True)
    # A covariate may have the name of the constant.
    terms.insert(0, "(constant)" if "constant" in design.columns else "constant", 1.0)
    if terms.shape[1] >= len(q):
        raise InputError(
            f"expected more rows than terms to tell how certain a regression is, got {len(q)} rows and "
            f"{terms.shape[1]} terms; leave out columns, or those of labels that all differ."
        )
    weighted = terms.to_numpy() * np.sqrt(q)[:, None]
    weighted /= np.maximum(np.linalg.norm(weighted, axis=0), np.finfo(float).tiny)
    if np.linalg.matrix_rank(weighted, _SMALLEST_ANGLE) < terms.shape[1]:
        raise InputError(
            f"expected covariates none of which is a combination of the others among the target's rows, got "
            f"{list(design.columns)}; leave one out."
        )
    effects = pd.Series(added * len(q) / q, name="effect")
    model = sm.OLS(effects, terms) if np.ptp(q) == 0 else sm.WLS(effects, terms, weights=q)
    if cluster is None:
        model.fit()  # which leaves the pseudo-inverse
        leverage = (model.wexog * model.pinv_wexog.T).sum(axis=1)
        if leverage.max() > _LARGEST_LEVERAGE:
            raise InputError(
                f"expected no row that decides a coefficient by itself, got row {int(leverage.argmax())} of the "
                "target's; group labels that occur once, or leave out the column that sets this row apart."
            )
        codes, fit = None, model.fit(cov_type="HC3", use_t=True)
    else:
        codes = cluster_codes(cluster, len(q))
        fit = model.fit(cov_type="cluster", cov_kwds={"groups": codes}, use_t=True)
    covariance = np.array(fit._results.cov_params_default)
    covariance[0, 0] += shared_error**2
    fit._results.cov_params_default = covariance
    return fit, codes


def _freedom(fit: Any, clusters: Codes | None, combinations: Array) -> Array:
    """Degrees of freedom (n,) of combinations (n, P) of the coefficients: their effective number of units, less one."""
    design, residuals = np.asarray(fit.model.wexog), np.asarray(fit.wresid)
    reach = design @ np.asarray(fit.normalized_cov_params)
    most = float(fit.df_resid)
    if clusters is None:
        leverage = (reach * design).sum(axis=1)
        parts = reach * (residuals / np.maximum(1 - leverage, np.finfo(float).eps))[:, None]
    else:
        parts = np.zeros((int(clusters.max()) + 1, design.shape[1]))
        np.add.at(parts, clusters, reach * residuals[:, None])
        most = len(parts) - 1.0
    squares = np.square(parts @ combinations.T)
    effective = effective_number(squares.sum(axis=0), np.square(squares).sum(axis=0))
    return np.asarray((effective - 1).clip(1, max(most, 1)))


def _design(covariates: pd.DataFrame) -> pd.DataFrame:
    """Columns of numbers without missing values."""
    if not covariates.shape[1]:
        raise InputError("expected at least one covariate to project the effect on, got none.")
    covariates = modifier_columns(covariates)
    missing = [str(name) for name in covariates.columns[covariates.isna().any()]]
    if missing:
        raise InputError(f"expected covariates without missing values, got some in {missing}; fill them in.")
    constant = [str(name) for name in covariates.columns if covariates[name].nunique() < 2]
    if constant:
        raise InputError(f"expected covariates that vary, got constant ones: {constant}; leave them out.")
    numbers = covariates.select_dtypes("number").to_numpy(np.float64, na_value=np.nan)
    sizes = np.abs(numbers).max(axis=0, initial=0.0)
    if not ((sizes == 0) | ((sizes >= _SMALLEST_SIZE) & (sizes <= _LARGEST_SIZE))).all():
        raise InputError(
            f"expected covariates whose largest values are between {_SMALLEST_SIZE:g} and {_LARGEST_SIZE:g} in size, "
            "whose squares are numbers; give them in another unit."
        )
    labels = [
        name
        for name in covariates.columns
        if pd.api.types.is_bool_dtype(covariates[name]) is False and not pd.api.types.is_numeric_dtype(covariates[name])
    ]
    if sum(covariates[name].nunique() - 1 for name in labels) + 1 >= len(covariates):
        raise InputError(
            f"expected fewer labels than the {len(covariates)} rows, got as many in {[*map(str, labels)]}; group them."
        )
    design = pd.get_dummies(covariates, columns=labels, drop_first=True).astype(np.float64).rename(columns=str)
    check_unique(list(design.columns), "covariates and their levels")
    return design


def _knots(values: Array) -> Array:
    """Knots of a natural spline; two, and it is a line, where the values are too few or tied."""
    quantiles = next(quantiles for least, quantiles in reversed(_KNOTS) if len(values) >= least)
    knots = np.unique(np.quantile(values, quantiles))
    if len(knots) < 3 or len(np.unique(values)) <= len(knots):
        return np.array([values.min(), values.max()])
    return knots


def _spline(values: Array, knots: Array) -> Array:
    """Basis of a natural cubic spline without its constant, linear beyond the outer knots, shape (n, K - 1)."""
    from patsy import cr  # statsmodels brings it, as late

    line: Array = ((values - knots[0]) / (knots[-1] - knots[0]))[:, None]
    if len(knots) < 3:
        return line
    basis: Array = cr(values, knots=knots[1:-1], lower_bound=knots[0], upper_bound=knots[-1])
    return basis[:, 1:]  # its columns sum to one, and the constant stands before them
