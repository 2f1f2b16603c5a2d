"""Uplift: what treating the best first is worth, as curves and as one area.

Letters: n compared rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from dowhy_cina.errors import check_choice
from dowhy_cina.mathematics.scaling import Array
from dowhy_cina.results.heterogeneity.learned import Judge, Ranking, marginal_effect

#: Shares of the population at which curves are given.
_SHARES = np.arange(1, 21) / 20
WEIGHTINGS = ("qini", "autoc")


@dataclass(frozen=True, eq=False)
class Uplift:
    """Curves of treating the best first, and the area under them. Compared by identity.

    Attributes
    ----------
    curve : DataFrame
        Index ``share``, of the target population that is treated, the most promising first and ties in random order
        (the average over all orders). ``effect`` is their average effect, ``excess`` how far it is above everybody's
        (the targeting operator characteristic) and ``gain`` the share times the excess (the Qini curve, less its
        diagonal); each of the last two with ``_lower`` and ``_upper``, pointwise. In the outcome's unit.
    area : float
        Rank-weighted average treatment effect: the area under ``gain`` ("qini") or under ``excess`` ("autoc"). Zero if
        the ranking tells nothing, negative if it is the wrong way round.
    standard_error, lower, upper, p_value : float
        Of the area; the p-value is that of zero, two-sided, by the t distribution of the interval: it is below one less
        the level where the interval leaves zero out. NaN where nothing tells.
    weighting : {"qini", "autoc"}
    level : float
        Of intervals.
    """

    curve: pd.DataFrame
    area: float
    standard_error: float
    lower: float
    upper: float
    p_value: float
    weighting: str
    level: float

    def __str__(self) -> str:
        name = {"qini": "Qini area", "autoc": "area under the targeting curve"}[self.weighting]
        if not self.standard_error > 0:
            return f"{name} {self.area:.4g}, without an interval: the ranking does not tell the rows apart"
        words = (
            "the ranking finds who gains more"
            if self.lower > 0
            else "the ranking is the wrong way round"
            if self.upper < 0
            else "not shown that the ranking tells who gains more; that is not to say that all gain the same"
        )
        return (
            f"{name} {self.area:.4g}, {100 * self.level:g} % interval {self.lower:.4g} to {self.upper:.4g}, "
            f"p-value {self.p_value:.3g}: {words}"
        )


def rank_weighted_effect(judge: Judge, ranking: Ranking, weighting: str = "qini") -> Uplift:
    """Curves and area of a ranking that the judging rows did not make.

    With places U in (0, 1) the area is ``sum_i v(U_i) added_i``, ``v(u) = 1/2 - u`` for Qini and ``-1 - log u`` for
    AUTOC, averaged over the places that ties hold together. Its influence function has a part for the row's own score
    and one for the places, which each row moves.

    Parameters
    ----------
    judge : Judge
    ranking : Ranking
        Of the n rows, from :func:`~dowhy_cina.results.heterogeneity.learned.ranks`.
    weighting : {"qini", "autoc"}

    Returns
    -------
    Uplift

    Raises
    ------
    InputError, InputTypeError
        If the weighting is another one.

    References
    ----------
    Yadlowsky, Fleming, Shah, Brunskill & Wager (2025), Evaluating treatment prioritization rules via rank-weighted
    average treatment effects, Journal of the American Statistical Association 120. Radcliffe (2007), Using control
    groups to target on predicted lift, Direct Marketing Analytics Journal.
    """
    check_choice(weighting, WEIGHTINGS, "weighting")
    share, added, place = judge.share, judge.added, ranking.each
    weight = ranking.shared(0.5 - place if weighting == "qini" else -1 - np.log(place))
    weight = weight - share @ weight
    slope = -np.ones_like(place) if weighting == "qini" else -1 / place
    area = float(weight @ added)
    moving = slope * ranking.shared(added)
    moved = ranking.shared(_later(place, moving)) - (moving * place).sum()
    influence = weight * added - share * area + share * moved
    found = judge.interval(area, influence)
    error = found["standard_error"]
    freedom = float(judge.uncertainty(influence).freedom[0])
    p_value = float(2 * stats.t.sf(abs(area) / error, freedom)) if error > 0 else np.nan
    lower, upper = (found[name] if error > 0 else np.nan for name in ("lower", "upper"))
    return Uplift(
        _curve(judge, ranking), area, error if error > 0 else np.nan, lower, upper, p_value, weighting, judge.level
    )


def _later(place: Array, values: Array) -> Array:
    """Sum of the values of the rows that are not before each (n,)."""
    levels, tie = np.unique(place, return_inverse=True)
    sums = np.bincount(tie, values, len(levels))
    return np.asarray(np.cumsum(sums[::-1])[::-1][tie])


def _curve(judge: Judge, ranking: Ranking) -> pd.DataFrame:
    average, rows = float(judge.added.sum()), []
    for share in _SHARES:
        inside = ranking.taken(share)
        effect = float(inside @ judge.added) / share
        gain = share * (effect - average)
        margin = marginal_effect(ranking, share, judge.added, judge.share)
        one = (inside - share) * (judge.added - judge.share * margin)
        found = judge.interval(gain, one - judge.share * one.sum())
        rows.append(
            {
                "effect": effect,
                "excess": gain / share,
                "excess_lower": found["lower"] / share,
                "excess_upper": found["upper"] / share,
                "gain": gain,
                "gain_lower": found["lower"],
                "gain_upper": found["upper"],
            }
        )
    return pd.DataFrame(rows, index=pd.Index(_SHARES, name="share"))
