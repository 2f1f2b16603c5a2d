"""How far an estimate can be trusted: balance of the covariates, effective sample sizes, overlap.

Letters: N rows, D covariates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

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
#: Share of the target population without a counterpart above which the data are strained.
OUTSIDE_SHARE = 0.1
#: Ranges of the outcome from which an interval's width says nothing: no effect can lie outside two of them.
WIDEST_INTERVAL = 2.0
#: Spread, as a share of a covariate's size, that rounding alone explains.
_ROUNDING = 8 * float(np.finfo(np.float64).eps)
#: Measures that exceed the bound of a grade by no more than this share of it meet it.
_TIE = 1e-9


Grade = Literal["good", "strained", "the data do not answer this"]
GRADES: tuple[Grade, Grade, Grade] = ("good", "strained", "the data do not answer this")


class _Bounds(NamedTuple):
    """Where a grade begins: share without a counterpart, rows an arm is worth, largest weight, largest imbalance."""

    outside: float
    rows: float
    weight: float
    imbalance: float


# Calibrated on simulated tables with known effects: benchmarks/overlap.py prints errors and coverage by grade.
_STRAINED = _Bounds(OUTSIDE_SHARE, 30, 0.2, 0.25)
_UNANSWERABLE = _Bounds(0.5, 10, 0.4, 0.8)


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
    """

    rows: int
    effective_size: float
    largest_weight: float
    outside: int
    target: float
    target_outside: float
    clusters: int | None = None

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
    weights neither. A covariate
    that is constant within both arms but not between them is measured in its standard deviation over all rows.

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
    pooled = np.sqrt((_variance(shifted[treated]) + _variance(shifted[~treated])) / 2)
    unit = np.where(pooled > _ROUNDING, pooled, np.where(varies, shifted.std(axis=0), 1.0))
    if sample_weight is None:
        before = shifted[treated].mean(axis=0) - shifted[~treated].mean(axis=0)
    else:
        before = _weighted_mean(shifted, sample_weight * treated) - _weighted_mean(shifted, sample_weight * ~treated)
    after = _weighted_mean(shifted, weights * treated) - _weighted_mean(shifted, weights * ~treated)
    return before / unit, after / unit


def balance_table(
    covariates: pd.DataFrame, treatment: Array, weights: Array, sample_weight: Array | None = None
) -> pd.DataFrame:
    """Tabulate standardised mean differences.

    Parameters
    ----------
    covariates : DataFrame, N rows
        Numbers without missing values, in any unit.
    treatment, weights, sample_weight : ndarray, shape (N,)
        As in `standardised_mean_differences`.

    Returns
    -------
    DataFrame
        A row per covariate (index ``covariate``), columns ``before`` and ``after``.
    """
    values = covariates.to_numpy(dtype=np.float64)
    before, after = standardised_mean_differences(values, treatment, weights, sample_weight)
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


@dataclass(frozen=True)
class OverlapVerdict:
    """Whether the table can answer for the target population.

    Attributes
    ----------
    grade : {"good", "strained", "the data do not answer this"}
        The worst that any of the reasons gives.
    reasons : tuple of str
        What was found, worst first; empty if the grade is good.
    advice : str
        What to do; empty if the grade is good.
    """

    grade: Grade
    reasons: tuple[str, ...]
    advice: str

    def __str__(self) -> str:
        return f"{self.grade}: {'; '.join(self.reasons)}. {self.advice}" if self.reasons else self.grade


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
        arms.append(Arm(int(own.sum()), _kish(units), largest, int(outside[own].sum()), target, beyond, clusters))
    return Arms(*arms)


def overlap_verdict(
    treatment: Array, weights: Array, target_weights: Array, propensity: Array, balance: pd.DataFrame
) -> OverlapVerdict:
    """Grade whether the table can answer for the target population, and say what to do if it hardly can.

    Parameters
    ----------
    treatment, weights : ndarray, shape (N,)
        As in `standardised_mean_differences`.
    target_weights : ndarray, shape (N,)
        Weight of each row in the target population; all zero if that population is not in the table.
    propensity : ndarray, shape (N,)
        As in `outside_support`.
    balance : DataFrame
        From `balance_table`.
    """
    return grade_overlap(sum_arms(treatment, weights, target_weights, propensity), balance)


def relative_width(interval: tuple[float, float] | None, outcome_range: float) -> float:
    """Width of an interval in ranges of the outcome; 0 where there is no interval, or the outcome is constant."""
    return (interval[1] - interval[0]) / outcome_range if interval is not None and outcome_range > 0 else 0.0


def grade_overlap(arms: Arms, balance: pd.DataFrame, width: float = 0.0) -> OverlapVerdict:
    """:func:`overlap_verdict` from what the rows of each arm add up to, and the interval's :func:`relative_width`.

    Above a width of 2 the data do not answer: no effect lies further from zero than the range of the outcome, so that
    such an interval leaves everything open.
    """
    share = _outside_share(arms)
    text = f"{100 * share:.0f} % of the target population have no counterpart in the other arm"
    found = [(_exceeds(share, "outside"), text)]
    found += [_weight_reason(name, arm) for name, arm in arms._asdict().items()]
    worst = balance["after"].abs()
    if len(worst):
        name, size = worst.idxmax(), float(worst.max())
        text = f"the arms still differ by {size:.2f} standard deviations in {name} after weighting"
        found.append((_exceeds(size, "imbalance"), text))
    text = f"the interval is {width:.3g} times as wide as the range of the outcome"
    found.append((2 if width > WIDEST_INTERVAL else 0, text))
    found = sorted((reason for reason in found if reason[0]), key=lambda reason: -reason[0])
    if not found:
        return OverlapVerdict("good", (), "")
    return OverlapVerdict(GRADES[found[0][0]], tuple(text for _, text in found), _advice(arms))


def overlap_warnings(arms: Arms, verdict: OverlapVerdict) -> tuple[str, ...]:
    """Say in plain words what makes an estimate doubtful, and what can be done.

    Returns
    -------
    tuple of str
        Empty if nothing is amiss.
    """
    warnings = [_sample_warning(name, arm.rows) for name, arm in arms._asdict().items()]
    if verdict.reasons:
        reasons = "; ".join(verdict.reasons)
        head = "The data are strained" if verdict.grade == "strained" else "The data do not answer this"
        warnings.append(f"{head}: {reasons}. {verdict.advice}")
    return tuple(warning for warning in warnings if warning)


def _sample_warning(arm: str, rows: int) -> str:
    if rows == 1:
        return (
            f"The {arm} arm has a single row: its scatter is unknown, so there is no standard error, interval or "
            f"p-value. Add {arm} rows."
        )
    if rows < SMALL_ARM:
        return f"The {arm} arm has {rows} rows only: standard error and interval are rough. Add {arm} rows."
    return ""


def _exceeds(value: float, measure: str) -> int:
    """Position in `GRADES` of a measure of which more is worse."""
    bounds = (getattr(_STRAINED, measure), getattr(_UNANSWERABLE, measure))
    # Five equal weights are .2 each, whatever their last bits say.
    return sum(int(value > bound * (1 + _TIE)) for bound in bounds)


def _weight_reason(name: str, arm: Arm) -> tuple[int, str]:
    """Grade how few rows of an arm carry the estimate; a small arm whose rows all carry it is no more than strained."""
    size, largest = arm.effective_size, arm.largest_weight
    uneven = size < (arm.clusters or arm.rows) / 2
    grade = max(_exceeds(largest, "weight"), int(size < _STRAINED.rows) + int(size < _UNANSWERABLE.rows))
    kind = "clusters" if arm.clusters else "rows"
    text = f"the weights of the {arm.rows} {name} rows{arm.held} are worth {size:.3g} equally weighted {kind}"
    if _exceeds(largest, "weight"):
        text += f", the heaviest carries {100 * largest:.0f} %"
    return (grade if uneven else min(grade, 1)), text


def _outside_share(arms: Arms) -> float:
    """Share of the target population without a counterpart; none of a population that is not in the table."""
    total = sum(arm.target for arm in arms)
    return sum(arm.target_outside for arm in arms) / total if total > 0 else 0.0


def _advice(arms: Arms) -> str:
    """Name a target with counterparts if there is one, or trimming; and the arm that lacks rows."""
    share, (treated, control) = _outside_share(arms), arms
    pairs = {"att": (treated, control), "atc": (control, treated)}
    shares = {name: own.outside / own.rows for name, (own, other) in pairs.items() if other.target > 0}
    better = min(shares, key=lambda name: shares[name], default="")
    advice = []
    if better and share > OUTSIDE_SHARE and shares[better] < share / 2:
        advice.append(f"ask for {better!r} instead, where {100 * shares[better]:.0f} % lack a counterpart")
    if shares:
        advice.append("trim to the rows where both arms are comparable (target_units='overlap')")
    # An arm that is itself the target lacks nothing: the other one does.
    thin = min(
        arms._asdict().items(), key=lambda item: (len(shares) == 1 and item[1].target > 0, item[1].effective_size)
    )
    advice.append(f"add {thin[0]} rows that resemble the target population")
    text = ", or ".join(advice)
    return f"{text[0].upper()}{text[1:]}."


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
