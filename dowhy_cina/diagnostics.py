"""How far an estimate can be trusted: balance of the covariates, effective sample sizes, overlap.

Letters: N rows, D covariates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[np.float64]

#: Effective sample size of an arm below which it is called small, in rows and as a share of the arm's rows.
SMALL_SAMPLE_ROWS = 10.0
SMALL_SAMPLE_SHARE = 0.05
#: Absolute standardised mean differences from which balance is called poor, and very poor.
POOR_BALANCE = 0.1
SEVERE_BALANCE = 0.25
#: Propensities within this distance of 0 or 1 count as no overlap.
EXTREME_PROPENSITY = 0.01
#: Propensities may leave the other arm's range by this much: a leave-one-out propensity leans away from the row's own
#: treatment, so that in an experiment all treated rows can lie just below all control rows.
PROPENSITY_MARGIN = 0.1
#: Share of the target population outside the overlap from which a warning is given.
OUTSIDE_SHARE = 0.05
#: Spread, as a share of a covariate's size, that rounding alone explains.
_ROUNDING = 8 * float(np.finfo(np.float64).eps)


class EffectiveSampleSize(NamedTuple):
    """Kish's effective sample size of each arm, in rows."""

    treated: float
    control: float


def standardised_mean_differences(covariates: Array, treatment: Array, weights: Array) -> tuple[Array, Array]:
    """Differences of the arms' means in pooled standard deviations, before and after weighting.

    The unit is sqrt((s1^2 + s0^2) / 2) of the unweighted arms for both, so that weights cannot shrink it. A covariate
    that is constant within both arms but not between them is measured in its standard deviation over all rows.

    Parameters
    ----------
    covariates : ndarray, shape (N, D)
        In any unit.
    treatment : ndarray, shape (N,)
        1 in treated, 0 in control rows.
    weights : ndarray, shape (N,)
        Balancing weights, not negative; any scale within each arm.

    Returns
    -------
    before, after : ndarray, shape (D,)
        Treated minus control; zero for constant covariates, never NaN.
    """
    treated = treatment > 0.5
    values = np.asarray(covariates, dtype=np.float64)
    size = np.abs(values).max(axis=0, initial=0.0)
    # Taking the first row off keeps the digits of large levels, a spread of one keeps the squares finite.
    shifted = values / np.where(size > 0, size, 1.0)
    shifted = shifted - shifted[0]
    spread = np.abs(shifted).max(axis=0, initial=0.0)
    varies = spread > _ROUNDING
    shifted = np.where(varies, shifted / np.where(varies, spread, 1.0), 0.0)
    pooled = np.sqrt((_variance(shifted[treated]) + _variance(shifted[~treated])) / 2)
    unit = np.where(pooled > _ROUNDING, pooled, np.where(varies, shifted.std(axis=0), 1.0))
    before = shifted[treated].mean(axis=0) - shifted[~treated].mean(axis=0)
    after = _weighted_mean(shifted, weights * treated) - _weighted_mean(shifted, weights * ~treated)
    return before / unit, after / unit


def balance_table(covariates: pd.DataFrame, treatment: Array, weights: Array) -> pd.DataFrame:
    """Tabulate standardised mean differences.

    Parameters
    ----------
    covariates : DataFrame, N rows
        Numbers without missing values, in any unit.
    treatment, weights : ndarray, shape (N,)
        As in `standardised_mean_differences`.

    Returns
    -------
    DataFrame
        A row per covariate (index ``covariate``), columns ``before`` and ``after``.
    """
    before, after = standardised_mean_differences(covariates.to_numpy(dtype=np.float64), treatment, weights)
    index = pd.Index([str(name) for name in covariates.columns], name="covariate", dtype=object)
    return pd.DataFrame({"before": before, "after": after}, index=index)


def effective_sample_size(weights: Array, treatment: Array) -> EffectiveSampleSize:
    """Kish's effective sample size per arm, (sum w)^2 / sum w^2.

    So many rows, equally weighted, would be as informative.

    Parameters
    ----------
    weights, treatment : ndarray, shape (N,)
        As in `standardised_mean_differences`.
    """
    treated = treatment > 0.5
    return EffectiveSampleSize(_kish(weights[treated]), _kish(weights[~treated]))


def overlap_warnings(
    treatment: Array, weights: Array, target_weights: Array, propensity: Array, balance: pd.DataFrame
) -> tuple[str, ...]:
    """Say in plain words what makes an estimate doubtful, and what can be done.

    Parameters
    ----------
    treatment, weights : ndarray, shape (N,)
        As in `standardised_mean_differences`.
    target_weights : ndarray, shape (N,)
        Weight of each row in the target population; all zero if that population is not in the table.
    propensity : ndarray, shape (N,)
        Leave-one-out probability of treatment given the covariates.
    balance : DataFrame
        From `balance_table`.

    Returns
    -------
    tuple of str
        Empty if nothing is amiss.
    """
    treated = treatment > 0.5
    warnings = []
    sizes = effective_sample_size(weights, treatment)
    for arm, rows, size in (
        ("treated", int(treated.sum()), sizes.treated),
        ("control", int((~treated).sum()), sizes.control),
    ):
        warnings.append(_sample_warning(arm, rows, size))
    warnings.append(_balance_warning(balance))
    warnings.append(_propensity_warning(treated, target_weights, propensity))
    return tuple(warning for warning in warnings if warning)


def _sample_warning(arm: str, rows: int, size: float) -> str:
    if rows == 1:
        return (
            f"The {arm} arm has a single row: its scatter is unknown, so there is no standard error, interval or "
            f"p-value. Add {arm} rows."
        )
    if rows < SMALL_SAMPLE_ROWS:
        return f"The {arm} arm has {rows} rows only: standard error and interval are rough. Add {arm} rows."
    if size >= SMALL_SAMPLE_ROWS and size >= SMALL_SAMPLE_SHARE * rows:
        return ""
    return (
        f"Few {arm} rows carry the estimate: the weights of the {rows} {arm} rows are worth {size:.3g} equally "
        f"weighted rows. Most of them hardly resemble the target population: choose a target closer to them (such "
        "as another of 'ate', 'att', 'atc'), or leave out rows that have no counterpart."
    )


def _balance_warning(balance: pd.DataFrame) -> str:
    after = balance["after"].abs().sort_values(ascending=False, kind="stable")
    poor = after[after > POOR_BALANCE]
    if poor.empty:
        return ""
    degree = "very poor" if poor.iloc[0] > SEVERE_BALANCE else "poor"
    more = f" and {len(poor) - 3} more" if len(poor) > 3 else ""
    named = ", ".join(f"{name} ({value:.2f})" for name, value in poor.iloc[:3].items())
    return (
        f"Balance is {degree}: after weighting, the arms still differ by more than {POOR_BALANCE} standard deviations "
        f"in {named}{more}. The estimate leans on the outcome model there: compare it with a target that overlaps "
        "better, or leave out rows that have no counterpart in the other arm."
    )


def _propensity_warning(treated: npt.NDArray[np.bool_], target_weights: Array, propensity: Array) -> str:
    total = float(target_weights.sum())
    if total <= 0 or treated.all() or not treated.any():
        return ""
    outside = np.where(treated, _beyond(propensity, propensity[~treated]), _beyond(propensity, propensity[treated]))
    # A treated row with a small propensity has controls all around it; only the other end is without a counterpart.
    extreme = np.where(treated, propensity > 1 - EXTREME_PROPENSITY, propensity < EXTREME_PROPENSITY)
    share = float(target_weights[outside | extreme].sum()) / total
    if share <= OUTSIDE_SHARE:
        return ""
    return (
        f"Overlap is poor: {100 * share:.0f} % of the target population have next to no counterpart in the other arm "
        f"(a propensity within {EXTREME_PROPENSITY} of 0 or 1, or beyond that arm's). The effect on them is "
        "extrapolated: restrict the target to rows with a counterpart, or choose another of 'ate', 'att', 'atc'."
    )


def _beyond(values: Array, others: Array) -> npt.NDArray[np.bool_]:
    low, high = others.min() - PROPENSITY_MARGIN, others.max() + PROPENSITY_MARGIN
    return np.asarray((values < low) | (values > high), dtype=np.bool_)


def _variance(values: Array) -> Array:
    """Sample variance of each column; zero for a single row, whose spread is unknown."""
    return np.asarray(values.var(axis=0, ddof=1)) if len(values) > 1 else np.zeros(values.shape[1])


def _weighted_mean(values: Array, weights: Array) -> Array:
    total = weights.sum()
    return np.asarray(weights @ values / total) if total > 0 else np.zeros(values.shape[1])


def _kish(weights: Array) -> float:
    largest = float(weights.max(initial=0.0))
    if largest <= 0:
        return 0.0
    relative = weights / largest
    return float(relative.sum() ** 2 / np.square(relative).sum())
