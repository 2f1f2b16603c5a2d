"""How far an estimate can be trusted: balance of the covariates, effective sample sizes, overlap.

Letters: N rows, D covariates.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

#: Rows of an arm below which its standard error is called rough.
SMALL_ARM = 10
#: A row has little chance of the other arm below this leave-one-out probability, or, of a rare arm, below this fraction
#: of its share ...
EXTREME_PROPENSITY = 0.02
EXTREME_FRACTION = 0.2
#: ... and no counterpart there if fewer rows of the other arm than this had as little chance of their own treatment,
#: or than this share of a small arm.
COUNTERPARTS = 20
COUNTERPART_SHARE = 0.3

#: Entries of columns that are worked on at once.
BLOCK_ENTRIES = 2**20
#: Spread, as a share of a covariate's size, that rounding alone explains.
_ROUNDING = 8 * float(np.finfo(np.float64).eps)


class EffectiveSampleSize(NamedTuple):
    """Kish's effective sample size of each arm, in rows, or in clusters where there are any."""

    treated: float
    control: float


class Arm(NamedTuple):
    """What the rows of an arm add up to.

    Attributes
    ----------
    rows : int
    effective_size, largest_weight : float
        Kish's effective sample size, and the largest share in the arm's weights: of rows, or of clusters.
    outside : int
        Rows without a counterpart in the other arm, as :func:`outside_support` finds them.
    target, target_outside : float
        Weight in the target population, of all rows and of those without a counterpart; any scale.
    clusters : int, optional
        That hold the rows, where there are any.
    even_size : float, optional
        Effective sample size if all rows weighed the same: fewer than the clusters if these have unequal numbers of
        rows; the rows where there are no clusters.
    """

    rows: int
    effective_size: float
    largest_weight: float
    outside: int
    target: float
    target_outside: float
    clusters: int | None = None
    even_size: float | None = None

    @property
    def held(self) -> str:
        """Say what holds the rows together."""
        return f" in {self.clusters} clusters" if self.clusters else ""


class Arms(NamedTuple):
    """Both arms."""

    treated: Arm
    control: Arm


def standardised_mean_differences(
    covariates: Array, treatment: Array, weights: Array, sample_weight: Array | None = None
) -> tuple[Array, Array]:
    """Differences of the arms' means in pooled standard deviations, before and after weighting.

    The unit is sqrt((s1^2 + s0^2) / 2) of the unweighted arms for both, so that weights cannot shrink it, sampling
    weights neither. A covariate that is constant within both arms but not between them is measured in its standard
    deviation over all rows.

    Parameters
    ----------
    covariates : ndarray, shape (N, D)
        In any unit.
    treatment : ndarray, shape (N,)
        1 in treated, 0 in control rows.
    weights : ndarray, shape (N,)
        Balancing weights, not negative; any scale within each arm.
    sample_weight : ndarray, shape (N,), optional
        Sampling weights, not negative, of the means before weighting: what the balancing weights are compared with is
        the arms of the population that the sample stands for.

    Returns
    -------
    before, after : ndarray, shape (D,)
        Treated minus control; zero for constant covariates, never NaN.
    """
    treated = treatment > 0.5
    # By column, as frames are: sums over another layout differ in their last bit.
    values = np.asarray(covariates, dtype=np.float64, order="F")
    size = np.abs(values).max(axis=0, initial=0.0)
    # Taking the first row off keeps the digits of large levels, a spread of one keeps the squares finite.
    shifted = values / np.where(size > 0, size, 1.0)
    shifted = shifted - shifted[0]
    spread = np.abs(shifted).max(axis=0, initial=0.0)
    varies = spread > _ROUNDING
    shifted = np.where(varies, shifted / np.where(varies, spread, 1.0), 0.0)
    arms = shifted[treated], shifted[~treated]
    pooled = np.sqrt((_variance(arms[0]) + _variance(arms[1])) / 2)
    unit = np.where(pooled > _ROUNDING, pooled, np.where(varies, shifted.std(axis=0), 1.0))
    if sample_weight is None:
        before = arms[0].mean(axis=0) - arms[1].mean(axis=0)
    else:
        before = _weighted_mean(shifted, sample_weight * treated) - _weighted_mean(shifted, sample_weight * ~treated)
    after = _weighted_mean(shifted, weights * treated) - _weighted_mean(shifted, weights * ~treated)
    return before / unit, after / unit


def balance_table(
    covariates: pd.DataFrame,
    treatment: Array,
    weights: Array,
    sample_weight: Array | None = None,
    order: npt.NDArray[np.int64] | None = None,
) -> pd.DataFrame:
    """Tabulate standardised mean differences.

    Parameters
    ----------
    covariates : DataFrame, N rows
        Numbers without missing values, in any unit.
    treatment, weights, sample_weight : ndarray, shape (N,)
        As in `standardised_mean_differences`.
    order : ndarray of int, shape (N,), optional
        Rows of the covariates that these belong to; in their own order by default.

    Returns
    -------
    DataFrame
        A row per covariate (index ``covariate``), columns ``before`` and ``after``.
    """
    values = covariates.to_numpy(dtype=np.float64)
    step, found = max(1, BLOCK_ENTRIES // max(len(values), 1)), []
    for start in range(0, max(values.shape[1], 1), step):
        block = values[:, start : start + step]
        block = block if order is None else block[order]
        found.append(standardised_mean_differences(block, treatment, weights, sample_weight))
    before, after = (np.concatenate(parts) for parts in zip(*found, strict=True))
    index = pd.Index([str(name) for name in covariates.columns], name="covariate", dtype=object)
    return pd.DataFrame(np.column_stack([before, after]), index, ["before", "after"])


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


def outside_support(treatment: Array, propensity: Array) -> npt.NDArray[np.bool_]:
    """Say which rows have no counterpart in the other arm.

    A row has none if its covariates leave it a chance of less than 2 % of the other arm (of a rare arm: a fifth of its
    share), and fewer than 20 rows of that arm (or than 30 % of a small arm) got their treatment against odds as long.
    The first alone would condemn the rows of which a large table has enough, the second alone the ends of every table.

    Parameters
    ----------
    treatment : ndarray, shape (N,)
        1 in treated, 0 in control rows.
    propensity : ndarray, shape (N,)
        Leave-one-out probability of treatment given the covariates.

    Returns
    -------
    ndarray of bool, shape (N,)
    """
    treated = treatment > 0.5
    outside = np.zeros(len(treated), dtype=np.bool_)
    for own, chance_of_other in ((treated, 1 - propensity), (~treated, propensity)):
        others = chance_of_other[~own]
        outside[own] = chance_of_other[own] < support_limit(others, len(others), len(treated))
    return outside


def support_limit(chances: Array, others: float, rows: float) -> float:
    """Chance of the other arm below which a row has no counterpart there.

    Fewer than k rows of the other arm have a chance no larger than a row's own if and only if that is below the k-th
    smallest of theirs.

    Parameters
    ----------
    chances : ndarray
        Chances that rows of the other arm had of their treatment; its :data:`COUNTERPARTS` smallest suffice.
    others, rows : float
        Rows of the other arm and of both.
    """
    needed = math.ceil(min(COUNTERPARTS, COUNTERPART_SHARE * others))
    little = min(EXTREME_PROPENSITY, EXTREME_FRACTION * others / rows)
    return float(min([little, *np.sort(chances)[needed - 1 : needed]]))


def sum_arms(
    treatment: Array, weights: Array, target_weights: Array, propensity: Array, cluster: Codes | None = None
) -> Arms:
    """Add up the rows of each arm, from what :func:`overlap_verdict` takes and codes of clusters, if there are any."""
    treated, outside, arms = treatment > 0.5, outside_support(treatment, propensity), []
    for own in (treated, ~treated):
        units = weights[own] if cluster is None else np.bincount(cluster[own], weights[own]).astype(np.float64)
        largest = float(units.max() / max(weights[own].sum(), np.finfo(np.float64).tiny))
        target, beyond = (float(target_weights[rows].sum()) for rows in (own, own & outside))
        clusters = None if cluster is None else len(np.unique(cluster[own]))
        even = None if cluster is None else _kish(np.bincount(cluster[own]).astype(np.float64))
        sums = largest, int(outside[own].sum()), target, beyond
        arms.append(Arm(int(own.sum()), _kish(units), *sums, clusters, even))
    return Arms(*arms)


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
