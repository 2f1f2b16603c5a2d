"""How the effects of the rows are distributed: quantiles, and the share that gains.

Letters: n compared rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from dowhy_cina.mathematics.scaling import Array
from dowhy_cina.results.heterogeneity.learned import HeldOut, Judge, within_folds

QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
#: Standard errors above zero at which the variance of the effects is taken as detected: one chance in forty.
_DETECTED = 1.96
#: Modelled effects that vary by less than this share of the average's standard error are the same.
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class EffectDistribution:
    """Distribution of the conditional effects in the target population. Compared by identity.

    Attributes
    ----------
    table : DataFrame
        Index ``quantile``; columns ``effect``, ``standard_error``, ``lower``, ``upper`` in the outcome's unit, and
        ``modelled``, the quantile of the modelled effects before their spread is corrected.
    share_positive, lower, upper : float
        Share of the target population whose conditional effect is above zero, with an interval for where the average is
        and how wide the effects are spread. It takes their shape as modelled: on simulated tables intervals of 95 %
        held the share in some 70 %.
    spread, modelled_spread : float
        Standard deviation of the effects, corrected and as modelled, in the outcome's unit.
    reason : str or None
        Why the figures are NaN: no heterogeneity was detected.
    level : float
        Of intervals.
    """

    table: pd.DataFrame
    share_positive: float
    lower: float
    upper: float
    spread: float
    modelled_spread: float
    reason: str | None
    level: float

    def __str__(self) -> str:
        if self.reason is not None:
            return self.reason
        interval = f"{100 * self.lower:.0f} to {100 * self.upper:.0f} %, taking their shape as modelled"
        return (
            f"{self.table.to_string(float_format='{:.4g}'.format)}\n"
            f"standard deviation of the effects {self.spread:.4g} (as modelled {self.modelled_spread:.4g})\n"
            f"conditional effect above zero: {100 * self.share_positive:.0f} % of the population ({interval})"
        )


def effect_distribution(judge: Judge, held_out: HeldOut) -> EffectDistribution:
    """Quantiles of the effects and the share above zero, their spread corrected by the doubly robust scores.

    The spread of estimates is that of the effects, less what the regressions smooth away, plus the noise in them. The
    covariance of held-out modelled effects with the scores knows nothing of that noise, for a row's score is unbiased
    given the other folds: it is their covariance with the effects themselves. It is the variance of the effects if a
    modelled effect is the effect plus an error that does not depend on it, and below it where they are smoothed more
    than that. The modelled effects are stretched about the average effect to this variance; their shape is kept.

    Parameters
    ----------
    judge : Judge
    held_out : HeldOut
        Of the compared rows (n,).

    Returns
    -------
    EffectDistribution
        All NaN but ``modelled``, with a reason, unless the covariance is twice its standard error above zero.

    References
    ----------
    Chernozhukov, Demirer, Duflo & Fernandez-Val (2025), Fisher-Schultz lecture: generic machine learning inference on
    heterogeneous treatment effects in randomized experiments, Econometrica 93.
    """
    share, average = judge.share, float(judge.added.sum())
    centred = within_folds(held_out.effects, share, held_out.fold)
    modelled = float(np.sqrt(share @ centred**2))
    variance = float(centred @ judge.added)
    score = judge.added - share * average
    influence = centred * score - share * variance
    error = judge.interval(variance, influence)["standard_error"]
    at = _quantiles(centred, share)
    flat = modelled <= _ROUNDING * judge.interval(average, score)["standard_error"]
    if flat or not variance > _DETECTED * error:
        return _undefined(average + at, modelled, judge.level)
    spread = np.sqrt(variance)
    standard = centred / modelled
    rows = []
    for place in at / modelled:
        found = judge.interval(average + spread * place, score + place * influence / (2 * spread))
        rows.append({"effect": found.pop("value")} | found)
    table = pd.DataFrame(rows, index=pd.Index(QUANTILES, name="quantile")).assign(modelled=average + at)
    ratio = judge.interval(average / spread, score / spread - average * influence / (2 * spread**3))
    least, middle, most = (_above(standard, share, -ratio[name]) for name in ("lower", "value", "upper"))
    drawn = _of_sampling(middle, judge)
    lower, upper = middle - np.hypot(middle - least, drawn), middle + np.hypot(most - middle, drawn)
    return EffectDistribution(
        table, middle, max(lower, 0.0), min(upper, 1.0), float(spread), modelled, None, judge.level
    )


def _undefined(modelled: Array, spread: float, level: float) -> EffectDistribution:
    nothing = dict.fromkeys(("effect", "standard_error", "lower", "upper"), np.nan)
    table = pd.DataFrame({**nothing, "modelled": modelled}, index=pd.Index(QUANTILES, name="quantile"))
    reason = (
        "no heterogeneity detected: effects that are modelled from some rows do not predict those of the others by "
        "more than twice the standard error. The effects may still differ, by less than these rows can tell; "
        "quantiles and the share that gains are not defined, and the average effect is what is known."
    )
    return EffectDistribution(table, np.nan, np.nan, np.nan, np.nan, spread, reason, level)


def _quantiles(values: Array, share: Array) -> Array:
    """Quantiles of weighted values, between the middles of their steps."""
    order = np.argsort(values, kind="stable")
    middle = np.cumsum(share[order]) - share[order] / 2
    return np.asarray(np.interp(QUANTILES, middle, values[order]))


def _above(values: Array, share: Array, bound: float) -> float:
    return min(float(share[values > bound].sum()), 1.0)


def _of_sampling(part: float, judge: Judge) -> float:
    """Half width of the interval of a share of independent rows, or clusters, by their effective number."""
    sizes = judge.share if judge.cluster is None else np.bincount(judge.cluster, judge.share)
    return float(stats.norm.isf((1 - judge.level) / 2) * np.sqrt(part * (1 - part) * (sizes**2).sum()))
